"""A way over the free floor: start near the -y side, pass viewpoints that together see the items, come to
rest."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from tolman.render import gaze, occupancy
from tolman.render.occupancy import Grid, Ways

Floats = npt.NDArray[np.float64]
Cells = npt.NDArray[np.int64]

ROOM_FOR_BODY = (0.3, 0.2, 0.12, 0.06)
"""Metres to keep from walls and furniture, the first that leaves room to walk."""
LEAST_FLOOR = 0.6
"""Square metres of connected free floor that count as room to walk."""
STOPS = 5
"""Most viewpoints after the start."""
STRIDE = 0.35
"""Most metres from one frame to the next, on average."""


class Floor(NamedTuple):
    """Where a camera may go: grid, free connected cells (rows, columns), metres of clearance of each cell."""

    grid: Grid
    free: npt.NDArray[np.bool_]
    clear: Floats


def free_floor(grid: Grid, occupied: npt.NDArray[np.bool_]) -> Floor:
    """The largest connected free floor, as wide of things as ROOM_FOR_BODY allows.

    Where none of these leaves LEAST_FLOOR square metres, the one cell of largest clearance is all there is:
    the camera stands there and turns. Where furniture covers the whole floor, that is the cell furthest from
    walls.
    """
    for cover in (occupied, ~grid.inside):
        clear = occupancy.clearance(~cover, grid.cell)
        for wide in ROOM_FOR_BODY if cover is occupied else ():
            part = occupancy.largest_part(clear > wide, clear)
            if part.sum() * grid.cell**2 >= LEAST_FLOOR:
                return Floor(grid, part, clear)
        if clear.max() > 0:
            only = np.zeros_like(cover)
            only[np.unravel_index(int(clear.argmax()), clear.shape)] = True
            return Floor(grid, only, clear)
    raise ValueError(
        "the floor polygon is smaller than a grid cell (0.1 m): check that it is given in metres"
    )


def start_cell(floor: Floor) -> Cells:
    """The free cell (2,) nearest to the middle of the -y side, a little off the wall, rather clear than
    close."""
    cells = np.argwhere(floor.free)
    middles = floor.grid.middles()
    low, high = middles[floor.grid.inside].min(axis=0), middles[floor.grid.inside].max(axis=0)
    at = middles[cells[:, 0], cells[:, 1]]
    off = np.abs(at[:, 0] - (low[0] + high[0]) / 2) * 0.5 + np.maximum(at[:, 1] - low[1] - 0.3, 0)
    off -= 0.3 * np.minimum(floor.clear[cells[:, 0], cells[:, 1]], 0.6)
    return np.asarray(cells[off.argmin()])


def viewpoints(floor: Floor, most: int, rng: np.random.Generator) -> Cells:
    """Up to `most` free cells (k, 2) spread over the free floor, clear ones first."""
    cells = np.argwhere(floor.free)
    jitter = rng.uniform(0, 0.15, len(cells))
    order = np.argsort(-(np.minimum(floor.clear[cells[:, 0], cells[:, 1]], 0.8) + jitter), kind="stable")
    cells = cells[order]
    spread = max(3.0, np.sqrt(len(cells) / most))
    taken: list[int] = []
    left = np.ones(len(cells), bool)
    while left.any() and len(taken) < most:
        k = int(left.argmax())
        taken.append(k)
        left &= ((cells - cells[k]) ** 2).sum(axis=1) >= spread**2
    return np.asarray(cells[taken])


def choose_stops(gain: Floats, costs: Floats, budget: float, rng: np.random.Generator) -> list[int]:
    """Viewpoints in the order they are passed. gain (k, items): how well each sees each item, 0 to 1;
    viewpoint 0 is the start. costs (k, k): metres between them. Greedily the most new sight per metre, while
    `budget` metres last; at least one stop where any is in reach, so that the camera moves."""
    have = gain[0].copy()
    stops, left = [0], budget
    while len(stops) <= STOPS:
        way = costs[stops[-1]]
        more = np.maximum(gain - have, 0).sum(axis=1)
        usable = (way <= left) & (way > 0.4)
        usable[stops] = False
        if not usable.any():
            break
        # a walk that has seen everything still wanders a little: short of a third of its budget it goes on
        idle = 0.05 * rng.random(len(gain)) if left > 0.66 * budget else 0.0
        value = np.where(usable, (more + idle) / (way + 1.0), -1.0)
        best = int(value.argmax())
        if value[best] <= 1e-3:
            break
        stops.append(best)
        left -= float(way[best])
        have = np.maximum(have, gain[best])
    return stops


def smooth(points: Floats, floor: Floor, window: int) -> Floats:
    """The polyline (n, 2), evenly sampled, with its corners rounded as far as it stays over free cells."""
    while window > 1:
        soft = ndimage.uniform_filter1d(points, window, axis=0, mode="nearest")
        soft = ndimage.uniform_filter1d(soft, window, axis=0, mode="nearest")
        soft[0], soft[-1] = points[0], points[-1]
        if floor.free[floor.grid.index(soft)].all():
            return np.asarray(soft)
        window //= 2
    return points


def along(points: Floats, count: int) -> Floats:
    """`count` points (count, d) evenly spread along a polyline (n, d), both ends included."""
    step = np.linalg.norm(np.diff(points, axis=0), axis=1)
    at = np.concatenate([[0.0], np.cumsum(step)])
    want = np.linspace(0, at[-1], count)
    return np.stack([np.interp(want, at, column) for column in points.T], axis=1)


def gently(count: int) -> Floats:
    """(count,) shares of the way from 0 to 1: even, but slower at both ends."""
    t = np.linspace(0, 1, count)
    return np.asarray(0.6 * t + 0.4 * t * t * (3 - 2 * t))


def walk_route(
    floor: Floor, z: float, frames: int, look: gaze.Views | None, points: Cells, rng: np.random.Generator
) -> Floats:
    """Positions (frames, 3) of a camera at height z. points (k, 2): viewpoints, the start first; look: what
    is seen from them."""
    middles = floor.grid.middles()
    here = middles[points[:, 0], points[:, 1]]
    line = here[:1]
    if len(points) > 1 and look is not None and frames > 1:
        ways = Ways(floor.free, floor.clear, floor.grid.cell)
        costs, before = ways.from_cells(points)
        numbers = ways.number[points[:, 0], points[:, 1]]
        gain = np.minimum(look.open.mean(axis=2) * look.apparent / 0.02, 1.0)
        stops = choose_stops(gain, costs[:, numbers], STRIDE * (frames - 1), rng)
        legs = [ways.path(before[a], int(numbers[b])) for a, b in pairwise(stops)]
        cells = np.concatenate([points[:1], *(leg[1:] for leg in legs)])
        line = middles[cells[:, 0], cells[:, 1]]
    if len(line) > 2:
        dense = along(line, max(8, 4 * len(line)))
        line = smooth(dense, floor, 32)
        step = np.linalg.norm(np.diff(line, axis=0), axis=1)
        at = np.concatenate([[0.0], np.cumsum(step)])
        line = np.stack([np.interp(gently(frames) * at[-1], at, column) for column in line.T], axis=1)
    else:
        line = np.repeat(line[:1], frames, axis=0)
    return np.column_stack([line, np.full(frames, z)])
