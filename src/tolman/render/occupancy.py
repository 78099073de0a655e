"""A small grid of the floor: where a camera may go, how far from things it is, and shortest ways."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage, sparse
from scipy.sparse import csgraph

from tolman.render.light import Shade
from tolman.render.placing import Frame
from tolman.render.room import Room

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

CELL = 0.1
"""Metres per cell."""


@dataclass(frozen=True, eq=False)
class Grid:
    """inside (rows, columns): cells whose middle lies in the floor polygon; rows along y, columns along x.
    corner (2,): lower corner of the first cell. cell: metres."""

    inside: Bools
    corner: Floats
    cell: float

    def middles(self) -> Floats:
        """(rows, columns, 2) middles of the cells in metres."""
        rows, columns = self.inside.shape
        y, x = np.meshgrid(np.arange(rows) + 0.5, np.arange(columns) + 0.5, indexing="ij")
        return self.corner + np.stack([x, y], axis=-1) * self.cell

    def index(self, points: Floats) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Row and column numbers of points (..., 2); those outside go to the nearest cell."""
        at = np.floor((points - self.corner) / self.cell).astype(np.int64)
        rows, columns = self.inside.shape
        return np.clip(at[..., 1], 0, rows - 1), np.clip(at[..., 0], 0, columns - 1)


def grid_of(room: Room, cell: float = CELL) -> Grid:
    """The grid of a room's floor with one cell to spare on each side."""
    low, high = room.bounds
    columns, rows = (np.ceil((high - low) / cell).astype(int) + 2).tolist()
    corner = (low + high) / 2 - np.array([columns, rows]) * cell / 2
    empty = Grid(np.zeros((rows, columns), bool), corner, cell)
    p = empty.middles()
    inside = np.zeros((rows, columns), bool)
    for a, b in zip(room.polygon, np.roll(room.polygon, -1, axis=0), strict=True):
        if a[1] == b[1]:
            continue
        straddles = (a[1] > p[..., 1]) != (b[1] > p[..., 1])
        inside ^= straddles & (p[..., 0] < a[0] + (p[..., 1] - a[1]) * (b[0] - a[0]) / (b[1] - a[1]))
    return Grid(inside, corner, cell)


def _covered(grid: Grid, frame: Frame) -> tuple[slice, slice, Bools]:
    """The cells whose middle lies under a box: a window of the grid and a mask of it.

    A tilted box counts as the upright one around its sides that are nearly level: exact for upright boxes.
    """
    across = frame.axes[:2, :2]
    half = frame.size[:2] / 2
    centre = (frame.origin + frame.size @ frame.axes / 2)[:2]
    reach = np.abs(across.T) @ half + frame.size[2] / 2 * np.abs(frame.axes[2, :2])
    r0, c0 = grid.index(centre - reach)
    r1, c1 = grid.index(centre + reach)
    rows, columns = slice(int(r0), int(r1) + 1), slice(int(c0), int(c1) + 1)
    x = grid.corner[0] + (np.arange(columns.start, columns.stop) + 0.5) * grid.cell - centre[0]
    y = grid.corner[1] + (np.arange(rows.start, rows.stop) + 0.5) * grid.cell - centre[1]
    slack = grid.cell / 2
    one = np.abs(x[None] * across[0, 0] + y[:, None] * across[0, 1]) <= half[0] + slack
    two = np.abs(x[None] * across[1, 0] + y[:, None] * across[1, 1]) <= half[1] + slack
    return rows, columns, one & two


def blocked(grid: Grid, frames: list[Frame], low: float, high: float) -> Bools:
    """Cells (rows, columns) outside the room or under an item that reaches into heights low..high (z,
    metres)."""
    out = ~grid.inside
    for frame in frames:
        vertical = np.abs(frame.axes[:, 2]) @ frame.size / 2
        middle = frame.origin[2] + float(frame.size @ frame.axes[:, 2]) / 2
        if middle - vertical < high and middle + vertical > low:
            rows, columns, mask = _covered(grid, frame)
            out[rows, columns] |= mask
    return out


def clearance(free: Bools, cell: float) -> Floats:
    """Metres from each cell to the nearest one that is not free (0 there)."""
    return np.asarray(ndimage.distance_transform_edt(free)) * cell


class Ways:
    """Shortest ways between the cells of one connected free part of a grid; passing close to things costs
    more."""

    def __init__(self, free: Bools, clear: Floats, cell: float) -> None:
        self.shape = free.shape
        number = np.full(free.shape, -1)
        self.cells = np.argwhere(free)
        number[free] = np.arange(len(self.cells))
        self.number = number
        cost = 1 + 0.6 * np.exp(-clear / 0.25)
        rows, columns, weights = [], [], []
        for dy, dx in ((0, 1), (1, 0), (1, 1), (1, -1)):
            a = number[: free.shape[0] - dy, max(0, -dx) : free.shape[1] - max(0, dx)]
            b = number[dy:, max(0, dx) : free.shape[1] + min(0, dx)]
            both = (a >= 0) & (b >= 0)
            length = cell * float(np.hypot(dy, dx))
            at, to = a[both], b[both]
            price = cost[tuple(self.cells[at].T)] + cost[tuple(self.cells[to].T)]
            rows.append(at)
            columns.append(to)
            weights.append(length * price / 2)
        n = len(self.cells)
        self.graph = sparse.csr_matrix(
            (np.concatenate(weights), (np.concatenate(rows), np.concatenate(columns))), shape=(n, n)
        )

    def from_cells(self, cells: npt.NDArray[np.int64]) -> tuple[Floats, npt.NDArray[np.int32]]:
        """Costs (k, n) and predecessors (k, n) from cells (k, 2) to all free cells."""
        start = self.number[cells[:, 0], cells[:, 1]]
        costs, before = csgraph.dijkstra(self.graph, directed=False, indices=start, return_predecessors=True)
        return costs, before

    def path(self, before: npt.NDArray[np.int32], end: int) -> npt.NDArray[np.int64]:
        """Cells (m, 2) from the start that `before` (n,) belongs to, to free cell number `end`."""
        out = [end]
        while before[out[-1]] >= 0:
            out.append(int(before[out[-1]]))
        return np.asarray(self.cells[out[::-1]])


def largest_part(free: Bools, clear: Floats) -> Bools:
    """The connected part (8 neighbours) of the free cells with the most cells; empty where none is free."""
    labels, count = ndimage.label(free, structure=np.ones((3, 3)))
    if count == 0:
        return free
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return np.asarray(labels == sizes.argmax())


def floor_shade(room: Room, frames: list[Frame]) -> Shade:
    """How much even light reaches the floor: less beside walls, under and beside furniture."""
    grid = grid_of(room, 0.06)
    cover = ~grid.inside * 0.55
    for frame in frames:
        bottom = frame.origin[2] - room.low
        weight = float(np.clip(1.15 - bottom, 0, 1)) * 0.75
        if weight > 0:
            rows, columns, mask = _covered(grid, frame)
            cover[rows, columns] = np.maximum(cover[rows, columns], mask * weight)
    near = ndimage.uniform_filter(ndimage.uniform_filter(cover, 3), 5)
    wide = ndimage.uniform_filter(ndimage.uniform_filter(cover, 9), 9)
    image = (1 - 0.45 * near - 0.3 * wide).astype(np.float32)
    return Shade(image, (float(grid.corner[0]), float(grid.corner[1])), 1 / grid.cell)
