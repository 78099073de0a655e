"""Positions, masks and places of packed token trees, by hand and against transformers."""

from __future__ import annotations

import pytest
import torch

from policy_tiny import needs_right_positions, noise_clip, tiny_policy
from tolman.policy.tree import ClipInput, TokenTree, VideoTokens, pack

VIDEO = VideoTokens(video_token_id=9, merge=2, tokens_per_second=2)
PAD = 0


def empty_clip(t: int, h: int, w: int, seconds_per_grid: float) -> ClipInput:
    """A clip of zeros with t x h x w patches."""
    return ClipInput(torch.zeros(t * h * w, 3), torch.tensor([t, h, w]), seconds_per_grid)


def test_positions_of_text_continue_from_the_parent() -> None:
    tree = TokenTree()
    root = tree.add([1, 2, 3])
    left, right = tree.add([4, 5], root), tree.add([6], root)
    tree.add([7], left)
    packed = pack([tree], PAD, VIDEO)
    # root 0 1 2; both children start at 3; the grandchild, laid at once behind left (3, 4), at 5
    for axis in packed.position_ids[:, 0].tolist():
        assert axis == [0, 1, 2, 3, 4, 5, 3]
    assert packed.input_ids.tolist() == [[1, 2, 3, 4, 5, 7, 6]]
    assert packed.next_position == [[3, 5, 4, 6]]
    assert packed.spans == [[(0, 3), (3, 5), (6, 7), (5, 6)]]
    assert packed.before == [[-1, 2, 2, 4]]
    assert right == 2


def test_a_token_sees_itself_its_elders_and_its_ancestors_only() -> None:
    tree = TokenTree()
    root = tree.add([1, 2])
    left = tree.add([3, 4], root)
    tree.add([5], root)
    tree.add([6], left)
    tree.add([7])  # another root
    packed = pack([tree], PAD, VIDEO)
    assert packed.input_ids.tolist() == [[1, 2, 3, 4, 6, 5, 7]]
    seen = [[k for k, may in enumerate(row) if may] for row in packed.attention_mask[0, 0].tolist()]
    assert seen == [[0], [0, 1], [0, 1, 2], [0, 1, 2, 3], [0, 1, 2, 3, 4], [0, 1, 5], [6]]
    assert packed.seen_until.tolist() == [[6, 6, 5, 5, 5, 6, 7]]


def test_clip_positions_by_hand() -> None:
    # one token, then 3 x 4 x 2 patches = 3 x 2 x 1 tokens; a step in time is 2 * 0.75 = 1.5 positions, so
    # floor(0, 1.5, 3) = 0, 1, 3 behind start 1. Text goes on at the maximum (1 + 3) + 1 = 5.
    tree = TokenTree()
    root = tree.add([1] + [9] * 6 + [2], clip=empty_clip(3, 4, 2, 0.75))
    tree.add([3], root)
    packed = pack([tree], PAD, VIDEO)
    time, height, width = packed.position_ids[:, 0].tolist()
    assert time == [0, 1, 1, 2, 2, 4, 4, 5, 6]
    assert height == [0, 1, 2, 1, 2, 1, 2, 5, 6]
    assert width == [0, 1, 1, 1, 1, 1, 1, 5, 6]
    assert packed.mm_token_type_ids.tolist() == [[0, 2, 2, 2, 2, 2, 2, 0, 0]]


def test_text_after_a_wide_clip_starts_behind_its_width() -> None:
    tree = TokenTree()
    tree.add([9] * 3 + [2], clip=empty_clip(1, 2, 6, 1.0))  # 1 x 1 x 3 tokens: widths 0 1 2
    assert pack([tree], PAD, VIDEO).position_ids[:, 0, -1].tolist() == [3, 3, 3]


@needs_right_positions
@pytest.mark.parametrize("spacing", [0.1, 0.25, 1 / 3, 0.5])
def test_positions_agree_with_transformers(spacing: float) -> None:
    # 2 x 2 x 3 tokens; seconds per grid = 2 * spacing, tokens per second 2: the second step lies at
    # floor(4 * spacing) <= 2 = width - 1, where transformers 5 and the original rule agree on what follows.
    policy = tiny_policy()
    clip = noise_clip(policy, 0, spacing)
    ids = [1, 11, 3] + [policy.video_tokens.video_token_id] * 12 + [4, 12, 13]
    tree = TokenTree()
    node = tree.add(ids, clip=clip)
    tree.add([14, 15], node)
    packed = pack([tree], PAD, policy.video_tokens)
    expected, _ = policy.model.model.get_rope_index(
        packed.input_ids,
        mm_token_type_ids=packed.mm_token_type_ids,
        video_grid_thw=packed.video_grid_thw,
        second_per_grid_ts=packed.second_per_grid_ts,
    )
    assert torch.equal(packed.position_ids, expected)


@needs_right_positions
def test_a_long_clip_keeps_transformers_positions_and_text_comes_after_it() -> None:
    # seconds per grid 6, two positions a second: the second step lies 12 behind the first. The clip begins at
    # position 2; transformers 5 would put the next token at 2 + 3 (the width), we at 2 + 12 + 1.
    policy = tiny_policy()
    clip = noise_clip(policy, 0, 3.0)
    tree = TokenTree()
    tree.add([1, 3] + [policy.video_tokens.video_token_id] * 12 + [4], clip=clip)
    packed = pack([tree], PAD, policy.video_tokens)
    theirs, _ = policy.model.model.get_rope_index(
        packed.input_ids,
        mm_token_type_ids=packed.mm_token_type_ids,
        video_grid_thw=packed.video_grid_thw,
        second_per_grid_ts=packed.second_per_grid_ts,
    )
    assert torch.equal(packed.position_ids[:, :, :-1], theirs[:, :, :-1])
    assert packed.position_ids[:, 0, -1].tolist() == [15, 15, 15]


def test_empty_nodes_pass_everything_through() -> None:
    tree = TokenTree()
    root = tree.add([1, 2])
    empty = tree.add([], root)
    tree.add([3], tree.add([], empty))
    nothing = tree.add([])
    tree.add([4], nothing)
    packed = pack([tree], PAD, VIDEO)
    assert packed.before == [[-1, 1, 1, 1, -1, -1]]
    assert packed.position_ids[0, 0].tolist() == [0, 1, 2, 0]
    assert packed.attention_mask[0, 0].tolist()[2] == [True, True, True, False]


def test_padding_sees_itself_only_and_is_seen_by_none() -> None:
    short, long = TokenTree(), TokenTree()
    short.add([1])
    long.add([1, 2, 3])
    packed = pack([short, long], PAD, VIDEO)
    assert packed.input_ids.tolist() == [[1, 0, 0], [1, 2, 3]]
    assert torch.equal(packed.attention_mask[0, 0], torch.eye(3, dtype=torch.bool))


def test_a_clip_in_two_trees_is_held_once() -> None:
    clip, other = empty_clip(1, 2, 2, 1.0), empty_clip(1, 2, 2, 0.5)
    trees = [TokenTree() for _ in range(3)]
    for tree, shown in zip(trees, (clip, other, clip), strict=True):
        tree.add([9], clip=shown)
    packed = pack(trees, PAD, VIDEO)
    assert packed.clips == (clip, other)
    assert packed.clip_order == (0, 1, 0)
    assert packed.video_grid_thw is not None
    assert packed.video_grid_thw.tolist() == [[1, 2, 2]] * 2
    assert packed.second_per_grid_ts is not None
    assert packed.second_per_grid_ts.tolist() == [1.0, 0.5]


def test_a_placeholder_without_a_clip_is_an_ordinary_token() -> None:
    tree = TokenTree()
    tree.add([9, 9], tree.add([9], clip=empty_clip(1, 2, 2, 1.0)))
    packed = pack([tree], PAD, VIDEO)
    assert packed.mm_token_type_ids.tolist() == [[2, 0, 0]]
    assert packed.position_ids[0, 0].tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("ids", "grid", "message"),
    [
        ([9] * 3, (1, 4, 4), "one run of 4"),
        ([9, 9, 1, 9, 9], (1, 4, 4), "several runs"),
        ([1], (1, 2, 2), "one run of 1"),
        ([9] * 2, (1, 4, 3), "cannot be merged"),
    ],
)
def test_clips_that_do_not_fit_are_refused(ids: list[int], grid: tuple[int, int, int], message: str) -> None:
    tree = TokenTree()
    tree.add(ids, clip=empty_clip(*grid, 1.0))
    with pytest.raises(ValueError, match=message):
        pack([tree], PAD, VIDEO)


def test_wrong_patches_parents_and_no_trees_are_refused() -> None:
    tree = TokenTree()
    tree.add([9], clip=ClipInput(torch.zeros(5, 3), torch.tensor([1, 2, 2]), 1.0))
    with pytest.raises(ValueError, match="5 patches"):
        pack([tree], PAD, VIDEO)
    with pytest.raises(ValueError, match="parent 3"):
        tree.add([1], parent=3)
    with pytest.raises(ValueError, match="at least one tree"):
        pack([], PAD, VIDEO)
