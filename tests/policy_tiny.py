"""A random policy of 0.1 million parameters and the naive way to score with it; shared by the policy
tests."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tolman.policy.policy import Policy
from tolman.policy.prompt import ClipInput, encode_clip
from tolman.policy.starter import StarterConfig, make_starter
from tolman.policy.tokenizer import train_tokenizer
from tolman.questions.question import Question

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
    frames=4,
    frame_size=(56, 84),
)
"""Clips of 4 frames make a grid of 2 x 4 x 6 patches, 2 x 2 x 3 = 12 tokens."""


@cache
def tiny_tokenizer() -> Any:
    """The 256 bytes, the special tokens and a few merges."""
    return train_tokenizer(["how many chairs are there in this room?", "think, draw, answer"], 320)


def tiny_policy(seed: int = 0) -> Policy:
    """Weights eight times the usual size: predictions far from uniform, so that a wrong mask shows."""
    policy = make_starter(tiny_tokenizer(), seed, TINY)
    with torch.no_grad():
        for parameter in policy.model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(8)
            else:
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    return policy


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


def flat_log_probs(
    policy: Policy, sequences: Sequence[tuple[Sequence[int], ClipInput | None, Sequence[int]]]
) -> list[Tensor]:
    """The naive way, all by transformers: each (prompt, clip, completion) a row of its own, padded on the
    right."""
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
            "second_per_grid_ts": torch.tensor([clip.seconds_per_grid for clip in clips]),
            "mm_token_type_ids": 2 * (ids == policy.video_tokens.video_token_id).long(),
        }
    log_probs = policy.model(**inputs).logits.log_softmax(-1)
    found = []
    for b, (prompt, _, completion) in enumerate(sequences):
        places = torch.arange(len(prompt) - 1, len(prompt) + len(completion) - 1)
        found.append(log_probs[b, places, torch.tensor(list(completion), dtype=torch.long)])
    return found
