"""A scene as triangles with everything shading asks for, in arrays of one number per triangle."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tolman.render import furniture, palette
from tolman.render.parts import Kit, Parts, Style, triangulate
from tolman.render.placing import Frame
from tolman.scenes import Scene

Float32 = npt.NDArray[np.float32]

STRUCTURE = -1
"""Item number of floor, walls and ceiling."""


class Mesh(NamedTuple):
    """n triangles, world frame, metres. Rows 0..2 of (3, n) arrays are x, y, z or red, green, blue.

    corners (n, 3, 3). item (n,): item number or STRUCTURE. colour (3, n): linear light. normal (3, n): flat.
    bend (6, n): how the normal changes along the triangle's two barycentric coordinates (zero where flat).
    is_round (n,): True where it bends. axis_u, axis_v (3, n): directions of texture coordinates. texture
    (n,). gloss, glow (n,): shares in [0, 1].
    """

    corners: Float32
    item: npt.NDArray[np.int32]
    colour: Float32
    normal: Float32
    bend: Float32
    is_round: npt.NDArray[np.bool_]
    axis_u: Float32
    axis_v: Float32
    texture: npt.NDArray[np.int32]
    gloss: Float32
    glow: Float32


def linear(colours: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """sRGB-like colours in [0, 1] as linear light (a plain power of 2.2)."""
    return np.asarray(colours, dtype=np.float64) ** 2.2


def _rows(values: npt.NDArray[np.float64]) -> Float32:
    return np.ascontiguousarray(values.T, dtype=np.float32)


def furnish(scene: Scene, frames: list[Frame], seed: int, plain: bool) -> Mesh:
    """The items' triangles; `plain` draws every item as its bare box."""
    parts = Parts()
    for number, (item, frame) in enumerate(zip(scene.items, frames, strict=True)):
        rng = np.random.default_rng([seed, number])
        main, accent = palette.colours(furniture.canonical(item.category), rng)
        w, d, h = (float(length) for length in frame.size)
        kit = Kit(parts, number, (w, d, h), main, accent, rng)
        if plain:
            kit.box((0, w), (0, d), (0, h), main)
        else:
            furniture.build(item.category, kit)
    return assemble(parts, frames)


def assemble(parts: Parts, frames: list[Frame]) -> Mesh:
    """Turn parts into world triangles; nothing sticks out of its item's box."""
    shape = triangulate(parts)
    table = np.array([(*s.colour, s.item, *s.material) for s in shape.styles]).reshape(-1, 7)[shape.style]
    axes = np.array([frame.axes for frame in frames]).reshape(-1, 3, 3)
    origins = np.array([frame.origin for frame in frames]).reshape(-1, 3)
    item = table[:, 3].astype(np.int64)
    turn = axes[item]
    sizes = np.array([frame.size for frame in frames]).reshape(-1, 3)
    inside = np.clip(shape.corners, 0, sizes[item][:, None])  # an item never leaves its box
    corners = np.einsum("nki,nij->nkj", inside, turn) + origins[item][:, None]
    normals = np.einsum("nki,nij->nkj", shape.normals, turn)
    edges = np.concatenate([normals[:, 1] - normals[:, 0], normals[:, 2] - normals[:, 0]], axis=1)
    rows = np.arange(len(item))
    return Mesh(
        corners=corners.astype(np.float32),
        item=item.astype(np.int32),
        colour=_rows(linear(table[:, :3])),
        normal=_rows(normals[:, 0]),
        bend=_rows(edges),
        is_round=shape.round,
        axis_u=_rows(turn[rows, shape.uv[:, 0]]),
        axis_v=_rows(turn[rows, shape.uv[:, 1]]),
        texture=table[:, 4].astype(np.int32),
        gloss=table[:, 5].astype(np.float32),
        glow=table[:, 6].astype(np.float32),
    )


def joined(first: Mesh, second: Mesh) -> Mesh:
    """Both meshes' triangles, the first's first."""
    join = [np.concatenate([a, b], axis=-1 if a.ndim == 2 else 0) for a, b in zip(first, second, strict=True)]
    return Mesh(*join)


__all__ = ["STRUCTURE", "Mesh", "Style", "assemble", "furnish", "joined", "linear"]
