"""From an item's box to a frame to draw it in: which way is up, and where the front is."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tolman.scenes import Box, Scene

Floats = npt.NDArray[np.float64]

THINNEST = 0.01
"""Metres: boxes thinner than this are drawn this thick."""

UPRIGHT = float(np.cos(np.deg2rad(8)))
"""Least z of the steepest direction of a box that counts as upright."""

WIDE = frozenset(
    (
        "sofa", "couch", "bookshelf", "shelf", "cabinet", "wardrobe", "closet", "dresser", "tv", "tv stand",
        "monitor", "door", "window", "radiator", "heater", "whiteboard", "mirror", "piano", "keyboard",
        "counter", "fireplace", "laptop", "microwave", "bench", "desk", "clock", "cutting board", "pillow",
        "cushion", "guitar", "headphones", "power strip", "shoe rack", "coat hanger", "towel", "curtain",
        "picture", "stove",
    )
)  # fmt: skip
"""Categories whose front lies along their longer side."""

LONG = frozenset({"bed", "toilet", "computer tower", "computer mouse", "mattress", "shoes", "printer"})
"""Categories whose front lies along their shorter side."""


class Frame(NamedTuple):
    """origin (3,): the lower front left corner; axes (3, 3): rows are own x (width), y (depth, the front
    faces -y) and z (up) in the world, right-handed; size (3,): width, depth, height in metres."""

    origin: Floats
    axes: Floats
    size: Floats


def _own_rows(box: Box) -> tuple[int, int, int]:
    """Numbers of the two level rows of a box's axes and of its steepest one."""
    up = int(np.abs(box.axes[:, 2]).argmax())
    first, second = (k for k in range(3) if k != up)
    return first, second, up


def _frame(box: Box, x: Floats, y: Floats, z: Floats, size: Floats) -> Frame:
    axes = np.stack([x, y, z])
    size = np.maximum(size, THINNEST)
    return Frame(box.center - size @ axes / 2, axes, size)


def given_frame(box: Box) -> Frame:
    """The frame of a box that keeps our own convention (rows width, depth, up); a mirrored one is turned
    right-handed by turning its width round."""
    x, y, z = box.axes
    if float(np.dot(np.cross(x, y), z)) < 0:
        x = -x
    return _frame(box, x, y, z, box.size)


def _stood_up(box: Box) -> Box:
    """The box turned about its middle so that its steepest direction is vertical."""
    first, second, up = _own_rows(box)
    level = max(first, second, key=lambda row: float(np.linalg.norm(box.axes[row, :2])))
    axes = np.zeros((3, 3))
    axes[up, 2] = 1.0 if box.axes[up, 2] >= 0 else -1.0
    axes[level, :2] = box.axes[level, :2] / np.linalg.norm(box.axes[level, :2])
    axes[3 - up - level] = np.cross(axes[level], axes[up])
    return Box(box.center, box.size, axes)


def found_frame(box: Box, category: str, centre: Floats, upright: bool = True) -> Frame:
    """The frame of a box whose axes come in any order and handedness.

    Up is the row nearest the world's z. Of the fronts that suit the category (along the longer or the shorter
    side; any of four where the sides differ by less than a tenth, or the category does not care) the one that
    faces `centre` (2,) best is taken, the first of equals. With `upright`, a box that leans by more than 8
    degrees is stood up first: the smallest box around a scanned chair leans, the chair does not.
    """
    if upright and np.abs(box.axes[:, 2]).max() < UPRIGHT:
        box = _stood_up(box)
    first, second, up = _own_rows(box)
    z = box.axes[up] * (1.0 if box.axes[up, 2] >= 0 else -1.0)
    lengths = box.size[first], box.size[second]
    same = min(lengths) > 0.9 * max(lengths)
    best: tuple[float, int, float] | None = None
    for along, across in ((first, second), (second, first)):
        depth, width = box.size[along], box.size[across]
        if not same and ((category in WIDE and depth > width) or (category in LONG and depth < width)):
            continue
        for sign in (1.0, -1.0):
            facing = float(np.dot(sign * box.axes[along, :2], centre - box.center[:2]))
            if best is None or facing > best[0] + 1e-9:
                best = facing, along, sign
    assert best is not None
    _, along, sign = best
    across = second if along == first else first
    y = -sign * box.axes[along]
    x = np.cross(y, z)
    return _frame(box, x, y, z, box.size[[across, along, up]])


def frames(scene: Scene, upright: bool = True) -> list[Frame]:
    """One frame per item, in the scene's order; `upright` as for `found_frame`."""
    if scene.source == "procedural":
        return [given_frame(item.box) for item in scene.items]
    centres = np.array([item.box.center[:2] for item in scene.items]).reshape(-1, 2)
    low, high = centres.min(axis=0, initial=np.inf), centres.max(axis=0, initial=-np.inf)
    if scene.floor is not None:
        low, high = scene.floor.min(axis=0), scene.floor.max(axis=0)
    middle = (low + high) / 2
    return [found_frame(item.box, item.category, middle, upright) for item in scene.items]
