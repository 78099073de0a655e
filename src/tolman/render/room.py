"""The room around the items: floor polygon, floor, walls with skirting, ceiling."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tolman.render.mesh import STRUCTURE, Mesh, linear
from tolman.render.palette import mixed, rgb, scaled
from tolman.render.parts import Colour
from tolman.scenes import Scene

Floats = npt.NDArray[np.float64]

MARGIN = 0.12
"""Metres between the items' footprints and walls that the source does not have."""
WALL = 0.12
"""Metres of wall thickness, seen from above."""
LIFT = {
    "stove": 0.85,
    "tv": 0.7,
    "monitor": 0.72,
    "keyboard": 0.73,
    "computer mouse": 0.73,
    "laptop": 0.73,
    "telephone": 0.73,
    "printer": 0.7,
    "cup": 0.75,
    "window": 0.85,
    "mirror": 1.0,
    "whiteboard": 0.8,
    "clock": 2.0,
    "counter": 0.8,
    "microwave": 1.0,
    "kettle": 0.9,
    "picture": 1.2,
    "ceiling light": 2.5,
    "exhaust fan": 2.2,
    "pillow": 0.4,
    "cushion": 0.4,
    "blanket": 0.4,
    "towel": 0.7,
    "cutting board": 0.9,
    "headphones": 0.73,
    "plant": 0.3,
    "lamp": 0.4,
    "table lamp": 0.6,
}
"""Usual height of an item's lower side over the floor in metres, for scenes without floor-standing items."""

FLOORS = ("planks", "planks", "tiles", "carpet")
_FLOOR_COLOURS = {
    "planks": (0xC08A58, 0xA87B52, 0xD2AE82, 0x8C6A50, 0xB9A287),
    "tiles": (0xCFCBC2, 0xB8BFC2, 0xD8CDB8, 0x9FA8A6),
    "carpet": (0xA8A39A, 0x8F9AA6, 0xB5A58E, 0x93A08C),
}
_WALL_COLOURS = (0xF0EBDD, 0xE6ECEC, 0xE9E3EE, 0xF2E6D2, 0xDDE7DC, 0xE3E3E0, 0xD9E2EC)
_TEXTURE = {"planks": 3, "tiles": 4, "carpet": 5}


@dataclass(frozen=True, eq=False)
class Room:
    """polygon (n, 2): the walls' inside in metres, counter-clockwise. low: z of the floor; height: ceiling
    over it. floor_kind, colours: looks, drawn from the seed."""

    polygon: Floats
    low: float
    height: float
    floor_kind: str
    floor_colour: Colour
    wall_colour: Colour
    turn: float

    @property
    def high(self) -> float:
        """z of the ceiling."""
        return self.low + self.height

    @property
    def bounds(self) -> tuple[Floats, Floats]:
        """Lower and upper corner (2,) of the polygon's bounding box."""
        return self.polygon.min(axis=0), self.polygon.max(axis=0)


def _smallest_rectangle(points: Floats, area: float) -> Floats:
    """The rectangle (4, 2) of least area around points (n, 2), widened evenly by at least MARGIN to `area`
    m²."""
    best: tuple[float, float, Floats, Floats] | None = None
    for angle in np.linspace(0, np.pi / 2, 60, endpoint=False):
        c, s = np.cos(angle), np.sin(angle)
        turned = points @ np.array([[c, -s], [s, c]])
        low, high = turned.min(axis=0), turned.max(axis=0)
        size = float(np.prod(high - low))
        if best is None or size < best[0] * 0.995:
            best = size, float(angle), low, high
    assert best is not None
    _, angle, low, high = best
    a, b = high - low
    # (a + 2 m)(b + 2 m) = area
    margin = max(MARGIN, (-(a + b) + np.sqrt((a - b) ** 2 + 4 * area)) / 4)
    low, high = low - margin, high + margin
    corners = np.array([low, (high[0], low[1]), high, (low[0], high[1])])
    c, s = np.cos(angle), np.sin(angle)
    return np.asarray(corners @ np.array([[c, s], [-s, c]]))


def _floor_height(scene: Scene) -> float:
    """z of the floor: 0 where the scene has a floor polygon; otherwise the lowest item's lower side, where
    things that never stand on a floor count as high up as they usually hang or lie."""
    if scene.floor is not None or not scene.items:
        return 0.0
    bottoms = [
        (item.box.corners[:, 2].min() - LIFT.get(item.category, 0.0), item.category in LIFT)
        for item in scene.items
    ]
    standing = [low for low, lifted in bottoms if not lifted]
    return float(min(standing) if standing else min(low for low, _ in bottoms))


def plan_room(scene: Scene, rng: np.random.Generator) -> Room:
    """The room of a scene: its floor polygon, or a rectangle around its items with its floor area; walls as
    high as the scene says, or else as its tallest item and at least 2.4 m."""
    low = _floor_height(scene)
    corners = np.concatenate([item.box.corners for item in scene.items]) if scene.items else np.zeros((1, 3))
    if scene.floor is not None:
        polygon = np.array(scene.floor, dtype=np.float64)
        if signed_area(polygon) < 0:
            polygon = polygon[::-1].copy()
    else:
        polygon = _smallest_rectangle(corners[:, :2], scene.floor_area)
    height = scene.height if scene.height is not None else max(2.4, float(corners[:, 2].max()) - low + 0.05)
    kind = FLOORS[int(rng.integers(len(FLOORS)))]
    floor_colours = _FLOOR_COLOURS[kind]
    floor_colour = scaled(
        rgb(floor_colours[int(rng.integers(len(floor_colours)))]), float(rng.uniform(0.9, 1.08))
    )
    wall_colour = rgb(_WALL_COLOURS[int(rng.integers(len(_WALL_COLOURS)))])
    edge = polygon[1] - polygon[0]
    turn = float(np.arctan2(edge[1], edge[0]) + (np.pi / 2) * int(rng.integers(2)))
    return Room(polygon, low, float(height), kind, floor_colour, wall_colour, turn)


def signed_area(polygon: Floats) -> float:
    """Area of a polygon (n, 2) in m²; negative where it runs clockwise."""
    x, y = polygon.T
    return float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2


def _cross(a: Floats, b: Floats, c: Floats) -> float:
    return float((b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]))


def triangles_of(polygon: Floats) -> npt.NDArray[np.int64]:
    """Corner numbers (n - 2, 3) of counter-clockwise triangles that fill a simple counter-clockwise polygon
    (n, 2), concave ones too, by cutting ears. Raises ValueError where none is left: the outline crosses
    itself."""
    left, ears = list(range(len(polygon))), []
    while len(left) > 3:
        for k in range(len(left)):
            i, j, m = left[k - 1], left[k], left[(k + 1) % len(left)]
            a, b, c = polygon[i], polygon[j], polygon[m]
            turn = _cross(a, b, c)
            if turn < -1e-12:
                continue
            inside = any(
                _cross(a, b, polygon[p]) >= 0
                and _cross(b, c, polygon[p]) >= 0
                and _cross(c, a, polygon[p]) >= 0
                for p in left
                if p not in (i, j, m)
            )
            if not inside or turn <= 1e-12:
                ears.append((i, j, m))
                left.pop(k)
                break
        else:
            raise ValueError(f"floor polygon crosses itself: {polygon.tolist()}; give a simple outline")
    faces = np.array([*ears, tuple(left)], dtype=np.int64)
    if any(_cross(*polygon[face]) < -1e-9 for face in faces):
        raise ValueError(f"floor polygon crosses itself: {polygon.tolist()}; give a simple outline")
    return faces


def _outline(polygon: Floats, distance: float) -> Floats:
    """The polygon moved outwards by `distance` along the mitre of each corner (inwards where negative)."""
    edge = np.roll(polygon, -1, axis=0) - polygon
    length = np.maximum(np.linalg.norm(edge, axis=1, keepdims=True), 1e-9)
    out = np.stack([edge[:, 1], -edge[:, 0]], axis=1) / length
    before = np.roll(out, 1, axis=0)
    mitre = out + before
    scale = np.maximum(np.sum(mitre * out, axis=1, keepdims=True), 0.2)
    return np.asarray(polygon + distance * mitre / scale)


class _Surfaces:
    """Triangles of the building, gathered before they become one mesh."""

    def __init__(self) -> None:
        self.corners: list[Floats] = []
        self.rows: list[tuple[float, ...]] = []

    def add(
        self,
        corners: Floats,
        colour: Colour,
        texture: int,
        u: tuple[float, float, float],
        v: tuple[float, float, float],
        gloss: float = 0.0,
        glow: float = 0.0,
    ) -> None:
        """Triangles (k, 3, 3) that share a look."""
        self.corners.append(corners)
        self.rows.extend([(*linear(colour), *u, *v, texture, gloss, glow)] * len(corners))

    def band(self, inner: Floats, outer: Floats, z0: float, z1: float, colour: Colour, texture: int) -> None:
        """A strip between two outlines at two heights: walls (same outline) or ledges (same height)."""
        a, b = (
            np.column_stack([inner, np.full(len(inner), z0)]),
            np.column_stack([outer, np.full(len(outer), z1)]),
        )
        a1, b1 = np.roll(a, -1, axis=0), np.roll(b, -1, axis=0)
        for k in range(len(a)):
            along = a1[k] - a[k]
            u = along / max(float(np.linalg.norm(along)), 1e-9)
            quad = np.array([[a[k], a1[k], b1[k]], [a[k], b1[k], b[k]]])
            self.add(quad, colour, texture, (u[0], u[1], u[2]), (0.0, 0.0, 1.0))

    def mesh(self) -> Mesh:
        corners = np.concatenate(self.corners)
        table = np.array(self.rows, dtype=np.float32).T.copy()
        normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)
        n = len(corners)
        return Mesh(
            corners=corners.astype(np.float32),
            item=np.full(n, STRUCTURE, np.int32),
            colour=table[:3],
            normal=np.ascontiguousarray(normal.T, dtype=np.float32),
            bend=np.zeros((6, n), np.float32),
            is_round=np.zeros(n, bool),
            axis_u=table[3:6],
            axis_v=table[6:9],
            texture=table[9].astype(np.int32),
            gloss=table[10],
            glow=table[11],
        )


def room_mesh(room: Room, ceiling: bool) -> Mesh:
    """Floor, walls with a skirting board, and a ceiling or, without one, the tops and outsides of the
    walls."""
    faces = triangles_of(room.polygon)
    made = _Surfaces()
    flat = np.column_stack([room.polygon, np.full(len(room.polygon), room.low)])
    c, s = float(np.cos(room.turn)), float(np.sin(room.turn))
    gloss = {"planks": 0.22, "tiles": 0.3, "carpet": 0.0}[room.floor_kind]
    made.add(flat[faces], room.floor_colour, _TEXTURE[room.floor_kind], (c, s, 0.0), (-s, c, 0.0), gloss)
    made.band(room.polygon, room.polygon, room.low, room.high, room.wall_colour, 6)
    skirting = _outline(room.polygon, -0.012)
    board = (
        mixed(room.wall_colour, rgb(0xFFFFFF), 0.6)
        if room.floor_kind != "planks"
        else scaled(room.floor_colour, 0.72)
    )
    made.band(skirting, skirting, room.low, room.low + 0.09, board, 0)
    made.band(skirting, room.polygon, room.low + 0.09, room.low + 0.09, board, 0)
    if ceiling:
        top = flat.copy()
        top[:, 2] = room.high
        made.add(top[faces[:, ::-1]], rgb(0xFCF9F3), 6, (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), glow=0.36)
    else:
        outside = _outline(room.polygon, WALL)
        made.band(room.polygon, outside, room.high, room.high, scaled(room.wall_colour, 0.62), 0)
        made.band(outside, outside, room.low, room.high, scaled(room.wall_colour, 0.75), 0)
    return made.mesh()
