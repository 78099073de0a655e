"""Finding a free spot in a room. Plain floats throughout: for twenty boxes that is faster than arrays.

A `Room` is an axis-aligned rectangle, perhaps with one corner cut out (an L). `Occupied` keeps what stands
in it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from tolman.scenes.furniture import Furniture

GAP = 0.05
"""Metres kept between any two items that do not stand on each other."""
WALL_GAP = 0.01
"""Metres between an item and the wall behind it."""
TOUCH = 0.0005
"""Metres between an item and what it stands on: touching for the eye, never intersecting after rounding."""


class Rect(NamedTuple):
    """A rectangle in the floor plane: centre, unit direction of its width, half sizes (metres)."""

    x: float
    y: float
    cos: float
    sin: float
    half_width: float
    half_depth: float

    def corners(self) -> list[tuple[float, float]]:
        """Its four corners, counter-clockwise."""
        out = []
        for i, j in ((-1, -1), (1, -1), (1, 1), (-1, 1)):
            u, v = i * self.half_width, j * self.half_depth
            out.append((self.x + u * self.cos - v * self.sin, self.y + u * self.sin + v * self.cos))
        return out

    def before(self, length: float) -> Rect:
        """The rectangle of this width and of `length` just before its front (-y) side."""
        shift = self.half_depth + length / 2
        return self._replace(x=self.x + shift * self.sin, y=self.y - shift * self.cos, half_depth=length / 2)


class Solid(NamedTuple):
    """A placed item: footprint and vertical extent (metres)."""

    category: str
    rect: Rect
    low: float
    high: float


def rects_overlap(a: Rect, b: Rect, gap: float = 0.0) -> bool:
    """Whether two rectangles come within `gap` of each other along every separating axis.

    Exact for gap = 0; otherwise it errs on the side of overlap near corners.
    """
    dx, dy = b.x - a.x, b.y - a.y
    reach = a.half_width + a.half_depth + b.half_width + b.half_depth + gap
    if dx > reach or -dx > reach or dy > reach or -dy > reach:
        return False
    along = abs(a.cos * b.cos + a.sin * b.sin)
    across = abs(a.cos * b.sin - a.sin * b.cos)
    return (
        abs(dx * a.cos + dy * a.sin) < a.half_width + b.half_width * along + b.half_depth * across + gap
        and abs(dy * a.cos - dx * a.sin) < a.half_depth + b.half_width * across + b.half_depth * along + gap
        and abs(dx * b.cos + dy * b.sin) < b.half_width + a.half_width * along + a.half_depth * across + gap
        and abs(dy * b.cos - dx * b.sin) < b.half_depth + a.half_width * across + a.half_depth * along + gap
    )


class Wall(NamedTuple):
    """A wall from (x, y) along the unit direction (dx, dy) for `length` metres, the room on its left."""

    x: float
    y: float
    dx: float
    dy: float
    length: float


@dataclass(frozen=True)
class Room:
    """A room around the origin. width along x, depth along y, height: metres. notch: the corner cut out."""

    width: float
    depth: float
    height: float
    polygon: tuple[tuple[float, float], ...]
    notch: Rect | None = None

    @property
    def walls(self) -> list[Wall]:
        """The walls, counter-clockwise, in the order of `polygon`."""
        ends = self.polygon[1:] + self.polygon[:1]
        walls = []
        for (x, y), (x1, y1) in zip(self.polygon, ends, strict=True):
            length = math.hypot(x1 - x, y1 - y)
            walls.append(Wall(x, y, (x1 - x) / length, (y1 - y) / length, length))
        return walls

    def holds(self, rect: Rect) -> bool:
        """Whether the rectangle lies on the floor, walls excluded."""
        x = rect.half_width * abs(rect.cos) + rect.half_depth * abs(rect.sin)
        y = rect.half_width * abs(rect.sin) + rect.half_depth * abs(rect.cos)
        if abs(rect.x) + x > self.width / 2 or abs(rect.y) + y > self.depth / 2:
            return False
        return self.notch is None or not rects_overlap(rect, self.notch)


def make_room(rng: np.random.Generator, side: tuple[float, float], cut: bool) -> Room:
    """Draw a room whose sides lie in `side` (metres); with `cut`, one corner is missing: an L."""
    width, depth = (float(rng.uniform(*side)) for _ in range(2))
    height = float(rng.uniform(2.4, 3.2))
    x, y = width / 2, depth / 2
    if not cut:
        return Room(width, depth, height, ((-x, -y), (x, -y), (x, y), (-x, y)))
    u, v = width * float(rng.uniform(0.25, 0.5)), depth * float(rng.uniform(0.25, 0.5))
    polygon: list[tuple[float, float]] = [(-x, -y), (x, -y), (x, y - v), (x - u, y - v), (x - u, y), (-x, y)]
    centre = (x - u / 2, y - v / 2)
    if rng.random() < 0.5:  # mirror left-right; the order is reversed to stay counter-clockwise
        polygon, centre = [(-px, py) for px, py in reversed(polygon)], (-centre[0], centre[1])
    if rng.random() < 0.5:
        polygon, centre = [(px, -py) for px, py in reversed(polygon)], (centre[0], -centre[1])
    return Room(width, depth, height, tuple(polygon), Rect(*centre, 1.0, 0.0, u / 2, v / 2))


@dataclass
class Occupied:
    """What stands in a room, and the floor to be kept free: `zones` (before doors, for walking)."""

    room: Room
    solids: list[Solid] = field(default_factory=list)
    zones: list[Rect] = field(default_factory=list)

    def accepts(self, solid: Solid, clear: float) -> bool:
        """Whether the item fits: in the room, apart from the others, off the free zones, its front clear."""
        rect, low, high = solid.rect, solid.low, solid.high
        if high > self.room.height - TOUCH or not self.room.holds(rect):
            return False
        for other in self.solids:
            if low < other.high and other.low < high and rects_overlap(rect, other.rect, GAP):
                return False
        if low < 0.3 and any(rects_overlap(rect, zone) for zone in self.zones):
            return False
        if clear == 0.0:
            return True
        zone = rect.before(clear)
        return self.room.holds(zone) and not any(
            other.low < 1.0 and rects_overlap(zone, other.rect) for other in self.solids
        )

    def add(self, solid: Solid, clear: float) -> None:
        """Keep the item and the free floor before it."""
        self.solids.append(solid)
        if clear > 0.0:
            self.zones.append(solid.rect.before(clear))


Size = tuple[float, float, float]


def propose(
    rng: np.random.Generator, occupied: Occupied, kind: Furniture, place: str, size: Size
) -> Solid | None:
    """Draw one spot, unchecked, for an item of `size` (width, depth, height); None where there is none."""
    if place == "top":
        return _on_top(rng, occupied, kind, size)
    if place == "floor":
        return (_gathered(rng, occupied, kind, size) if rng.random() < 0.7 else None) or _free(
            rng, occupied.room, kind, size
        )
    if place == "ceiling":
        spot = _free(rng, occupied.room, kind, size, turned=0.0)
        high = occupied.room.height - 2 * TOUCH
        return spot._replace(low=high - size[2], high=high)
    return _at_wall(rng, occupied.room, kind, size, hung=place == "hung")


def _at_wall(rng: np.random.Generator, room: Room, kind: Furniture, size: Size, hung: bool) -> Solid | None:
    """With its back to a random wall, anywhere along it; one time in four in one of its corners."""
    walls = room.walls
    wall = walls[int(rng.random() * len(walls))]
    slack = wall.length - size[0] - 2 * WALL_GAP
    if slack < 0:
        return None
    share = float(rng.random())
    if not hung and rng.random() < 0.25:
        share = round(share)
    t = WALL_GAP + size[0] / 2 + share * slack
    off = WALL_GAP + size[1] / 2
    x, y = wall.x + t * wall.dx - off * wall.dy, wall.y + t * wall.dy + off * wall.dx
    low = float(rng.uniform(*kind.elevation)) if hung else 0.0
    # The back (+y of the item) points out of the room, so its x runs against the wall's direction.
    rect = Rect(x, y, -wall.dx, -wall.dy, size[0] / 2, size[1] / 2)
    return Solid(kind.category, rect, low, low + size[2])


def _free(rng: np.random.Generator, room: Room, kind: Furniture, size: Size, turned: float = 0.35) -> Solid:
    """Anywhere on the floor; parallel to the walls, or at any angle for a share `turned` of the draws."""
    x, y = ((float(rng.random()) - 0.5) * side for side in (room.width, room.depth))
    quarter = int(rng.random() * 4)
    cos, sin = ((1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0))[quarter]
    if turned and rng.random() < turned:
        angle = float(rng.random()) * 2 * math.pi
        cos, sin = math.cos(angle), math.sin(angle)
    return Solid(kind.category, Rect(x, y, cos, sin, size[0] / 2, size[1] / 2), 0.0, size[2])


def _gathered(rng: np.random.Generator, occupied: Occupied, kind: Furniture, size: Size) -> Solid | None:
    """Drawn up to a side of something it gathers around, facing it, a little askew."""
    hosts = [solid for solid in occupied.solids if solid.category in kind.gathers]
    if not hosts:
        return None
    host = hosts[int(rng.random() * len(hosts))].rect
    side = int(rng.random() * 4)
    # Walking around the host: outward direction of each side in its own frame, and that side's half length.
    out_u, out_v = ((0, -1), (1, 0), (0, 1), (-1, 0))[side]
    reach, half = (host.half_depth, host.half_width) if out_u == 0 else (host.half_width, host.half_depth)
    out = reach + size[1] / 2 + GAP + 0.03 + 0.2 * float(rng.random())
    along = (2 * float(rng.random()) - 1) * max(0.0, half - size[0] / 2)
    u, v = out_u * out - out_v * along, out_v * out + out_u * along
    x, y = host.x + u * host.cos - v * host.sin, host.y + u * host.sin + v * host.cos
    # Facing the host, the item's own +y points outward: its x is that turned by -90 degrees.
    ux, uy = out_u * host.cos - out_v * host.sin, out_u * host.sin + out_v * host.cos
    skew = (2 * float(rng.random()) - 1) * 0.3 if rng.random() < 0.5 else 0.0
    cos, sin = uy * math.cos(skew) + ux * math.sin(skew), -ux * math.cos(skew) + uy * math.sin(skew)
    return Solid(kind.category, Rect(x, y, cos, sin, size[0] / 2, size[1] / 2), 0.0, size[2])


def _on_top(rng: np.random.Generator, occupied: Occupied, kind: Furniture, size: Size) -> Solid | None:
    """Wholly on top of a support, turned as the support is or, one time in three, up to 0.4 rad askew."""
    hosts = [solid for solid in occupied.solids if solid.category in kind.supports]
    if not hosts:
        return None
    host = hosts[int(rng.random() * len(hosts))]
    skew = (2 * float(rng.random()) - 1) * 0.4 if rng.random() < 0.33 else 0.0
    c, s = math.cos(skew), math.sin(skew)
    room_u = host.rect.half_width - (size[0] * c + size[1] * abs(s)) / 2
    room_v = host.rect.half_depth - (size[0] * abs(s) + size[1] * c) / 2
    if room_u < 0 or room_v < 0:
        return None
    u, v = (2 * float(rng.random()) - 1) * room_u, (2 * float(rng.random()) - 1) * room_v
    cos, sin = host.rect.cos, host.rect.sin
    x, y = host.rect.x + u * cos - v * sin, host.rect.y + u * sin + v * cos
    rect = Rect(x, y, cos * c - sin * s, sin * c + cos * s, size[0] / 2, size[1] / 2)
    low = host.high + TOUCH
    return Solid(kind.category, rect, low, low + size[2])
