"""Procedural rooms: any number of them, each reproducible from its seed, none guessable from its kind.

A room is a plan (which categories, how many of each) carried out by drawing spots until they fit. What does
not fit after a bounded number of draws is left out. Plans follow the kind of room only in part, and counts
are drawn evenly, so that neither presence nor number can be told without looking.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, replace

import numpy as np

from tolman.scenes.furniture import CATALOGUE, ROOM_KINDS, STARTERS, Furniture
from tolman.scenes.placement import Occupied, Rect, Room, Size, Solid, make_room, propose
from tolman.scenes.types import Box, Item, Scene

LANE_WIDTH = 0.7
"""Metres; every room keeps a lane this wide free from its -y side inwards, for a camera to walk."""
_DRAWS = 24
"""Spots tried per item."""
_ROOMS = 40
"""Rooms tried per scene."""
_COVER = 0.45
"""Largest share of the floor that items may cover."""
SIDES = (3.0, 20.0)
"""Metres: what a room's sides may be."""


@dataclass(frozen=True)
class Difficulty:
    """How large and how full a room is. Ranges are (least, most), both included."""

    side: tuple[float, float]
    """Metres, of each side of the floor's bounding rectangle."""
    items: tuple[int, int]
    """How many items are aimed for; fewer stay when they do not fit, never fewer than three."""
    categories: tuple[str, ...]
    """What may occur."""
    kinds: tuple[int, int]
    """How many categories are aimed for."""
    most: int
    """Most items of one category, on top of the category's own limit."""
    cut: float = 0.0
    """Share of L-shaped rooms."""
    themed: float = 0.4
    """Share of categories drawn from those at home in the kind of room; the rest evenly from all."""


_FLOOR = tuple(
    name
    for name, kind in CATALOGUE.items()
    if (kind.big and "hung" not in kind.places)
    or name in ("stool", "plant", "trash bin", "door", "suitcase", "lamp")
)

DIFFICULTIES: tuple[Difficulty, ...] = (
    Difficulty((3.0, 5.0), (3, 5), STARTERS, (3, 5), 2, themed=0.0),
    Difficulty((4.0, 6.0), (5, 9), _FLOOR, (3, 6), 5),
    Difficulty((4.5, 7.5), (7, 14), tuple(CATALOGUE), (4, 10), 6),
    Difficulty((5.0, 9.0), (12, 20), tuple(CATALOGUE), (5, 14), 8, cut=0.5),
)
"""The four levels, 0 (a few big items in a small rectangle) to 3 (crowded, often L-shaped)."""


def generate_scene(seed: int, difficulty: int = 1, side: tuple[float, float] | None = None) -> Scene:
    """A procedural room, the same for the same (seed, difficulty, side).

    side: (least, most) metres of each side of the floor's bounding rectangle, in place of the difficulty's.
    The floor lies at z = 0, centred on the origin, walls along x and y. Items do not intersect; one that
    stands on another is 0.5 mm above it. meta: `difficulty`, `seed`, `kind` (of room), `lane` ([[x, y], [x,
    y]]: the middle line of a strip `LANE_WIDTH` wide kept free of standing items, from the room's -y side
    inwards), and `side` where it was given. Raises ValueError for a negative seed, an unknown difficulty or
    sides that are not in order within `SIDES`.
    """
    if seed < 0:
        raise ValueError(f"seed must not be negative, got {seed}")
    if not 0 <= difficulty < len(DIFFICULTIES):
        raise ValueError(f"difficulty must be 0 to {len(DIFFICULTIES) - 1}, got {difficulty}")
    level = DIFFICULTIES[difficulty]
    if side is not None:
        if not SIDES[0] <= side[0] <= side[1] <= SIDES[1]:
            raise ValueError(f"sides must be {SIDES[0]:g} to {SIDES[1]:g} m, the least first, got {side}")
        level = replace(level, side=side)
    rng = np.random.default_rng((seed, difficulty))
    best: tuple[Occupied, str, Rect] | None = None
    for _ in range(_ROOMS):
        room = make_room(rng, level.side, cut=bool(rng.random() < level.cut))
        lane = _lane(rng, room)
        occupied = Occupied(room, zones=[lane])
        kind = ROOM_KINDS[int(rng.random() * len(ROOM_KINDS))]
        for name, count in _plan(rng, level, kind):
            _place(rng, occupied, CATALOGUE[name], count)
        if len({solid.category for solid in occupied.solids}) < 3:
            continue
        if best is None or len(occupied.solids) > len(best[0].solids):
            best = (occupied, kind, lane)
        if len(occupied.solids) >= level.items[0]:
            break
    assert best is not None, (
        f"no room with three categories in {_ROOMS} (seed {seed}, difficulty {difficulty})"
    )
    return _scene(*best, seed=seed, difficulty=difficulty, side=side)


def _lane(rng: np.random.Generator, room: Room) -> Rect:
    """A strip along y from near the room's -y side to its middle or beyond, where it has its full depth."""
    half = LANE_WIDTH / 2
    low, high = -room.width / 2 + half + 0.2, room.width / 2 - half - 0.2
    if room.notch is not None and room.notch.x > 0:
        high -= 2 * room.notch.half_width
    elif room.notch is not None:
        low += 2 * room.notch.half_width
    length = float(rng.uniform(0.5, 0.7)) * (room.depth - 0.5)
    return Rect(
        float(rng.uniform(low, high)), -room.depth / 2 + 0.25 + length / 2, 1.0, 0.0, half, length / 2
    )


def _plan(rng: np.random.Generator, level: Difficulty, kind: str) -> list[tuple[str, int]]:
    """Which categories in what number: (category, count), in the order in which they are placed."""
    target = int(rng.integers(level.items[0], level.items[1] + 1))
    wanted = min(target, int(rng.integers(level.kinds[0], level.kinds[1] + 1)))
    counts: dict[str, int] = {}
    names = list(level.categories)
    at_home = [name for name in names if kind in CATALOGUE[name].rooms]
    for _ in range(8 * wanted):
        if len(counts) >= wanted:
            break
        pool = at_home if at_home and rng.random() < level.themed else names
        _admit(rng, level, counts, pool[int(rng.random() * len(pool))])
    free = target - len(counts)
    order = list(counts)
    for k in rng.permutation(len(order)):
        limit = min(free, level.most - 1, CATALOGUE[order[k]].most - 1)
        extra = int(rng.random() * (limit + 1)) if limit > 0 else 0
        counts[order[k]] += extra
        free -= extra
    # Spread what is left where there is room for it: this is what fills a crowded room.
    for k in rng.permutation(len(order)):
        extra = min(max(free, 0), level.most - counts[order[k]], CATALOGUE[order[k]].most - counts[order[k]])
        counts[order[k]] += extra
        free -= extra
    return sorted(counts.items(), key=lambda pair: _turn(CATALOGUE[pair[0]]))


def _admit(rng: np.random.Generator, level: Difficulty, counts: dict[str, int], name: str) -> None:
    """Add a category unless its kin is there.

    One that can only stand on another brings that with it; one that gathers round another does so half the
    time.
    """
    kind = CATALOGUE[name]
    if name in counts or (kind.kin and any(CATALOGUE[other].kin == kind.kin for other in counts)):
        return
    hosts = kind.supports if kind.places == ("top",) else kind.gathers if rng.random() < 0.5 else ()
    if hosts and not any(other in counts for other in hosts):
        counts[hosts[int(rng.random() * len(hosts))]] = 1
    counts[name] = 1


def _turn(kind: Furniture) -> tuple[int, float]:
    """Sort key of placing: doors, large floor pieces, what gathers round or hangs, what stands on top."""
    if kind.category == "door":
        return (0, 0.0)
    stage = 1 if kind.big and not kind.gathers and "hung" not in kind.places else 2
    if "top" in kind.places:
        stage = 3
    return (stage, -kind.width[1] * kind.depth[1])


def _place(rng: np.random.Generator, occupied: Occupied, kind: Furniture, count: int) -> None:
    """Place up to `count` items of one category; half of such sets share one size."""
    alike = rng.random() < 0.5
    size = _size(rng, kind)
    budget = _COVER * _area(occupied.room)
    hosted = any(solid.category in kind.supports for solid in occupied.solids)
    places = [place for place in kind.places if hosted or place != "top"]
    for _ in range(count if places else 0):
        place = places[int(rng.random() * len(places))]
        if place in ("floor", "wall"):
            covered = sum(4 * s.rect.half_width * s.rect.half_depth for s in occupied.solids if s.low < 0.3)
            if covered + size[0] * size[1] > budget:
                return
        for _ in range(_DRAWS):
            solid = propose(rng, occupied, kind, place, size)
            if solid is not None and occupied.accepts(solid, kind.clear):
                occupied.add(solid, kind.clear)
                break
        if not alike:
            size = _size(rng, kind)


def _size(rng: np.random.Generator, kind: Furniture) -> Size:
    """A size in the category's ranges."""
    u, v, w = rng.random(3).tolist()
    ranges = zip((kind.width, kind.depth, kind.height), (u, v, w), strict=True)
    width, depth, height = (low + share * (high - low) for (low, high), share in ranges)
    return width, depth, height


def _area(room: Room) -> float:
    cut = 0.0 if room.notch is None else 4 * room.notch.half_width * room.notch.half_depth
    return room.width * room.depth - cut


def _box(solid: Solid) -> Box:
    """The solid as a box: axes rows are its width, depth and up directions."""
    rect = solid.rect
    norm = math.hypot(rect.cos, rect.sin)
    cos, sin = rect.cos / norm, rect.sin / norm
    return Box(
        np.array([rect.x, rect.y, (solid.low + solid.high) / 2]),
        np.array([2 * rect.half_width, 2 * rect.half_depth, solid.high - solid.low]),
        np.array([[cos, sin, 0.0], [-sin, cos, 0.0], [0.0, 0.0, 1.0]]),
    )


def _scene(
    occupied: Occupied, kind: str, lane: Rect, *, seed: int, difficulty: int, side: tuple[float, float] | None
) -> Scene:
    seen: Counter[str] = Counter()
    items = []
    for solid in sorted(occupied.solids, key=lambda solid: solid.category):
        items.append(Item(solid.category, _box(solid), f"{solid.category}/{seen[solid.category]}"))
        seen[solid.category] += 1
    room = occupied.room
    middle = [[lane.x, lane.y - lane.half_depth], [lane.x, lane.y + lane.half_depth]]
    meta = {"difficulty": difficulty, "seed": seed, "kind": kind, "lane": middle}
    sides = ""
    if side is not None:
        sides, meta["side"] = f"{side[0]:g}to{side[1]:g}m-", list(side)
    return Scene(
        id=f"room-d{difficulty}-{sides}{seed:06d}",
        items=tuple(items),
        floor_area=_area(room),
        floor=np.array(room.polygon),
        height=room.height,
        source="procedural",
        meta=meta,
    )
