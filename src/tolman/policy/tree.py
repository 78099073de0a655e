"""A tree of tokens, and many of them packed into one batch, so that what is shared is computed once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class ClipInput:
    """A clip as the vision tower takes it.

    pixels: (patches, channels * temporal * patch * patch) float32. grid_thw: (3,) int64, patches in time,
    height and width. seconds_per_grid: seconds between two grid steps in time (the sampled frames' spacing
    times `temporal`). step_seconds: the time of each grid step, for policies that read it in words. features:
    what a frozen tower made of the pixels, which may be empty then (`tolman.policy.forward.clip_features`).
    Two clips are the same clip when they are the same object.
    """

    pixels: Tensor
    grid_thw: Tensor
    seconds_per_grid: float
    step_seconds: tuple[float, ...] = ()
    features: Tensor | None = None


@dataclass(frozen=True)
class VideoTokens:
    """How clips appear in a policy's token sequences.

    video_token_id: the placeholder that the vision tower's features replace, one for each merge x merge
    patches. tokens_per_second: temporal positions that one second of video advances; None where text between
    the grid steps says the time (Qwen3-VL), so that each step is a run of placeholders by itself.
    """

    video_token_id: int
    merge: int
    tokens_per_second: float | None

    @classmethod
    def from_config(cls, config: Any) -> VideoTokens:
        """Read from a `Qwen2_5_VLConfig` or a `Qwen3VLConfig`, which has no tokens_per_second."""
        vision = config.vision_config
        per_second = getattr(vision, "tokens_per_second", None)
        return cls(config.video_token_id, vision.spatial_merge_size, per_second)


@dataclass(frozen=True)
class Node:
    """A run of tokens; `parent` is an index into the tree's nodes, None for a root."""

    token_ids: tuple[int, ...]
    parent: int | None
    clip: ClipInput | None


class TokenTree:
    """Sequences that share beginnings, each shared part held once::

        node 0  clip        <|im_start|>user <|vision_start|> ▒▒▒▒▒▒ <|vision_end|>
                               ├──────────────────────┬
        node 1  question    How many chairs …?        │
                               ├─────────┬            │
        nodes 2, 3             Two.      Three.       │
        node 4  question                              Which is closer …?
        node 5  completion                            A

    A token attends to the earlier tokens of its node and to all tokens of its ancestors: node 3 sees 0 and 1,
    never 2. Its positions continue from its parent, so 2 and 3 start at the same one. A tree may have several
    roots; they do not see one another.
    """

    def __init__(self) -> None:
        self.nodes: list[Node] = []

    def add(self, token_ids: Sequence[int], parent: int | None = None, clip: ClipInput | None = None) -> int:
        """Append a node and return its index; `token_ids` may be empty.

        clip: its placeholders must stand in `token_ids`, in one run, or in one for each grid step where
        `VideoTokens` says so. A placeholder id in a node without a clip is an ordinary token (a policy may
        sample it). Raises ValueError for an unknown parent.
        """
        if parent is not None and not 0 <= parent < len(self.nodes):
            raise ValueError(f"parent {parent} is not a node; this tree has {len(self.nodes)} so far")
        self.nodes.append(Node(tuple(int(token) for token in token_ids), parent, clip))
        return len(self.nodes) - 1

    def __len__(self) -> int:
        """Number of tokens."""
        return sum(len(node.token_ids) for node in self.nodes)


def join(trees: Sequence[TokenTree]) -> tuple[TokenTree, list[int]]:
    """A tree with the roots of all, and the number that each one's first node has in it.

    Packed it is one row without padding, however the trees' lengths differ.
    """
    joined, first = TokenTree(), []
    for tree in trees:
        first.append(len(joined.nodes))
        joined.nodes += [
            node if node.parent is None else replace(node, parent=node.parent + first[-1])
            for node in tree.nodes
        ]
    return joined, first


@dataclass(frozen=True, eq=False)
class Packed:
    """Trees as one batch, one tree a row, padded on the right. B rows of L tokens.

    Nodes lie depth first, so that a node's descendants follow it at once and who sees whom is one number a
    token: seen_until: (B, L) int64; token k is seen by the tokens k to seen_until[k] - 1, the rest of its
    node and all descendants; padding by itself only. input_ids: (B, L) int64. position_ids: (3, B, L) int64,
    multimodal rotary (time, height, width). mm_token_type_ids: (B, L) int64, 2 where a clip's feature goes,
    else 0. clips: distinct clips by first appearance; clip_order: for every appearance, row by row, its index
    in `clips`. video_grid_thw: (clips, 3), second_per_grid_ts: (clips,) float32, both of the distinct clips,
    None without any. spans[b][n]: (start, end) of node n in row b. before[b][n]: place of the token before
    the node's first one, in its nearest ancestor that has tokens, or -1. next_position[b][n]: the rotary
    position a child would start at.
    """

    input_ids: Tensor
    position_ids: Tensor
    seen_until: Tensor
    mm_token_type_ids: Tensor
    clips: tuple[ClipInput, ...]
    clip_order: tuple[int, ...]
    video_grid_thw: Tensor | None
    second_per_grid_ts: Tensor | None
    spans: list[list[tuple[int, int]]]
    before: list[list[int]]
    next_position: list[list[int]]

    @property
    def attention_mask(self) -> Tensor:
        """(B, 1, L, L) bool, True = the row's token may attend to the column's; made anew on every call."""
        place = torch.arange(self.seen_until.shape[1], device=self.seen_until.device)
        is_elder = place <= place[:, None]
        return (is_elder & (place[:, None] < self.seen_until[:, None]))[:, None]

    def to(self, device: torch.device | str) -> Packed:
        """The same with its tensors on `device`."""
        moved: dict[str, Any] = {
            name: value.to(device) for name, value in vars(self).items() if isinstance(value, Tensor)
        }
        return replace(self, **moved)


def pack(trees: Sequence[TokenTree], pad_id: int, video: VideoTokens) -> Packed:
    """Lay out each tree's nodes depth first in a row, and say who sees whom and at which position.

    Positions are Qwen2.5-VL's: three equal numbers for a text token, (time, height, width) for those of a run
    of placeholders, everything after starts at the largest so far + 1. That is the rule the published
    checkpoints were trained with (transformers 4, vLLM); transformers 5 advances by the larger spatial side
    alone, so that text after a clip with more temporal positions than that overlaps with it, and its
    `generate` jumps at the first new token. The positions of the clip itself agree everywhere. Qwen3-VL's are
    the same rule with runs of one temporal position, for which all versions agree.

    Raises ValueError where a node's placeholders do not fit its clip, or there is no tree.
    """
    if not trees:
        raise ValueError("pack needs at least one tree, got none")
    rows = [_lay_out(tree, video) for tree in trees]
    length = max(1, *(len(row.token_ids) for row in rows))
    input_ids = torch.full((len(rows), length), pad_id, dtype=torch.long)
    position_ids = torch.zeros((3, len(rows), length), dtype=torch.long)
    types = torch.zeros((len(rows), length), dtype=torch.long)
    seen_until = torch.arange(1, length + 1).repeat(len(rows), 1)
    for b, row in enumerate(rows):
        n = len(row.token_ids)
        input_ids[b, :n] = torch.tensor(row.token_ids, dtype=torch.long)
        position_ids[:, b, :n], types[b, :n], seen_until[b, :n] = row.positions, row.types, row.seen_until
    seen = [clip for row in rows for clip in row.clips]
    clips = tuple({id(clip): clip for clip in seen}.values())
    index = {id(clip): k for k, clip in enumerate(clips)}
    return Packed(
        input_ids=input_ids,
        position_ids=position_ids,
        seen_until=seen_until,
        mm_token_type_ids=types,
        clips=clips,
        clip_order=tuple(index[id(clip)] for clip in seen),
        video_grid_thw=torch.stack([clip.grid_thw for clip in clips]) if clips else None,
        second_per_grid_ts=torch.tensor([clip.seconds_per_grid for clip in clips]) if clips else None,
        spans=[row.spans for row in rows],
        before=[row.before for row in rows],
        next_position=[row.next_position for row in rows],
    )


@dataclass
class _Row:
    """One tree laid out; see `Packed`."""

    token_ids: list[int]
    positions: Tensor
    types: Tensor
    seen_until: Tensor
    clips: list[ClipInput]
    spans: list[tuple[int, int]]
    before: list[int]
    next_position: list[int]


def _lay_out(tree: TokenTree, video: VideoTokens) -> _Row:
    """Place one tree's nodes depth first, so parents come before their children and one pass does."""
    order = _depth_first(tree)
    count = len(tree.nodes)
    spans, before, next_position = [(0, 0)] * count, [-1] * count, [0] * count
    positions, types = [torch.zeros((3, 0), dtype=torch.long)], [torch.zeros(0, dtype=torch.long)]
    start = 0
    for n in order:
        node = tree.nodes[n]
        first = 0
        if node.parent is not None:
            low, high = spans[node.parent]
            before[n] = high - 1 if high > low else before[node.parent]
            first = next_position[node.parent]
        spans[n] = (start, start + len(node.token_ids))
        start = spans[n][1]
        node_positions, node_types, next_position[n] = _node_positions(node, first, video)
        positions.append(node_positions)
        types.append(node_types)
    return _Row(
        token_ids=[token for n in order for token in tree.nodes[n].token_ids],
        positions=torch.cat(positions, dim=1),
        types=torch.cat(types),
        seen_until=_seen_until(tree, order, spans),
        clips=[clip for n in order if (clip := tree.nodes[n].clip) is not None],
        spans=spans,
        before=before,
        next_position=next_position,
    )


def _depth_first(tree: TokenTree) -> list[int]:
    """Nodes, each followed by its descendants; children in the order they were added."""
    children: dict[int | None, list[int]] = {}
    for n, node in enumerate(tree.nodes):
        children.setdefault(node.parent, []).append(n)
    order: list[int] = []
    waiting = children.get(None, [])[::-1]
    while waiting:
        order.append(waiting.pop())
        waiting += children.get(order[-1], [])[::-1]
    return order


def _seen_until(tree: TokenTree, order: Sequence[int], spans: Sequence[tuple[int, int]]) -> Tensor:
    """(n,) for each token, in `order`, where the last descendant of its node ends."""
    ends = [end for _, end in spans]
    for n in reversed(order):
        parent = tree.nodes[n].parent
        if parent is not None:
            ends[parent] = max(ends[parent], ends[n])
    lengths = torch.tensor([len(tree.nodes[n].token_ids) for n in order], dtype=torch.long)
    return torch.repeat_interleave(torch.tensor([ends[n] for n in order], dtype=torch.long), lengths)


def _node_positions(node: Node, first: int, video: VideoTokens) -> tuple[Tensor, Tensor, int]:
    """Positions (3, n), token types (n,) and the position after the node, which starts at `first`."""
    n = len(node.token_ids)
    types = torch.zeros(n, dtype=torch.long)
    if node.clip is None:
        return torch.arange(first, first + n).expand(3, n), types, first + n
    parts, place = [], 0
    for begin, end in _clip_runs(node, video):
        types[begin:end] = 2
        parts.append(torch.arange(first, first + begin - place).expand(3, -1))
        parts.append(run_positions(node.clip, first + begin - place, video))
        first, place = int(parts[-1].max()) + 1, end
    tail = torch.arange(first, first + n - place).expand(3, -1)
    return torch.cat([*parts, tail], dim=1), types, first + n - place


def run_positions(clip: ClipInput, first: int, video: VideoTokens) -> Tensor:
    """(3, tokens) positions of one run of a clip's placeholders, time-major, offset by `first`.

    Time advances by tokens_per_second * seconds_per_grid a grid step, rounded down after multiplying, in
    float32 as transformers does it; in a run of one step it stays where it is.
    """
    t, h, w = clip_grid(clip, video)
    if video.tokens_per_second is None:
        time = torch.zeros(1, dtype=torch.long)
    else:
        interval = video.tokens_per_second * torch.tensor(clip.seconds_per_grid, dtype=torch.float32)
        time = (torch.arange(t) * interval).long()
    grid = torch.meshgrid(time, torch.arange(h), torch.arange(w), indexing="ij")
    return torch.stack(grid).reshape(3, -1) + first


def clip_grid(clip: ClipInput, video: VideoTokens) -> tuple[int, int, int]:
    """Tokens of a clip in time, height and width. Raises ValueError where patches cannot be merged evenly."""
    t, h, w = (int(side) for side in clip.grid_thw.tolist())
    if min(t, h, w) < 1 or h % video.merge or w % video.merge:
        raise ValueError(
            f"clip grid {(t, h, w)} cannot be merged {video.merge} x {video.merge}; "
            f"use frame sizes that are multiples of patch * merge"
        )
    if clip.features is None and clip.pixels.shape[0] != t * h * w:
        raise ValueError(f"clip has {clip.pixels.shape[0]} patches, its grid {(t, h, w)} needs {t * h * w}")
    return t, h // video.merge, w // video.merge


def _clip_runs(node: Node, video: VideoTokens) -> list[tuple[int, int]]:
    """(begin, end) of each run of a node's placeholders, checked against its clip."""
    assert node.clip is not None
    t, h, w = clip_grid(node.clip, video)
    runs, place = [], 0
    for is_placeholder, group in groupby(node.token_ids, key=video.video_token_id.__eq__):
        end = place + sum(1 for _ in group)
        if is_placeholder:
            runs.append((place, end))
        place = end
    wanted = [t * h * w] if video.tokens_per_second is not None else [h * w] * t
    found = [end - begin for begin, end in runs]
    if found != wanted:
        raise ValueError(
            f"a node's clip needs {'one run' if len(wanted) == 1 else f'{t} runs'} of {wanted[0]} "
            f"placeholders (token {video.video_token_id}), "
            f"got {sum(found)}{' in several runs' if len(found) > 1 else ''}"
        )
    return runs
