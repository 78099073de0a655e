"""Solid parts of furniture: boxes, tubes and blobs in an item's own metric frame, turned into triangles in
bulk.

An item's own frame has its origin in a lower corner of its box: x runs over the width, y over the depth (the
front is y = 0), z up. Every part lies within the box, so that what is drawn is what the scene says.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Colour = tuple[float, float, float]
Point = tuple[float, float, float]

SIDES = 16
"""Sides of a tube."""


class Material(NamedTuple):
    """How a surface answers light: a texture's number (see textures.py), gloss and glow in [0, 1]."""

    texture: int = 0
    gloss: float = 0.0
    glow: float = 0.0


MATTE = Material()
WOOD = Material(texture=1, gloss=0.12)
FABRIC = Material(texture=2)
GLOSSY = Material(gloss=0.5)
GLOW = Material(glow=1.0)
SCREEN = Material(gloss=0.6, glow=0.35)
BRICK = Material(texture=7)
STONE = Material(texture=8, gloss=0.25)


RECESS = 5e-5
"""Metres by which a part lies deeper than the item's next one: of two faces in one plane the later part's
shows."""


class Style(NamedTuple):
    """What every triangle of a part shares; order is the part's number within its item."""

    item: int
    colour: Colour
    material: Material
    order: int


@dataclass
class Parts:
    """Parts of many items, as plain numbers, until `triangulate` turns them into triangles."""

    boxes: list[tuple[float, ...]] = field(default_factory=list)
    box_styles: list[Style] = field(default_factory=list)
    tubes: list[tuple[float, ...]] = field(default_factory=list)
    tube_styles: list[Style] = field(default_factory=list)
    blobs: list[tuple[float, ...]] = field(default_factory=list)
    blob_styles: list[Style] = field(default_factory=list)


class Kit:
    """What a furniture function builds one item with.

    w, d, h: the item's width, depth and height in metres. colour: its main colour, accent: its second.
    rng: the item's own randomness.
    """

    def __init__(
        self,
        parts: Parts,
        item: int,
        size: Point,
        colour: Colour,
        accent: Colour,
        rng: np.random.Generator,
    ) -> None:
        self.parts, self.item, self.rng = parts, item, rng
        self.w, self.d, self.h = size
        self.colour, self.accent = colour, accent
        self.count = 0

    def _style(self, colour: Colour, material: Material) -> Style:
        self.count += 1
        return Style(self.item, colour, material, self.count)

    def box(
        self,
        x: tuple[float, float],
        y: tuple[float, float],
        z: tuple[float, float],
        colour: Colour,
        material: Material = MATTE,
        top: tuple[float, float, float, float] | None = None,
    ) -> None:
        """A box; `top` = (x0, x1, y0, y1) at its upper face where that differs (tapered or slanted)."""
        x0, x1, y0, y1 = top if top is not None else (*x, *y)
        self.parts.boxes.append((*x, *y, *z, x0, x1, y0, y1))
        self.parts.box_styles.append(self._style(colour, material))

    def tube(
        self,
        start: Point,
        end: Point,
        radius: float | tuple[float, float],
        colour: Colour,
        material: Material = MATTE,
        end_radius: float | tuple[float, float] | None = None,
        axis: int = 2,
    ) -> None:
        """A cylinder, cone or sheared tube; its rings lie square to `axis` (0 x, 1 y, 2 z)."""
        first = radius if isinstance(radius, tuple) else (radius, radius)
        last = first if end_radius is None else end_radius
        last = last if isinstance(last, tuple) else (last, last)
        self.parts.tubes.append((*start, *end, *first, *last, axis))
        self.parts.tube_styles.append(self._style(colour, material))

    def blob(
        self,
        x: tuple[float, float],
        y: tuple[float, float],
        z: tuple[float, float],
        colour: Colour,
        material: Material = MATTE,
        power: float = 2.0,
    ) -> None:
        """An ellipsoid in that range; a larger power makes it boxier (4: a cushion)."""
        self.parts.blobs.append((*x, *y, *z, power))
        self.parts.blob_styles.append(self._style(colour, material))


class Triangles(NamedTuple):
    """Triangles in their items' frames: corners (n, 3, 3), corner normals (n, 3, 3), texture axes (n, 2) as
    numbers of the own-frame axes along u and v, and one style index per triangle into `styles`."""

    corners: Floats
    normals: Floats
    round: npt.NDArray[np.bool_]
    uv: npt.NDArray[np.int64]
    style: npt.NDArray[np.int64]
    styles: list[Style]


# Corner k of a box takes the upper end of axis j where bit j of k is set; each face two triangles.
_QUADS = np.array([[0, 2, 3, 1], [4, 5, 7, 6], [0, 1, 5, 4], [2, 6, 7, 3], [0, 4, 6, 2], [1, 3, 7, 5]])
_BOX_FACES = np.concatenate([_QUADS[:, [0, 1, 2]], _QUADS[:, [0, 2, 3]]], axis=1).reshape(12, 3)
_FACE_AXIS = np.array([2, 2, 1, 1, 0, 0]).repeat(2)
_PLANE_AXES = np.array([[1, 2], [0, 2], [0, 1]])


def _flat_normals(corners: Floats) -> Floats:
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    length = np.linalg.norm(normal, axis=1, keepdims=True)
    unit = normal / np.where(length > 0, length, 1.0)
    return np.repeat(unit[:, None], 3, axis=1)


def _recesses(parts: Parts) -> tuple[Floats, Floats]:
    """Metres by which each box and each tube is drawn smaller on every side: RECESS times the parts after
    it."""
    boxes = np.array([(style.item, style.order) for style in parts.box_styles], dtype=np.int64).reshape(-1, 2)
    tubes = np.array([(style.item, style.order) for style in parts.tube_styles], dtype=np.int64).reshape(
        -1, 2
    )
    blobs = np.array([(style.item, style.order) for style in parts.blob_styles], dtype=np.int64).reshape(
        -1, 2
    )
    every = np.concatenate([boxes, tubes, blobs])
    last = np.zeros(every[:, 0].max(initial=0) + 1, np.int64)
    np.maximum.at(last, every[:, 0], every[:, 1])
    deeper = [
        np.asarray(RECESS * (last[rows[:, 0]] - rows[:, 1]), dtype=np.float64) for rows in (boxes, tubes)
    ]
    return deeper[0], deeper[1]


def _boxes(rows: list[tuple[float, ...]], recess: Floats) -> tuple[Floats, Floats, npt.NDArray[np.int64]]:
    """Corners (12 n, 3, 3), their normals, and texture axes (12 n, 2): u along the part's longer side."""
    b = np.array(rows)
    for low in (0, 2, 4, 6, 8):
        inset = np.minimum(recess, 0.1 * np.abs(b[:, low + 1] - b[:, low]))
        b[:, low] += inset
        b[:, low + 1] -= inset
    vertices = np.empty((len(b), 8, 3))
    for k in range(8):
        shift = 6 if k & 4 else 0
        vertices[:, k, 0] = b[:, shift + (k & 1)]
        vertices[:, k, 1] = b[:, shift + 2 + (k >> 1 & 1)]
        vertices[:, k, 2] = b[:, 4 + (k >> 2 & 1)]
    corners = vertices[:, _BOX_FACES].reshape(-1, 3, 3)
    extent = np.stack([b[:, 1] - b[:, 0], b[:, 3] - b[:, 2], b[:, 5] - b[:, 4]], axis=1)
    uv = np.broadcast_to(_PLANE_AXES[_FACE_AXIS], (len(b), 12, 2)).copy()
    first = np.take_along_axis(extent, uv[..., 0], axis=1)
    swap = np.take_along_axis(extent, uv[..., 1], axis=1) > first
    uv[swap] = uv[swap][:, ::-1]
    return corners, _flat_normals(corners), uv.reshape(-1, 2)


def _tubes(rows: list[tuple[float, ...]], recess: Floats) -> tuple[Floats, Floats, npt.NDArray[np.bool_]]:
    """Corners (n * (4 * SIDES - 4), 3, 3), normals, and which triangles are round."""
    t = np.array(rows)
    along, n = t[:, 10].astype(int), np.arange(len(t))
    length = t[n, 3 + along] - t[n, along]
    inset = np.sign(length) * np.minimum(recess, 0.1 * np.abs(length))
    t[n, along] += inset
    t[n, 3 + along] -= inset
    angle = np.arange(SIDES) * (2 * np.pi / SIDES)
    circle = np.stack([np.cos(angle), np.sin(angle), np.zeros(SIDES)], axis=1)
    bottom = np.zeros((len(t), SIDES, 3))
    bottom[..., :2] = circle[None, :, :2] * t[:, None, 6:8]
    top = np.zeros_like(bottom)
    top[..., :2] = circle[None, :, :2] * t[:, None, 8:10]
    # rings are made around z, then turned so that z becomes the tube's axis (a cyclic turn keeps handedness)
    turn = np.array([[2, 0, 1], [1, 2, 0], [0, 1, 2]])[along]
    normal = np.broadcast_to(circle, bottom.shape) / np.maximum(t[:, None, 6:9], 1e-9)
    normal = normal * np.array([1.0, 1.0, 0.0])
    normal = normal / np.maximum(np.linalg.norm(normal, axis=2, keepdims=True), 1e-9)
    index = turn[:, None, :].repeat(SIDES, 1)
    bottom, top, normal = (np.take_along_axis(ring, index, axis=2) for ring in (bottom, top, normal))
    bottom, top = bottom + t[:, None, 0:3], top + t[:, None, 3:6]
    k, m = np.arange(SIDES), (np.arange(SIDES) + 1) % SIDES
    side = np.concatenate(
        [
            np.stack([bottom[:, k], bottom[:, m], top[:, m]], axis=2),
            np.stack([bottom[:, k], top[:, m], top[:, k]], axis=2),
        ],
        axis=1,
    )
    side_normal = np.concatenate(
        [np.stack([normal[:, k], normal[:, m], normal[:, m]], axis=2), normal[:, np.stack([k, m, k], 1)]],
        axis=1,
    )
    fan = np.stack([np.zeros(SIDES - 2, int), np.arange(1, SIDES - 1), np.arange(2, SIDES)], axis=1)
    caps = np.concatenate([bottom[:, fan[:, ::-1]], top[:, fan]], axis=1)
    cap_normal = _flat_normals(caps.reshape(-1, 3, 3)).reshape(caps.shape)
    corners = np.concatenate([side, caps], axis=1).reshape(-1, 3, 3)
    normals = np.concatenate([side_normal, cap_normal], axis=1).reshape(-1, 3, 3)
    is_round = np.tile(np.arange(4 * SIDES - 4) < 2 * SIDES, len(t))
    return corners, normals, is_round


_AROUND, _DOWN = 12, 6


def _blobs(rows: list[tuple[float, ...]]) -> tuple[Floats, Floats]:
    """Corners (n * 2 * _AROUND * (_DOWN - 1), 3, 3) and normals of superellipsoids."""
    b = np.array(rows)
    theta = np.arange(_DOWN + 1) * (np.pi / _DOWN)
    phi = np.arange(_AROUND) * (2 * np.pi / _AROUND)
    sphere = np.stack(
        [
            np.outer(np.sin(theta), np.cos(phi)),
            np.outer(np.sin(theta), np.sin(phi)),
            np.outer(np.cos(theta), np.ones(_AROUND)),
        ],
        axis=2,
    ).reshape(1, -1, 3)
    power = b[:, 6, None, None]
    size = np.abs(sphere)
    norm = np.sum(size**power, axis=2, keepdims=True) ** (1 / power)
    unit = sphere / norm  # on the superellipsoid |x|^p + |y|^p + |z|^p = 1
    radius = np.stack([b[:, 1] - b[:, 0], b[:, 3] - b[:, 2], b[:, 5] - b[:, 4]], axis=1)[:, None] / 2
    centre = np.stack([b[:, 1] + b[:, 0], b[:, 3] + b[:, 2], b[:, 5] + b[:, 4]], axis=1)[:, None] / 2
    vertices = centre + unit * radius
    normal = np.sign(unit) * np.abs(unit) ** (power - 1) / np.maximum(radius, 1e-6)
    normal /= np.maximum(np.linalg.norm(normal, axis=2, keepdims=True), 1e-9)
    i, j = np.meshgrid(np.arange(_DOWN), np.arange(_AROUND), indexing="ij")
    a, c = i * _AROUND + j, (i + 1) * _AROUND + j
    right = (j + 1) % _AROUND
    e, f = i * _AROUND + right, (i + 1) * _AROUND + right
    faces = np.concatenate([np.stack([a, c, f], -1)[:-1], np.stack([a, f, e], -1)[1:]]).reshape(-1, 3)
    return vertices[:, faces].reshape(-1, 3, 3), normal[:, faces].reshape(-1, 3, 3)


def triangulate(parts: Parts) -> Triangles:
    """All parts as triangles, in the order boxes, tubes, blobs."""
    corners, normals, rounds, uvs, styles = [], [], [], [], []
    empty = np.zeros((0, 3, 3))
    box_recess, tube_recess = _recesses(parts)
    if parts.boxes:
        box, normal, uv = _boxes(parts.boxes, box_recess)
        corners.append(box)
        normals.append(normal)
        rounds.append(np.zeros(len(box), bool))
        uvs.append(uv)
        styles.append(np.arange(len(parts.boxes)).repeat(12))
    count = len(parts.boxes)
    for rows, kind in ((parts.tubes, "tube"), (parts.blobs, "blob")):
        if not rows:
            continue
        if kind == "tube":
            shape, normal, is_round = _tubes(rows, tube_recess)
        else:
            shape, normal = _blobs(rows)
            is_round = np.ones(len(shape), bool)
        corners.append(shape)
        normals.append(normal)
        rounds.append(is_round)
        facing = np.abs(normal[:, 0]).argmax(axis=1)
        uvs.append(_PLANE_AXES[facing])
        styles.append(count + np.arange(len(rows)).repeat(len(shape) // len(rows)))
        count += len(rows)
    if not corners:
        none = np.zeros(0, dtype=np.int64)
        return Triangles(empty, empty, none.astype(bool), np.zeros((0, 2), np.int64), none, [])
    return Triangles(
        np.concatenate(corners),
        np.concatenate(normals),
        np.concatenate(rounds),
        np.concatenate(uvs),
        np.concatenate(styles),
        parts.box_styles + parts.tube_styles + parts.blob_styles,
    )
