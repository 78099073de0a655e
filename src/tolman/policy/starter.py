"""The embedded policy: Qwen2.5-VL's architecture at a few million parameters."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tolman.video.patches import QWEN2_5_VL

from .policy import Policy

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast, Qwen2_5_VLConfig


@dataclass(frozen=True)
class StarterConfig:
    """Sizes of a fresh policy. The default has 7.1 million parameters with a vocabulary of 2,048 (14.2 MB in
    bfloat16)."""

    hidden: int = 256
    """Width of the text stack; a multiple of head_dim."""
    layers: int = 6
    head_dim: int = 32
    """Of the text stack; a multiple of 16, so that the rotary sections split as in Qwen's 16/24/24 of 64."""
    kv_heads: int = 2
    """Few: on a CPU a decoding step is bound by reading the cache."""
    intermediate: int = 512
    vision_hidden: int = 96
    vision_depth: int = 4
    vision_heads: int = 4
    vision_intermediate: int = 256
    patch: int = 7
    """Pixels, half of Qwen's: from above a chair in a 112-pixel frame is ten pixels wide."""
    merge: int = 4
    """Patches a side of one token, twice Qwen's: as many pixels a token as there."""
    temporal: int = 2
    tokens_per_second: int = 2
    """Temporal positions per second of video."""
    rope_theta: float = 10_000.0
    frames: int = 8
    frame_size: tuple[int, int] = (112, 112)
    """(height, width) in pixels; multiples of patch * merge."""

    def __post_init__(self) -> None:
        if self.hidden % self.head_dim or self.head_dim % 16:
            raise ValueError(
                "hidden must be a multiple of head_dim, and head_dim of 16; "
                f"got {self.hidden} and {self.head_dim}"
            )
        if (self.hidden // self.head_dim) % self.kv_heads:
            raise ValueError(
                f"kv_heads must divide the {self.hidden // self.head_dim} heads, got {self.kv_heads}"
            )
        if self.vision_hidden % self.vision_heads or (self.vision_hidden // self.vision_heads) % 4:
            raise ValueError(
                "vision_hidden / vision_heads must be a multiple of 4, "
                f"got {self.vision_hidden} / {self.vision_heads}"
            )
        factor = self.patch * self.merge
        if any(side <= 0 or side % factor for side in self.frame_size):
            raise ValueError(
                f"frame_size must be multiples of patch * merge = {factor}, got {self.frame_size}"
            )


def make_starter(
    tokenizer: PreTrainedTokenizerFast, seed: int, config: StarterConfig | None = None
) -> Policy:
    """A fresh, untrained policy in float32 on the CPU; the same seed gives the same weights.

    tokenizer: one from `train_tokenizer` (or any with Qwen's vision tokens).
    """
    import torch
    from transformers import Qwen2_5_VLForConditionalGeneration

    config = config or StarterConfig()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model_class: Any = Qwen2_5_VLForConditionalGeneration
        model = model_class._from_config(
            model_config(tokenizer, config), attn_implementation="sdpa", dtype=torch.float32
        )
    model.eval()
    pixels = config.frame_size[0] * config.frame_size[1]
    spec = replace(
        QWEN2_5_VL,
        patch=config.patch,
        merge=config.merge,
        temporal=config.temporal,
        min_pixels=pixels,
        max_pixels=pixels,
    )
    return Policy(model, tokenizer, spec, config.frames, config.frame_size, "starter")


def model_config(tokenizer: PreTrainedTokenizerFast, config: StarterConfig) -> Qwen2_5_VLConfig:
    """The transformers configuration of a starter: tied embeddings, full attention in every vision layer."""
    import transformers

    config_class: Any = transformers.Qwen2_5_VLConfig
    eighth = config.head_dim // 16
    # time, height, width from quick to slow: Qwen's own 2/3/3 leaves the width to frequencies so slow that a
    # frame of four columns of tokens looks like one; a width that starts early keeps slow ones for content
    text: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "hidden_size": config.hidden,
        "intermediate_size": config.intermediate,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.hidden // config.head_dim,
        "num_key_value_heads": config.kv_heads,
        "max_position_embeddings": 8192,
        "rms_norm_eps": 1e-6,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": config.rope_theta,
            "mrope_section": [eighth, eighth, 6 * eighth],
        },
        "tie_word_embeddings": True,
    }
    made: Qwen2_5_VLConfig = config_class(
        text_config=text | turn_ids(tokenizer),
        vision_config=vision_config(config),
        tie_word_embeddings=True,
        **vision_ids(tokenizer),
        **turn_ids(tokenizer),
        pad_token_id=token_id(tokenizer, "<|endoftext|>"),
    )
    return made


def vision_config(config: StarterConfig) -> dict[str, Any]:
    """The vision tower's part of the configuration."""
    return {
        "depth": config.vision_depth,
        "hidden_size": config.vision_hidden,
        "intermediate_size": config.vision_intermediate,
        "num_heads": config.vision_heads,
        "out_hidden_size": config.hidden,
        "patch_size": config.patch,
        "spatial_merge_size": config.merge,
        "temporal_patch_size": config.temporal,
        "tokens_per_second": config.tokens_per_second,
        "window_size": config.patch * config.merge * 4,
        "fullatt_block_indexes": list(range(config.vision_depth)),
    }


def vision_ids(tokenizer: Any) -> dict[str, int]:
    """The ids of the vision tokens, by the configuration's names."""
    return {
        "image_token_id": token_id(tokenizer, "<|image_pad|>"),
        "video_token_id": token_id(tokenizer, "<|video_pad|>"),
        "vision_start_token_id": token_id(tokenizer, "<|vision_start|>"),
        "vision_end_token_id": token_id(tokenizer, "<|vision_end|>"),
    }


def turn_ids(tokenizer: Any) -> dict[str, int]:
    """The ids that begin a text and end a turn."""
    return {
        "bos_token_id": token_id(tokenizer, "<|endoftext|>"),
        "eos_token_id": token_id(tokenizer, "<|im_end|>"),
    }


def token_id(tokenizer: Any, token: str) -> int:
    """A token's id. Raises ValueError where the tokenizer has no such token."""
    vocabulary = tokenizer.get_vocab()
    if token not in vocabulary:
        raise ValueError(f"the tokenizer has no {token}; use one from tolman's train_tokenizer, or Qwen's")
    return int(vocabulary[token])
