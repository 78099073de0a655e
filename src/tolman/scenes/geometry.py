"""Exact geometry of oriented boxes: distance between solids, containment, footprints. Metres throughout.

Distance between boxes is by enumeration, vectorised over pairs. Two disjoint convex polyhedra are closest
either at a vertex of one (against the other as a solid) or between two edges, at inner points of both;
whether they are disjoint is decided by separating axes: the three face directions of each and the nine
products of their edge directions. Both statements hold in the limit of zero sizes, and none needs
right-handed axes.

Legend: P pairs, V = 8 vertices, axes rows are directions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tolman.scenes.types import Box, Floats

Bools = npt.NDArray[np.bool_]
EPSILON = 1e-9
"""Metres; what lies this close to a boundary counts as on it."""
_CHUNK = 2048
_SIGNS = np.array([[(k >> j & 1) - 0.5 for j in range(3)] for k in range(8)])
# Middle points of the four edges along axis j, in units of the size: (3, 4, 3).
_EDGES = np.array(
    [
        [[0.0 if i == j else (k >> ((i - j) % 3 - 1) & 1) - 0.5 for i in range(3)] for k in range(4)]
        for j in range(3)
    ]
)


class _Boxes(NamedTuple):
    """P boxes as arrays: center (P, 3), half sizes (P, 3), axes (P, 3, 3)."""

    center: Floats
    half: Floats
    axes: Floats

    @classmethod
    def of(cls, boxes: Sequence[Box]) -> _Boxes:
        count = len(boxes)
        return cls(
            np.array([box.center for box in boxes]).reshape(count, 3),
            np.array([box.size for box in boxes]).reshape(count, 3) / 2,
            np.array([box.axes for box in boxes]).reshape(count, 3, 3),
        )

    def take(self, index: npt.NDArray[np.intp] | slice) -> _Boxes:
        return _Boxes(self.center[index], self.half[index], self.axes[index])


def box_distance(a: Box, b: Box) -> float:
    """Smallest distance between two boxes as solids, in metres; 0 where they touch or overlap.

    Exact up to rounding, not sampled. Axes may be left-handed and sizes zero. This is VSI-Bench's
    `object_abs_distance` for two single objects.
    """
    return float(box_distances([a], [b])[0])


def box_distances(boxes_a: Sequence[Box], boxes_b: Sequence[Box]) -> Floats:
    """`box_distance` of boxes_a[k] to boxes_b[k]: (P,) metres. Raises ValueError for unequal lengths."""
    if len(boxes_a) != len(boxes_b):
        raise ValueError(
            f"box_distances needs as many boxes on both sides, got {len(boxes_a)} and {len(boxes_b)}"
        )
    return _distances(_Boxes.of(boxes_a), _Boxes.of(boxes_b))


def distance_matrix(boxes: Sequence[Box]) -> Floats:
    """All distances among n boxes: (n, n) metres, symmetric, zero on the diagonal."""
    rows, columns = np.triu_indices(len(boxes), 1)
    every = _Boxes.of(boxes)
    matrix = np.zeros((len(boxes), len(boxes)))
    matrix[rows, columns] = matrix[columns, rows] = _distances(every.take(rows), every.take(columns))
    return matrix


def _distances(a: _Boxes, b: _Boxes) -> Floats:
    count = len(a.center)
    result = np.zeros(count)
    for start in range(0, count, _CHUNK):
        part = slice(start, min(start + _CHUNK, count))
        apart = np.flatnonzero(_disjoint(a.take(part), b.take(part)))
        one, two = a.take(part).take(apart), b.take(part).take(apart)
        vertices = np.minimum(_vertex_distances(one, two), _vertex_distances(two, one))
        result[start + apart] = np.minimum(vertices, _edge_distances(one, two))
    return result


def _disjoint(a: _Boxes, b: _Boxes) -> Bools:
    """(P,) whether some separating axis leaves a gap. Any direction that shows a gap proves it, so a badly
    conditioned product of nearly parallel edges can do no harm once it is normalised."""
    crossed = np.cross(a.axes[:, :, None, :], b.axes[:, None, :, :]).reshape(-1, 9, 3)
    length = np.linalg.norm(crossed, axis=2, keepdims=True)
    crossed = np.where(length > 1e-12, crossed / np.maximum(length, 1e-12), 0.0)
    directions = np.concatenate([a.axes, b.axes, crossed], axis=1)  # (P, 15, 3)
    offset = np.abs(directions @ (b.center - a.center)[:, :, None])[:, :, 0]
    reach = sum(
        (np.abs(directions @ c.axes.transpose(0, 2, 1)) @ c.half[:, :, None])[:, :, 0] for c in (a, b)
    )
    return np.asarray((offset > reach).any(axis=1))


def _vertex_distances(a: _Boxes, b: _Boxes) -> Floats:
    """(P,) smallest distance of a vertex of `a` to the solid `b`."""
    vertices = a.center[:, None, :] + (_SIGNS[None] * 2 * a.half[:, None, :]) @ a.axes  # (P, V, 3)
    local = (vertices - b.center[:, None, :]) @ b.axes.transpose(0, 2, 1)
    outside = np.maximum(np.abs(local) - b.half[:, None, :], 0.0)
    return np.asarray(np.sqrt((outside**2).sum(axis=2).min(axis=1, initial=np.inf)))


def _edge_distances(a: _Boxes, b: _Boxes) -> Floats:
    """(P,) smallest distance found between an edge of `a` and one of `b`, at inner points of both.

    Parameters are clipped to the edges, so every value is the distance of two points of the boxes: where
    the optimum is at an end the value may be too large, never too small, and the vertices have the right
    one.
    """
    middles_a = a.center[:, None, None, :] + (_EDGES * 2 * a.half[:, None, None, :]) @ a.axes[:, None]
    middles_b = b.center[:, None, None, :] + (_EDGES * 2 * b.half[:, None, None, :]) @ b.axes[:, None]
    # From the middle of an edge of a to that of one of b: (P, 3 directions of a, 3 of b, 4 edges, 4, xyz).
    between = middles_b[:, None, :, None, :, :] - middles_a[:, :, None, :, None, :]
    u = a.axes[:, :, None, None, None, :]
    v = b.axes[:, None, :, None, None, :]
    cosine = (u * v).sum(axis=-1)
    along_u, along_v = (between * u).sum(axis=-1), (between * v).sum(axis=-1)
    sine2 = np.maximum(1.0 - cosine**2, 1e-16)
    half_a, half_b = a.half[:, :, None, None, None], b.half[:, None, :, None, None]
    s = np.clip((along_u - cosine * along_v) / sine2, -half_a, half_a)
    t = np.clip(cosine * s - along_v, -half_b, half_b)
    gap = between + t[..., None] * v - s[..., None] * u
    return np.asarray(np.sqrt((gap**2).sum(axis=-1).min(axis=(1, 2, 3, 4), initial=np.inf)))


def contains(box: Box, points: Floats, tolerance: float = EPSILON) -> Bools:
    """Which of the points (n, 3) lie in the box, its surface included: (n,) bool. tolerance: metres."""
    local = (np.asarray(points, dtype=np.float64).reshape(-1, 3) - box.center) @ box.axes.T
    return np.asarray((np.abs(local) <= box.size / 2 + tolerance).all(axis=1))


def footprint(box: Box) -> Floats:
    """The box seen from above: convex hull of its corners in x, y; (m, 2) metres, counter-clockwise.

    m is 4 for an upright box, up to 8 for a tilted one, 2 or 1 where it has no area.
    """
    corners = box.corners[:, :2]
    _, index = np.unique(np.round(corners / EPSILON), axis=0, return_index=True)
    points: list[tuple[float, float]] = sorted(map(tuple, corners[index].tolist()))
    if len(points) < 3:
        return np.array(points)
    hull: list[tuple[float, float]] = []
    for chain in (points, points[::-1]):
        side: list[tuple[float, float]] = []
        for point in chain:
            while len(side) > 1 and _turn(side[-2], side[-1], point) <= EPSILON**1.5:
                side.pop()
            side.append(point)
        hull += side[:-1]
    return np.array(hull)


def _turn(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]) -> float:
    """Twice the area of the triangle, positive when a, b, c turn left."""
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


def polygon_area(polygon: Floats) -> float:
    """Area in m² of a simple polygon (n, 2), either orientation."""
    x, y = np.asarray(polygon, dtype=np.float64).reshape(-1, 2).T
    return float(abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2)


def polygon_contains(polygon: Floats, points: Floats) -> Bools:
    """Which points (n, 2) lie in a simple polygon (m, 2), convex or not, boundary included: (n,) bool."""
    a = np.asarray(polygon, dtype=np.float64).reshape(-1, 2)
    p = np.asarray(points, dtype=np.float64).reshape(-1, 2)
    b = np.roll(a, -1, axis=0)
    x, y = p[:, :1], p[:, 1:]
    straddles = (a[:, 1] > y) != (b[:, 1] > y)
    rise = np.where(b[:, 1] == a[:, 1], 1.0, b[:, 1] - a[:, 1])
    crossing = a[:, 0] + (y - a[:, 1]) * (b[:, 0] - a[:, 0]) / rise
    odd = (straddles & (x < crossing)).sum(axis=1) % 2 == 1
    return np.asarray(odd | (_point_edges(p, a) <= EPSILON))


def _point_edges(points: Floats, polygon: Floats) -> Floats:
    """(n,) distance of each point to the polygon's outline."""
    start, edge = polygon, np.roll(polygon, -1, axis=0) - polygon
    length2 = np.maximum((edge**2).sum(axis=1), np.finfo(float).tiny)
    offset = points[:, None, :] - start
    share = np.clip((offset * edge).sum(axis=2) / length2, 0.0, 1.0)
    return np.asarray(np.linalg.norm(offset - share[:, :, None] * edge, axis=2).min(axis=1))


def footprints_overlap(a: Box, b: Box, margin: float = 0.0) -> bool:
    """Whether two footprints share inner points, or, for margin > 0, come closer than `margin` metres.

    Footprints that only touch do not overlap (margin 0); two that are exactly `margin` apart do not either.
    """
    one, two = footprint(a), footprint(b)
    if _interiors_meet(one, two):
        return True
    distance = min(_point_edges(one, two).min(), _point_edges(two, one).min())
    return bool(distance < margin - EPSILON)


def _interiors_meet(one: Floats, two: Floats) -> bool:
    """Separating axes of two convex polygons: both directions of every edge, which also serves flat ones."""
    edges = np.concatenate([np.roll(polygon, -1, axis=0) - polygon for polygon in (one, two)])
    lengths = np.linalg.norm(edges, axis=1)
    edges = edges[lengths > EPSILON] / lengths[lengths > EPSILON, None]
    if not len(edges):
        return False
    directions = np.concatenate([edges, edges[:, ::-1] * (1.0, -1.0)])
    span_one, span_two = one @ directions.T, two @ directions.T  # (m, directions)
    gap = np.maximum(span_one.min(axis=0) - span_two.max(axis=0), span_two.min(axis=0) - span_one.max(axis=0))
    return bool(gap.max() < -EPSILON)
