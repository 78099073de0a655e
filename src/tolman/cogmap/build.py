"""The true map of a scene."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from tolman.cogmap.map import CognitiveMap, Points
from tolman.scenes import Scene
from tolman.scenes.types import Floats


def build_map(scene: Scene, categories: Iterable[str] | None = None, grid: int | None = 10) -> CognitiveMap:
    """Where the items of a scene are, from above: the centre of each item's box.

    The grid lies over the square around the room's middle (of the floor polygon's bounding box, or else of
    the items' footprints) whose side is the longer edge of that bounding box; cell = floor(grid·(p −
    low)/side), clipped to 0..grid−1. x grows to the right (+x of the scene), y upwards (+y). grid=None
    gives metres in the scene's own frame. categories: which to draw (all by default). SpaceR's prompt
    (arXiv 2504.01805) asks for the same 10×10 grid of item centres but does not publish how the true
    cells were found. Raises ValueError for a category that the scene does not have.
    """
    chosen = list(scene.categories) if categories is None else list(dict.fromkeys(categories))
    missing = [category for category in chosen if category not in scene.categories]
    if missing:
        raise ValueError(
            f"scene {scene.id} has no {', '.join(missing)}; it has {', '.join(scene.categories)}"
        )
    if not chosen:
        return CognitiveMap({}, grid)
    low, side = _frame(scene)
    positions: dict[str, Points] = {}
    for category in chosen:
        centers = np.array([item.box.center[:2] for item in scene.of(category)])
        positions[category] = _as_metres(centers) if grid is None else _as_cells(centers, low, side, grid)
    return CognitiveMap(positions, grid)


def _frame(scene: Scene) -> tuple[Floats, float]:
    """Lower left corner (2,) and side of the square that the grid covers, metres."""
    if scene.floor is not None:
        outline = np.asarray(scene.floor, dtype=np.float64)
    else:
        outline = np.concatenate([item.box.corners[:, :2] for item in scene.items])
    lowest, highest = outline.min(axis=0), outline.max(axis=0)
    side = float((highest - lowest).max())
    return (lowest + highest - side) / 2, side


def _as_cells(centers: Floats, low: Floats, side: float, grid: int) -> Points:
    if side == 0:  # one item without extent: it is in the middle of its own room
        return tuple((grid // 2, grid // 2) for _ in centers)
    cells = np.clip(np.floor(grid * (centers - low) / side), 0, grid - 1).astype(int)
    return tuple((int(x), int(y)) for x, y in cells)


def _as_metres(centers: Floats) -> Points:
    return tuple((float(x), float(y)) for x, y in centers)
