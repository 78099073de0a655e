"""A second completion behind a first: as `generate` makes it from one long prompt, and as trees score it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from policy_tiny import needs_right_positions, noise_clip, question, tiny_policy, tiny_qwen3_policy
from tolman.policy.follow_up import follow_up
from tolman.policy.generate import Sample, draw_uniforms, generate
from tolman.policy.logprobs import tree_log_probs
from tolman.policy.policy import Policy
from tolman.policy.prompt import Prompt, build_prompt, opening_ids
from tolman.policy.tree import ClipInput, TokenTree, pack

FIRST = [(20, 21, 22, 2), (30, 31, 2), (40, 41, 42, 43, 2)]
BETWEEN = (50, 51, 52)


def seeded(seed: int = 3) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def grown(
    policy: Policy, parts: list[ClipInput | None]
) -> tuple[list[TokenTree], list[tuple[int, int]], list[Prompt]]:
    """Two clips; two first completions of the one, one of the other, each with a part (or none) behind it."""
    prompts = [
        build_prompt(policy, question(text), noise_clip(policy, k), "map")
        for k, text in enumerate(("Where?", "Why not?"))
    ]
    trees, leaves = [], []
    for row, firsts in enumerate((FIRST[:2], FIRST[2:])):
        tree = TokenTree()
        _, asked = prompts[row].add_to(tree)
        for first in firsts:
            part = parts[len(leaves)]
            ids = (*BETWEEN, *(opening_ids(policy, part) if part is not None else ()), 53)
            leaves.append((row, tree.add(ids, tree.add(first, asked), clip=part)))
        trees.append(tree)
    return trees, leaves, prompts


@pytest.mark.parametrize("options", [{}, {"temperature": 0.7}, {"temperature": 0.0}, {"top_k": 3}])
def test_the_same_samples_as_from_one_long_prompt(options: dict[str, Any]) -> None:
    policy = tiny_policy()
    trees, leaves, prompts = grown(policy, [None, None, None])
    long = [
        Prompt(prompt.clip_ids, prompt.clip, (*prompt.question_ids, *first, *BETWEEN, 53))
        for prompt, first in zip([prompts[0], *prompts], FIRST, strict=True)
    ]
    uniforms = draw_uniforms(3, 1, 20, seeded())
    expected = [
        group[0] for group in generate(policy, long, 1, max_new_tokens=20, uniforms=uniforms, **options)
    ]
    found = follow_up(policy, trees, leaves, uniforms, **options)
    assert len({sample.token_ids for sample in found}) == 3
    for ours, theirs in zip(found, expected, strict=True):
        assert (ours.token_ids, ours.text, ours.finished) == (theirs.token_ids, theirs.text, theirs.finished)
        torch.testing.assert_close(ours.log_probs, theirs.log_probs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("make", [tiny_policy, tiny_qwen3_policy])
def test_sampled_log_probs_behind_a_second_clip_equal_the_trees(make: Callable[[], Policy]) -> None:
    policy = make()
    shared = noise_clip(policy, 7)
    trees, leaves, _ = grown(policy, [shared, noise_clip(policy, 8), shared])
    found = follow_up(policy, trees, leaves, draw_uniforms(3, 1, 12, seeded()))
    for log_probs, sample in zip(scored(policy, trees, leaves, found), found, strict=True):
        torch.testing.assert_close(sample.log_probs, log_probs, rtol=1e-4, atol=1e-4)


@needs_right_positions
@pytest.mark.parametrize("make", [tiny_policy, tiny_qwen3_policy])
def test_log_probs_behind_a_second_clip_equal_transformers(make: Callable[[], Policy]) -> None:
    policy = make()
    parts = [noise_clip(policy, 7 + k) for k in range(3)]
    trees, leaves, prompts = grown(policy, [*parts])
    second = (60, 61, 62, 63)
    samples = [Sample(second, "", torch.zeros(4), True)] * 3
    for k, log_probs in enumerate(scored(policy, trees, leaves, samples)):
        prompt = prompts[leaves[k][0]]
        between = trees[leaves[k][0]].nodes[leaves[k][1]].token_ids
        row = (*prompt.clip_ids, *prompt.question_ids, *FIRST[k], *between, *second)
        assert prompt.clip is not None
        flat = flat_log_probs(policy, row, [prompt.clip, parts[k]])
        torch.testing.assert_close(log_probs, flat[-4:], rtol=1e-4, atol=1e-5)


def scored(
    policy: Policy, trees: list[TokenTree], leaves: list[tuple[int, int]], samples: list[Sample]
) -> list[torch.Tensor]:
    nodes = [(row, trees[row].add(s.token_ids, leaf)) for (row, leaf), s in zip(leaves, samples, strict=True)]
    packed = pack(trees, policy.pad_id, policy.video_tokens)
    with torch.no_grad():
        return tree_log_probs(policy.model, packed, nodes)


def flat_log_probs(policy: Policy, row: tuple[int, ...], clips: list[ClipInput]) -> torch.Tensor:
    """(len(row) - 1,) by transformers alone, of a row with several clips."""
    ids = torch.tensor([row])
    inputs = {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "pixel_values_videos": torch.cat([clip.pixels for clip in clips]),
        "video_grid_thw": torch.stack([clip.grid_thw for clip in clips]),
        "mm_token_type_ids": 2 * (ids == policy.video_tokens.video_token_id).long(),
    }
    if policy.video_tokens.tokens_per_second is not None:
        inputs["second_per_grid_ts"] = torch.tensor([clip.seconds_per_grid for clip in clips])
    policy.model.set_attn_implementation("sdpa")
    with torch.no_grad():
        log_probs = policy.model(**inputs).logits[0].log_softmax(-1)
    picked: torch.Tensor = log_probs[:-1].gather(1, ids[0, 1:, None])[:, 0]
    return picked


def test_no_leaf_no_sample() -> None:
    assert follow_up(tiny_policy(), [], [], draw_uniforms(0, 1, 4)) == []


def test_uniforms_of_another_number_are_refused() -> None:
    policy = tiny_policy()
    trees, leaves, _ = grown(policy, [None, None, None])
    with pytest.raises(ValueError, match="3, tokens"):
        follow_up(policy, trees, leaves, draw_uniforms(2, 1, 4))
