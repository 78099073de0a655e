"""Keys and values of shared beginnings, each held once, and how the rows that share them look them up.

R rows decode; N beginnings, each shared by up to M rows, hold up to W tokens; H key/value heads of D numbers,
Q query heads for each of them. Heads come first in every tensor: then a beginning's rows lie side by side,
whichever level it is on, and nothing is copied to multiply them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Collected:
    """A cache for the prefill: keeps the keys and values (B, H, L, D) that each layer computed."""

    def __init__(self) -> None:
        self.keys: list[Tensor] = []
        self.values: list[Tensor] = []

    def update(self, keys: Tensor, values: Tensor, layer: int, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """What transformers' attention calls with its new keys and values."""
        assert layer == len(self.keys)
        self.keys.append(keys)
        self.values.append(values)
        return keys, values

    def get_seq_length(self, layer: int = 0) -> int:
        """Nothing came before."""
        return 0


class Slots(NamedTuple):
    """Where rows lie among the beginnings' M slots each.

    nodes: N. row_of_slot: (N * M,) the row in each slot, row 0 in unused ones; slot_of_row: (R,) the way
    back. Both None where row r simply is in slot r.
    """

    nodes: int
    row_of_slot: Tensor | None
    slot_of_row: Tensor | None

    def to_nodes(self, rows: Tensor) -> Tensor:
        """(H * N, M * Q, D) from (H, R, Q, D): a beginning's rows side by side, for one matrix product."""
        if self.row_of_slot is not None:
            rows = rows[:, self.row_of_slot]
        heads, slots, queries, size = rows.shape
        return rows.reshape(heads * self.nodes, slots // self.nodes * queries, size)

    def to_rows(self, nodes: Tensor, heads: int, queries: int) -> Tensor:
        """(H, R, Q, D) from (H * N, M * Q, D): the inverse of `to_nodes`."""
        rows = nodes.view(heads, -1, queries, nodes.shape[-1])
        return rows if self.slot_of_row is None else rows[:, self.slot_of_row]


@dataclass(frozen=True, eq=False)
class Sharing:
    """Which of N beginnings each of R rows shares: (R,) integers; and where that puts the row."""

    node_of_row: tuple[int, ...]
    slots: Slots

    @classmethod
    def of(cls, node_of_row: Sequence[int], device: torch.device) -> Sharing:
        """Slots for rows that share the beginnings 0 to N - 1, none of which may be without a row."""
        nodes = max(node_of_row) + 1
        rows: list[list[int]] = [[] for _ in range(nodes)]
        slots = []
        for row, node in enumerate(node_of_row):
            slots.append((node, len(rows[node])))
            rows[node].append(row)
        assert all(rows), "a beginning that no row shares"
        each = max(map(len, rows))
        places = [node * each + index for node, index in slots]
        if places == list(range(nodes * each)):
            return cls(tuple(node_of_row), Slots(nodes, None, None))
        filled = [members + [0] * (each - len(members)) for members in rows]
        row_of_slot = torch.tensor(filled, device=device).flatten()
        return cls(tuple(node_of_row), Slots(nodes, row_of_slot, torch.tensor(places, device=device)))


@dataclass(frozen=True, eq=False)
class Level:
    """Beginnings on one level of the tree (clips, or questions).

    keys, values: of every layer, (H * N, W, D), padded on the right. mask: (N, W) bool, True = a token.
    padded: whether any is False.
    """

    sharing: Sharing
    keys: list[Tensor]
    values: list[Tensor]
    mask: Tensor
    padded: bool

    def keep(self, rows: Sequence[int]) -> Level:
        """The same for these rows only, without the beginnings that none of them shares."""
        node_of_row = [self.sharing.node_of_row[row] for row in rows]
        kept = sorted(set(node_of_row))
        device = self.mask.device
        sharing = Sharing.of([kept.index(node) for node in node_of_row], device)
        if len(kept) == self.sharing.slots.nodes:
            return replace(self, sharing=sharing)
        nodes = torch.tensor(kept, device=device)
        before = self.sharing.slots.nodes
        keys, values = (
            [part_of(part, before, nodes) for part in parts] for parts in (self.keys, self.values)
        )
        return Level(sharing, keys, values, self.mask[nodes], self.padded)


def part_of(stacked: Tensor, count: int, kept: Tensor) -> Tensor:
    """Of (H * count, ...), those at the indices `kept`: (H * len(kept), ...)."""
    return stacked.view(-1, count, *stacked.shape[1:])[:, kept].flatten(0, 1)


def make_level(
    collected: Collected, rows: Sequence[int], paths: Sequence[Sequence[int]], node_of_row: Sequence[int]
) -> Level:
    """Take beginnings out of a prefilled batch. rows: of each, its row in that batch; paths: its tokens'
    places there; node_of_row: as in `Sharing`."""
    device = collected.keys[0].device
    width = max(map(len, paths))
    index = torch.tensor([[*path, *[0] * (width - len(path))] for path in paths], device=device)
    row = torch.tensor(rows, device=device)[:, None]
    keys, values = (
        [part.transpose(1, 2)[row, index].permute(2, 0, 1, 3).flatten(0, 1).contiguous() for part in parts]
        for parts in (collected.keys, collected.values)
    )
    lengths = [len(path) for path in paths]
    mask = torch.arange(width, device=device) < torch.tensor(lengths, device=device)[:, None]
    return Level(Sharing.of(node_of_row, device), keys, values, mask, min(lengths) < width)
