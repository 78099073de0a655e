"""Trees of any shape, clips anywhere in them, against one row of its own for each path, through the stock
classes with positions worked out here."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from policy_tiny import gradients, tiny_policy, tiny_qwen3_policy
from tolman.policy.logprobs import tree_scores
from tolman.policy.policy import Policy
from tolman.policy.tree import ClipInput, Node, TokenTree, VideoTokens, join, pack

MAKERS: dict[str, Callable[[], Policy]] = {"qwen2_5_vl": tiny_policy, "qwen3_vl": tiny_qwen3_policy}
GRIDS = ((1, 2, 2), (2, 2, 4), (3, 4, 2))


class Plan(NamedTuple):
    """A node: how many words (before and after a clip), an index into all nodes (its parent, if earlier), and
    which clip it shows, if any."""

    words: int
    parent: int
    clip: int | None


plans = st.builds(Plan, st.integers(0, 4), st.integers(-1, 7), st.sampled_from([None, None, None, 0, 1, 2]))
forests = st.lists(st.lists(plans, min_size=1, max_size=8), min_size=1, max_size=3)


@cache
def policy_of(kind: str) -> Policy:
    """In float64, so that only what is wrong differs."""
    policy = MAKERS[kind]()
    policy.model.double()
    return policy


def clips_of(policy: Policy) -> list[ClipInput]:
    """An image, and clips of two and three steps."""
    vision = policy.model.config.vision_config
    size = 3 * vision.temporal_patch_size * vision.patch_size**2
    draw = torch.Generator().manual_seed(0)
    return [
        ClipInput(torch.randn(t * h * w, size, generator=draw), torch.tensor([t, h, w]), seconds)
        for (t, h, w), seconds in zip(GRIDS, (1.0, 0.5, 1.5), strict=True)
    ]


def ids_of(plan: Plan, clips: list[ClipInput], video: VideoTokens) -> list[int]:
    """Words, and in between a clip's placeholders: one run, or one a step with a word before each."""
    words = list(range(20 + 7 * (plan.parent + 2), 20 + 7 * (plan.parent + 2) + plan.words))
    if plan.clip is None:
        return words
    t, h, w = (int(side) for side in clips[plan.clip].grid_thw)
    step = [video.video_token_id] * (h * w // video.merge**2)
    shown = step * t if video.tokens_per_second is not None else ([99, *step] * t)[1:]
    return [*words, *shown, *words]


def grow(plan: list[Plan], clips: list[ClipInput], video: VideoTokens) -> TokenTree:
    """A tree; a parent that is not earlier makes a root."""
    tree = TokenTree()
    for n, one in enumerate(plan):
        parent = one.parent if 0 <= one.parent < n else None
        tree.add(ids_of(one, clips, video), parent, None if one.clip is None else clips[one.clip])
    return tree


def path(tree: TokenTree, node: int) -> list[Node]:
    """From the root to the node."""
    found = [tree.nodes[node]]
    while found[0].parent is not None:
        found.insert(0, tree.nodes[found[0].parent])
    return found


def positions(nodes: list[Node], video: VideoTokens) -> list[tuple[int, int, int]]:
    """Qwen-VL's rotary positions of a path, token by token."""
    found: list[tuple[int, int, int]] = []
    for node in nodes:
        seen = 0  # placeholders of the node so far
        base = 0
        for token in node.token_ids:
            following = max((max(one) for one in found), default=-1) + 1
            if node.clip is None or token != video.video_token_id:
                found.append((following,) * 3)
                continue
            h, w = (int(side) // video.merge for side in node.clip.grid_thw[1:])
            step, place = divmod(seen, h * w)
            if seen == 0 or (place == 0 and video.tokens_per_second is None):
                base = following
            time = 0 if video.tokens_per_second is None else int(
                step * video.tokens_per_second * node.clip.seconds_per_grid
            )  # fmt: skip
            found.append((base + time, base + place // w, base + place % w))
            seen += 1
    return found


def flat_scores(
    policy: Policy, paths: list[list[Node]], temperature: float
) -> tuple[list[Tensor], list[Tensor]]:
    """Log-probabilities and entropies of each path's last node."""
    video, model = policy.video_tokens, policy.model
    model.set_attn_implementation("sdpa")
    rows = [[token for node in nodes for token in node.token_ids] for nodes in paths]
    length = max(1, *map(len, rows))
    ids, mask = torch.zeros((2, len(rows), length), dtype=torch.long)
    places = torch.zeros((3, len(rows), length), dtype=torch.long)
    for b, (row, nodes) in enumerate(zip(rows, paths, strict=True)):
        ids[b, : len(row)], mask[b, : len(row)] = torch.tensor(row), 1
        places[:, b, : len(row)] = torch.tensor(positions(nodes, video), dtype=torch.long).view(-1, 3).T
    inputs: dict[str, Any] = {"input_ids": ids, "attention_mask": mask, "position_ids": places}
    if clips := [node.clip for nodes in paths for node in nodes if node.clip is not None]:
        inputs["pixel_values_videos"] = torch.cat([clip.pixels for clip in clips])
        inputs["video_grid_thw"] = torch.stack([clip.grid_thw for clip in clips])
        inputs["mm_token_type_ids"] = 2 * (ids == video.video_token_id).long()
    log_p = (model(**inputs).logits / temperature).log_softmax(-1)
    chosen, entropies = [], []
    for b, (row, nodes) in enumerate(zip(rows, paths, strict=True)):
        own = len(nodes[-1].token_ids)
        of_own = log_p[b, len(row) - own - 1 : len(row) - 1] if own else log_p[b, :0]
        chosen.append(of_own.gather(-1, ids[b, len(row) - own : len(row), None])[:, 0])
        entropies.append(-(of_own.exp() * of_own).sum(-1))
    return chosen, entropies


@pytest.mark.parametrize("kind", MAKERS)
@settings(max_examples=12)
@given(forests, st.sampled_from([1.0, 0.6]), st.booleans())
def test_any_forest_scores_as_its_paths_do(
    kind: str, forest: list[list[Plan]], temperature: float, one_row: bool
) -> None:
    policy = policy_of(kind)
    clips = clips_of(policy)
    trees = [grow(plan, clips, policy.video_tokens) for plan in forest]
    packed = pack(trees, policy.pad_id, policy.video_tokens)
    nodes = [
        (row, n)
        for row, tree in enumerate(trees)
        for n, node in enumerate(tree.nodes)
        if packed.before[row][n] >= 0 or not node.token_ids
    ]
    if not nodes:
        return
    places = nodes
    if one_row:
        joined, first = join(trees)
        packed = pack([joined], policy.pad_id, policy.video_tokens)
        assert packed.input_ids.numel() == max(1, sum(map(len, trees)))
        places = [(0, first[row] + n) for row, n in nodes]
    scores = tree_scores(policy.model, packed, places, temperature, entropy=True)
    ours = [part for score in scores for part in score]
    wanted = flat_scores(policy, [path(trees[row], n) for row, n in nodes], temperature)
    theirs = [part for pair in zip(*wanted, strict=True) for part in pair]
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-5, atol=1e-5)
    if sum(map(len, theirs)) == 0:
        return
    their_gradients, our_gradients = gradients(policy, theirs), gradients(policy, ours)
    largest = max(float(gradient.norm()) for gradient in their_gradients.values())
    for name, gradient in their_gradients.items():
        found = our_gradients.get(name, torch.zeros_like(gradient))
        assert float((found - gradient).norm()) <= 1e-5 * (float(gradient.norm()) + 1e-3 * largest), name
