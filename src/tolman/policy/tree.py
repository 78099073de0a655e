"""A tree of tokens, and many of them packed into one batch, so that what is shared is computed once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class ClipInput:
    """A clip as the vision tower takes it.

    pixels: (patches, channels * temporal * patch * patch) float32. grid_thw: (3,) int64, patches in time,
    height and width. seconds_per_grid: seconds between two grid steps in time (the sampled frames' spacing
    times `temporal`). Two clips are the same clip when they are the same object.
    """

    pixels: Tensor
    grid_thw: Tensor
    seconds_per_grid: float


@dataclass(frozen=True)
class VideoTokens:
    """How clips appear in a policy's token sequences.

    video_token_id: the placeholder that the vision tower's features replace, one for each merge x merge
    patches. tokens_per_second: temporal positions that one second of video advances.
    """

    video_token_id: int
    merge: int
    tokens_per_second: float

    @classmethod
    def from_config(cls, config: Any) -> VideoTokens:
        """Read from a `Qwen2_5_VLConfig`."""
        vision = config.vision_config
        return cls(config.video_token_id, vision.spatial_merge_size, vision.tokens_per_second)


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

        clip: its placeholders must stand in `token_ids`, in one run. A placeholder id in a node without a
        clip is an ordinary token (a policy may sample it). Raises ValueError for an unknown parent.
        """
        if parent is not None and not 0 <= parent < len(self.nodes):
            raise ValueError(f"parent {parent} is not a node; this tree has {len(self.nodes)} so far")
        self.nodes.append(Node(tuple(int(token) for token in token_ids), parent, clip))
        return len(self.nodes) - 1

    def __len__(self) -> int:
        """Number of tokens."""
        return sum(len(node.token_ids) for node in self.nodes)


@dataclass(frozen=True, eq=False)
class Packed:
    """Trees as one batch, one tree a row, padded on the right. B rows of L tokens.

    input_ids: (B, L) int64. position_ids: (3, B, L) int64, multimodal rotary (time, height, width).
    attention_mask: (B, 1, L, L) bool, True = the row's token may attend to the column's; padding sees itself
    only. mm_token_type_ids: (B, L) int64, 2 where a clip's feature goes, else 0. clips: distinct clips by
    first appearance; clip_order: for every appearance, row by row, its index in `clips`. pixel_values_videos:
    (all patches, D) float32, video_grid_thw: (clips, 3), second_per_grid_ts: (clips,) float32, all three of
    the distinct clips, None without any. spans[b][n]: (start, end) of node n in row b. before[b][n]: place of
    the token before the node's first one, in its nearest ancestor that has tokens, or -1.
    next_position[b][n]: the rotary position a child would start at.
    """

    input_ids: Tensor
    position_ids: Tensor
    attention_mask: Tensor
    mm_token_type_ids: Tensor
    clips: tuple[ClipInput, ...]
    clip_order: tuple[int, ...]
    pixel_values_videos: Tensor | None
    video_grid_thw: Tensor | None
    second_per_grid_ts: Tensor | None
    spans: list[list[tuple[int, int]]]
    before: list[list[int]]
    next_position: list[list[int]]

    def to(self, device: torch.device | str) -> Packed:
        """The same with its tensors on `device`."""
        moved: dict[str, Any] = {
            name: value.to(device) for name, value in vars(self).items() if isinstance(value, Tensor)
        }
        return replace(self, **moved)


def pack(trees: Sequence[TokenTree], pad_id: int, video: VideoTokens) -> Packed:
    """Lay out each tree's nodes one after another in a row, and say who sees whom and at which position.

    Positions are Qwen2.5-VL's: three equal numbers for a text token, (time, height, width) for a clip's,
    everything after starts at the largest so far + 1. That is the rule the published checkpoints were trained
    with (transformers 4, vLLM); transformers 5 advances by the larger spatial side alone, so that text after
    a clip with more temporal positions than that overlaps with it, and its `generate` jumps at the first new
    token. The positions of the clip itself agree everywhere.

    Raises ValueError where a node's placeholders do not fit its clip, or there is no tree.
    """
    if not trees:
        raise ValueError("pack needs at least one tree, got none")
    rows = [_lay_out(tree, video) for tree in trees]
    length = max(1, *(len(row.token_ids) for row in rows))
    input_ids = torch.full((len(rows), length), pad_id, dtype=torch.long)
    position_ids = torch.zeros((3, len(rows), length), dtype=torch.long)
    types = torch.zeros((len(rows), length), dtype=torch.long)
    mask = torch.eye(length, dtype=torch.bool).repeat(len(rows), 1, 1)
    for b, row in enumerate(rows):
        n = len(row.token_ids)
        input_ids[b, :n] = torch.tensor(row.token_ids, dtype=torch.long)
        position_ids[:, b, :n], types[b, :n], mask[b, :n, :n] = row.positions, row.types, row.may_attend
    seen = [clip for row in rows for clip in row.clips]
    clips = tuple({id(clip): clip for clip in seen}.values())
    index = {id(clip): k for k, clip in enumerate(clips)}
    return Packed(
        input_ids=input_ids,
        position_ids=position_ids,
        attention_mask=mask[:, None],
        mm_token_type_ids=types,
        clips=clips,
        clip_order=tuple(index[id(clip)] for clip in seen),
        pixel_values_videos=torch.cat([clip.pixels for clip in clips]) if clips else None,
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
    may_attend: Tensor
    clips: list[ClipInput]
    spans: list[tuple[int, int]]
    before: list[int]
    next_position: list[int]


def _lay_out(tree: TokenTree, video: VideoTokens) -> _Row:
    """Place one tree's nodes; parents come before their children, so one pass does."""
    spans: list[tuple[int, int]] = []
    before: list[int] = []
    next_position: list[int] = []
    positions, types = [torch.zeros((3, 0), dtype=torch.long)], [torch.zeros(0, dtype=torch.long)]
    start = 0
    for node in tree.nodes:
        end = start + len(node.token_ids)
        parent = node.parent
        if parent is None:
            before.append(-1)
        else:
            low, high = spans[parent]
            before.append(high - 1 if high > low else before[parent])
        first = 0 if parent is None else next_position[parent]
        node_positions, node_types, following = _node_positions(node, first, video)
        spans.append((start, end))
        next_position.append(following)
        positions.append(node_positions)
        types.append(node_types)
        start = end
    return _Row(
        token_ids=[token for node in tree.nodes for token in node.token_ids],
        positions=torch.cat(positions, dim=1),
        types=torch.cat(types),
        may_attend=_may_attend(tree),
        clips=[node.clip for node in tree.nodes if node.clip is not None],
        spans=spans,
        before=before,
        next_position=next_position,
    )


def _may_attend(tree: TokenTree) -> Tensor:
    """(n, n) bool: True where the row's token sees the column's; row order puts ancestors first."""
    count = len(tree.nodes)
    sees = torch.zeros((count, count), dtype=torch.bool)
    for n, node in enumerate(tree.nodes):
        if node.parent is not None:
            sees[n] = sees[node.parent]
        sees[n, n] = True
    lengths = torch.tensor([len(node.token_ids) for node in tree.nodes], dtype=torch.long)
    node_of = torch.repeat_interleave(torch.arange(count), lengths)
    return sees[node_of][:, node_of].tril()


def _node_positions(node: Node, first: int, video: VideoTokens) -> tuple[Tensor, Tensor, int]:
    """Positions (3, n), token types (n,) and the position after the node, which starts at `first`."""
    n = len(node.token_ids)
    types = torch.zeros(n, dtype=torch.long)
    if node.clip is None:
        return torch.arange(first, first + n).expand(3, n), types, first + n
    begin, end = _clip_run(node, video)
    types[begin:end] = 2
    head = torch.arange(first, first + begin).expand(3, begin)
    block = clip_positions(node.clip, first + begin, video)
    after = int(block.max()) + 1
    tail = torch.arange(after, after + n - end).expand(3, n - end)
    return torch.cat([head, block, tail], dim=1), types, after + n - end


def clip_positions(clip: ClipInput, first: int, video: VideoTokens) -> Tensor:
    """(3, tokens) positions of a clip's tokens, time-major, offset by `first`.

    Time advances by tokens_per_second * seconds_per_grid a grid step, rounded down after multiplying, in
    float32 as transformers does it.
    """
    t, h, w = clip_grid(clip, video)
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
    if clip.pixels.shape[0] != t * h * w:
        raise ValueError(f"clip has {clip.pixels.shape[0]} patches, its grid {(t, h, w)} needs {t * h * w}")
    return t, h // video.merge, w // video.merge


def _clip_run(node: Node, video: VideoTokens) -> tuple[int, int]:
    """(begin, end) of a node's run of placeholders, checked against its clip."""
    assert node.clip is not None
    t, h, w = clip_grid(node.clip, video)
    places = [k for k, token in enumerate(node.token_ids) if token == video.video_token_id]
    if len(places) != t * h * w or places[-1] - places[0] + 1 != len(places):
        raise ValueError(
            f"a node's clip needs one run of {t * h * w} placeholders (token {video.video_token_id}), "
            f"got {len(places)}{' in several runs' if len(places) == t * h * w else ''}"
        )
    return places[0], places[-1] + 1
