"""A random policy of 0.1 million parameters and the naive way to score with it; shared by the policy
tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from torch import Tensor

from tolman.policy.policy import Policy
from tolman.policy.prompt import ClipInput, encode_clip
from tolman.policy.starter import StarterConfig, make_starter, turn_ids, vision_ids
from tolman.policy.tokenizer import train_tokenizer
from tolman.questions.question import Question
from tolman.video.patches import QWEN3_VL

TINY = StarterConfig(
    hidden=64,
    layers=2,
    head_dim=16,
    kv_heads=2,
    intermediate=96,
    vision_hidden=32,
    vision_depth=2,
    vision_heads=2,
    vision_intermediate=48,
    patch=14,
    merge=2,
    frames=4,
    frame_size=(56, 84),
)
"""Clips of 4 frames make a grid of 2 x 4 x 6 patches, 2 x 2 x 3 = 12 tokens."""


@cache
def tiny_tokenizer() -> Any:
    """The 256 bytes, the special tokens and a few merges."""
    return train_tokenizer(["how many chairs are there in this room?", "think, draw, answer"], 320)


def tiny_policy(seed: int = 0, intermediate: int = TINY.intermediate) -> Policy:
    """Weights eight times the usual size: predictions far from uniform, so that a wrong mask shows."""
    policy = make_starter(tiny_tokenizer(), seed, replace(TINY, intermediate=intermediate))
    _enlarge(policy.model)
    return policy


def tiny_qwen3_policy(seed: int = 0, intermediate: int = 96) -> Policy:
    """The same of Qwen3-VL's class, its tower giving deepstack features from two layers.

    Clips of 4 frames of 64 x 96 pixels make a grid of 2 x 4 x 6 patches, 2 x 2 x 3 = 12 tokens.
    """
    tokenizer = tiny_tokenizer()
    rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [4, 2, 2], "mrope_interleaved": True}
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": 64,
        "intermediate_size": intermediate,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "rope_parameters": rope,
        "tie_word_embeddings": True,
    }
    vision = {
        "depth": 3,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_heads": 2,
        "out_hidden_size": 64,
        "num_position_embeddings": 16,
        "deepstack_visual_indexes": [0, 2],
    }
    config_class: Any = transformers.Qwen3VLConfig
    config = config_class(
        text_config=text | turn_ids(tokenizer),
        vision_config=vision,
        tie_word_embeddings=True,
        **vision_ids(tokenizer),
        **turn_ids(tokenizer),
        pad_token_id=tokenizer.pad_token_id,
    )
    model_class: Any = transformers.Qwen3VLForConditionalGeneration
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = model_class._from_config(config, attn_implementation="sdpa", dtype=torch.float32)
    _enlarge(model)
    return Policy(model.eval(), tokenizer, QWEN3_VL, 4, (64, 96), "tiny")


def _enlarge(model: Any) -> None:
    """Matrices times eight, vectors off their ones and zeros."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(8)
            else:
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))


def noise_clip(policy: Policy, seed: int, spacing: float = 0.25) -> ClipInput:
    """Four frames of noise, `spacing` seconds apart."""
    height, width = policy.frame_size
    shape = (policy.frames, height, width, 3)
    rgb = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    return encode_clip(policy, rgb, np.arange(policy.frames) * spacing)


@cache
def transformers_places_clips() -> bool:
    """Whether this transformers gives a clip its right positions; early 5.x does not (its issues 45381,
    48669).

    Two steps of 0.5 s at two positions a second, behind one token of text: times 1 and 1 + 1, widths 1 2 3.
    """
    policy = tiny_policy()
    ids = torch.tensor([[1] + [policy.video_tokens.video_token_id] * 6])
    positions, _ = policy.model.model.get_rope_index(
        ids,
        mm_token_type_ids=2 * (ids > 1).long(),
        video_grid_thw=torch.tensor([[2, 2, 6]]),
        second_per_grid_ts=torch.tensor([0.5]),
    )
    return bool(positions[::2, 0].tolist() == [[0, 1, 1, 1, 2, 2, 2], [0, 1, 2, 3, 1, 2, 3]])


needs_right_positions = pytest.mark.skipif(
    "not __import__('policy_tiny').transformers_places_clips()",
    reason="this version of transformers misplaces clips, so it is no oracle",
)


def question(text: str = "How many chairs are there?", **fields: Any) -> Question:
    """A counting question."""
    row = {"problem_id": 1, "problem": text, "problem_type": "numerical", "solution": "<answer>2</answer>"}
    return Question.from_row(row | {"path": "clip.mp4"} | fields)


Sequences = Sequence[tuple[Sequence[int], ClipInput | None, Sequence[int]]]
"""Of (prompt, clip, completion)."""


def flat_logits(policy: Policy, sequences: Sequences) -> Tensor:
    """(B, L, V), the naive way, all by transformers: each sequence a row of its own, padded on the right."""
    policy.model.set_attn_implementation("sdpa")
    rows = [list(prompt) + list(completion) for prompt, _, completion in sequences]
    length = max(map(len, rows))
    ids = torch.tensor([row + [policy.pad_id] * (length - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (length - len(row)) for row in rows])
    clips = [clip for _, clip, _ in sequences if clip is not None]
    inputs: dict[str, Any] = {"input_ids": ids, "attention_mask": mask}
    if clips:
        inputs |= {
            "pixel_values_videos": torch.cat([clip.pixels for clip in clips]),
            "video_grid_thw": torch.stack([clip.grid_thw for clip in clips]),
            "mm_token_type_ids": 2 * (ids == policy.video_tokens.video_token_id).long(),
        }
    if clips and policy.video_tokens.tokens_per_second is not None:
        inputs["second_per_grid_ts"] = torch.tensor([clip.seconds_per_grid for clip in clips])
    logits: Tensor = policy.model(**{name: part.to(policy.device) for name, part in inputs.items()}).logits
    return logits


def flat_log_probs(policy: Policy, sequences: Sequences) -> list[Tensor]:
    """Of each completion's tokens, from `flat_logits`."""
    log_probs = flat_logits(policy, sequences).log_softmax(-1)
    found = []
    for b, (prompt, _, completion) in enumerate(sequences):
        places = torch.arange(len(prompt) - 1, len(prompt) + len(completion) - 1)
        found.append(log_probs[b, places, torch.tensor(list(completion), dtype=torch.long)])
    return found


def gradients(policy: Policy, log_probs: list[Tensor]) -> dict[str, Tensor]:
    """Of a sum with a different weight for every token."""
    policy.model.zero_grad()
    joined = torch.cat(log_probs)
    weights = torch.randn(joined.shape, generator=torch.Generator().manual_seed(5))
    (joined * weights.to(joined.device)).sum().backward()
    return {name: p.grad.clone() for name, p in policy.model.named_parameters() if p.grad is not None}
