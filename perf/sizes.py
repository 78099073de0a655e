"""What the scripts here measure with: policies of four sizes, a clip, a clock and the machine's bandwidth.

starter: the shipped one. smol: SmolLM2-135M with a vision tower. 3b, 7b: random bfloat16 weights of
Qwen2.5-VL's published configurations, made on the device and with 16 frames of 336 x 448 (1,536 tokens a
clip); for a GPU.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from tolman.policy.load import load_policy
from tolman.policy.policy import Policy
from tolman.policy.prompt import ClipInput, Prompt, build_prompt, encode_clip
from tolman.policy.starter import vision_ids
from tolman.policy.tokenizer import train_tokenizer
from tolman.questions.question import Question
from tolman.video.patches import QWEN2_5_VL

SIZES = ("starter", "smol", "3b", "7b")
TEXT: dict[str, dict[str, Any]] = {
    "3b": {
        "hidden_size": 2048, "num_hidden_layers": 36, "num_attention_heads": 16, "num_key_value_heads": 2,
        "intermediate_size": 11008, "vocab_size": 151_936, "tie_word_embeddings": True,
    },
    "7b": {
        "hidden_size": 3584, "num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4,
        "intermediate_size": 18944, "vocab_size": 152_064, "tie_word_embeddings": False,
    },
}  # fmt: skip
WORDS = "How many chairs are in this room, counting those behind the table as well?"


def pick_device(name: str) -> torch.device:
    """`auto`: the GPU where there is one."""
    return torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)


def make_policy(size: str, device: torch.device) -> Policy:
    """A policy of a size, in evaluation mode: float32 on a CPU, bfloat16 on a GPU."""
    if size in TEXT:
        return _random_policy(size, device)
    return load_policy(size, device=device)


def _random_policy(size: str, device: torch.device) -> Policy:
    import transformers

    tokenizer = train_tokenizer([WORDS], 400)
    text = TEXT[size] | {
        "max_position_embeddings": 128_000,
        "rms_norm_eps": 1e-6,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]},
    }
    vision = {
        "depth": 32, "hidden_size": 1280, "num_heads": 16, "intermediate_size": 3420, "patch_size": 14,
        "out_hidden_size": text["hidden_size"], "spatial_merge_size": 2, "temporal_patch_size": 2,
        "tokens_per_second": 2, "window_size": 112, "fullatt_block_indexes": [7, 15, 23, 31],
    }  # fmt: skip
    config_class: Any = transformers.Qwen2_5_VLConfig
    config = config_class(
        text_config=text,
        vision_config=vision,
        tie_word_embeddings=text["tie_word_embeddings"],
        **vision_ids(tokenizer),
    )
    model_class: Any = transformers.Qwen2_5_VLForConditionalGeneration
    torch.manual_seed(0)
    with torch.device(device):
        model = model_class._from_config(config, attn_implementation="sdpa", dtype=torch.bfloat16)
    return Policy(model.eval(), tokenizer, QWEN2_5_VL, 16, (336, 448), size)


def noise_clip(policy: Policy, seed: int = 0) -> ClipInput:
    """Noise, two frames a second."""
    shape = (policy.frames, *policy.frame_size, 3)
    rgb = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    return encode_clip(policy, rgb, np.arange(policy.frames) / 2)


def make_prompt(policy: Policy, clip: ClipInput, words: str = WORDS) -> Prompt:
    """A counting question about the clip, asking for a map."""
    row = {"problem_id": 0, "problem": words, "problem_type": "numerical", "path": ""}
    return build_prompt(policy, Question.from_row(row | {"solution": "<answer>2</answer>"}), clip, "map")


def stock_inputs(policy: Policy, prompt: Prompt) -> dict[str, Any]:
    """The prompt as transformers' own `generate` and `forward` take it, one row, on the policy's device."""
    assert prompt.clip is not None
    ids = torch.tensor([prompt.clip_ids + prompt.question_ids])
    inputs = {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "pixel_values_videos": prompt.clip.pixels,
        "video_grid_thw": prompt.clip.grid_thw[None],
        "second_per_grid_ts": torch.tensor([prompt.clip.seconds_per_grid]),
        "mm_token_type_ids": 2 * (ids == policy.video_tokens.video_token_id).long(),
    }
    return {name: value.to(policy.device) for name, value in inputs.items()}


def seconds(run: Callable[[], Any], device: torch.device) -> float:
    """What one call takes, the device's work included."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    began = time.perf_counter()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began


def by_turns(ways: Mapping[str, Callable[[], Any]], rounds: int, device: torch.device) -> dict[str, float]:
    """Median seconds of each way, called in turn; a first round only warms up."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds + 1):
        for name, run in ways.items():
            found[name].append(seconds(run, device))
    return {name: statistics.median(times[1:]) for name, times in found.items()}


def bandwidth(device: torch.device) -> float:
    """Bytes a second that a copy of half a GiB (64 MiB on a CPU) reads and writes, at its best."""
    size = 2**29 if device.type == "cuda" else 2**26
    source = torch.zeros(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * size / min(seconds(lambda: target.copy_(source), device) for _ in range(6))
