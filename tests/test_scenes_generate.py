"""Procedural rooms: reproducible, valid, varied."""

import json
import math
from collections import Counter

import numpy as np
import pytest

from tolman.scenes import CATALOGUE, DIFFICULTIES, generate_scene
from tolman.scenes.furniture import PLACES, ROOM_KINDS, STARTERS
from tolman.scenes.generate import LANE_WIDTH
from tolman.scenes.geometry import (
    box_distance,
    distance_matrix,
    footprint,
    footprints_overlap,
    polygon_area,
    polygon_contains,
)
from tolman.scenes.placement import Rect, make_room, rects_overlap
from tolman.scenes.types import Box, unique_ids

LEVELS = range(len(DIFFICULTIES))


def rooms(level, count=60):
    return [generate_scene(seed, level) for seed in range(count)]


def bottom(box):
    return box.center[2] - box.size[2] / 2


def as_bytes(scene):
    boxes = [(i.id, i.box.center.tobytes(), i.box.size.tobytes(), i.box.axes.tobytes()) for i in scene.items]
    return scene.id, boxes, scene.floor.tobytes(), scene.height, scene.floor_area, scene.meta


def lies_in(polygon, points):
    """Points in the polygon and, as the L is not convex, so is every point of the outline between them."""
    steps = np.linspace(0, 1, 9)[:, None, None]
    outline = (points + steps * (np.roll(points, -1, axis=0) - points)).reshape(-1, 2)
    return polygon_contains(polygon, outline).all()


@pytest.mark.parametrize("level", LEVELS)
def test_the_same_seed_gives_the_same_bytes_and_another_seed_another_room(level):
    assert as_bytes(generate_scene(11, level)) == as_bytes(generate_scene(11, level))
    assert as_bytes(generate_scene(11, level))[1] != as_bytes(generate_scene(12, level))[1]


@pytest.mark.parametrize("level", LEVELS)
def test_a_room_is_named_and_measured(level):
    for seed, scene in enumerate(rooms(level, 20)):
        assert scene.id == f"room-d{level}-{seed:06d}"
        assert scene.source == "procedural"
        assert scene.floor_area == pytest.approx(polygon_area(scene.floor))
        low, high = DIFFICULTIES[level].side
        extent = np.ptp(scene.floor, axis=0)
        assert ((extent >= low - 1e-9) & (extent <= high + 1e-9)).all()
        x, y = scene.floor.T
        assert x @ np.roll(y, -1) - y @ np.roll(x, -1) > 0  # counter-clockwise
        assert unique_ids(scene.items)


@pytest.mark.parametrize("level", LEVELS)
def test_items_stand_inside_apart_and_on_something(level):
    for scene in rooms(level):
        boxes = [item.box for item in scene.items]
        distances = distance_matrix(boxes) + np.eye(len(boxes))
        assert distances.min() > 1e-4, scene.id  # nothing intersects
        for item in scene.items:
            assert lies_in(scene.floor, footprint(item.box)), (scene.id, item.id)
            low = bottom(item.box)
            assert low >= 0
            assert low + item.box.size[2] <= scene.height
            if CATALOGUE[item.category].places == ("top",):
                held = [
                    other
                    for other in scene.items
                    if other.category in CATALOGUE[item.category].supports
                    and 0 <= low - (bottom(other.box) + other.box.size[2]) < 1e-3
                    and polygon_contains(footprint(other.box), footprint(item.box)).all()
                ]
                assert held, (scene.id, item.id)
                assert box_distance(item.box, held[0].box) < 1e-3


@pytest.mark.parametrize("level", LEVELS)
def test_three_items_of_three_categories_and_few_rooms_fall_short(level):
    low, high = DIFFICULTIES[level].items
    sizes = []
    for scene in rooms(level, 300):
        assert len(scene.categories) >= 3
        assert len(scene.items) <= high + 1  # a support may come on top
        assert all(count <= CATALOGUE[name].most for name, count in scene.counts().items())
        kin = [CATALOGUE[name].kin for name in scene.categories if CATALOGUE[name].kin]
        assert len(kin) == len(set(kin)), scene.id
        sizes.append(len(scene.items))
    assert np.mean(np.array(sizes) < low) < 0.02


@pytest.mark.parametrize("level", LEVELS)
def test_the_lane_is_free(level):
    for scene in rooms(level):
        (x, start), (x1, end) = scene.meta["lane"]
        assert x == x1
        assert start < scene.floor[:, 1].min() + 0.3
        assert end > 0 - 0.3
        lane = Box(np.array([x, (start + end) / 2, 0]), np.array([LANE_WIDTH, end - start, 1]), np.eye(3))
        assert lies_in(scene.floor, footprint(lane))
        for item in scene.items:
            if bottom(item.box) < 0.1:
                assert not footprints_overlap(item.box, lane), (scene.id, item.id)


@pytest.mark.parametrize("level", LEVELS)
def test_what_has_its_back_to_the_wall_faces_the_room(level):
    """Front is -y: half a metre before the front of a wall piece is still floor; behind its back is not."""
    seen = 0
    for scene in rooms(level):
        for item in scene.items:
            if set(CATALOGUE[item.category].places) <= {"wall", "hung"}:
                reach = item.box.size[1] / 2
                front = item.box.center - item.box.axes[1] * (reach + 0.5)
                back = item.box.center + item.box.axes[1] * (reach + 0.02)
                assert polygon_contains(scene.floor, front[None, :2]).all(), (scene.id, item.id)
                assert not polygon_contains(scene.floor, back[None, :2]).any(), (scene.id, item.id)
                seen += 1
    assert seen > 50


def test_chairs_drawn_up_to_a_table_face_it():
    near = facing = 0
    for scene in rooms(1, 400):
        for chair in scene.of("chair"):
            for table in scene.of("table"):
                if box_distance(chair.box, table.box) < 0.3:
                    near += 1
                    # A ray from the chair's middle along its front meets the table's footprint.
                    ray = chair.box.center[:2] - np.linspace(0, 1.2, 60)[:, None] * chair.box.axes[1, :2]
                    facing += bool(polygon_contains(footprint(table.box), ray).any())
    assert near > 40
    assert facing / near > 0.75


def test_axes_are_right_handed_and_upright():
    for item in generate_scene(5, 3).items:
        assert np.linalg.det(item.box.axes) == pytest.approx(1)
        assert item.box.axes[2].tolist() == [0, 0, 1]


def test_rooms_vary():
    scenes = rooms(3, 300)
    assert 0.3 < np.mean([len(scene.floor) == 6 for scene in scenes]) < 0.7
    assert {name for scene in scenes for name in scene.categories} == set(CATALOGUE)
    counts = Counter(n for scene in scenes for n in scene.counts().values())
    assert counts[1] / counts.total() < 0.75
    # No category's number can be guessed: chairs come in at least five different numbers.
    assert len({scene.counts()["chair"] for scene in scenes if "chair" in scene.categories}) >= 5
    starters = Counter(name for scene in rooms(0, 300) for name in scene.categories)
    assert set(starters) == set(STARTERS)
    assert max(starters.values()) < 2 * min(starters.values())


def test_difficulty_zero_is_small_and_rectangular():
    for scene in rooms(0, 100):
        assert len(scene.floor) == 4
        assert 3 <= len(scene.items) <= 6
        assert set(scene.categories) <= set(STARTERS)


@pytest.mark.parametrize("level", LEVELS)
def test_sides_can_be_given(level):
    side = (6.0, 8.5)
    halls = [generate_scene(seed, level, side) for seed in range(30)]
    extents = np.array([np.ptp(hall.floor, axis=0) for hall in halls])
    assert 6 <= extents.min() < 6.3
    assert 8.2 < extents.max() <= 8.5
    least, most = DIFFICULTIES[level].items
    assert all(3 <= len(hall.items) <= most for hall in halls)
    assert np.mean([len(hall.items) >= least for hall in halls]) > 0.9
    assert halls[7].id == f"room-d{level}-6to8.5m-000007"
    assert halls[7].meta["side"] == [6.0, 8.5]
    assert as_bytes(halls[7]) == as_bytes(generate_scene(7, level, side))


@pytest.mark.parametrize("side", [(2.9, 5), (6, 5), (6, 21), (float("nan"), 5)])
def test_impossible_sides_are_errors(side):
    with pytest.raises(ValueError, match="sides must be 3 to 20 m"):
        generate_scene(0, 1, side)


@pytest.mark.parametrize(
    ("seed", "level", "message"), [(-1, 0, "seed"), (0, 4, "0 to 3, got 4"), (0, -1, "got -1")]
)
def test_bad_arguments_are_errors(seed, level, message):
    with pytest.raises(ValueError, match=message):
        generate_scene(seed, level)


def test_the_catalogue_is_sound():
    assert len(CATALOGUE) >= 35
    for name, kind in CATALOGUE.items():
        assert name == kind.category
        for low, high in (kind.width, kind.depth, kind.height):
            assert 0 < low <= high < 4, name
        assert kind.places, name
        assert set(kind.places) <= set(PLACES), name
        assert kind.rooms, name
        assert set(kind.rooms) <= set(ROOM_KINDS), name
        assert set(kind.supports + kind.gathers) <= set(CATALOGUE), name
        assert ("top" in kind.places) == bool(kind.supports), name
        # Only what hangs has an elevation; of what hangs, only doors start at the floor.
        assert (kind.elevation[1] > 0) == ("hung" in kind.places and name != "door"), name


def test_catalogue_holds_vsibenchs_categories(shared_data):
    names = set()
    for path in (shared_data / "vsibench").glob("scenes_*.json"):
        for scan in json.loads(path.read_text()).values():
            names |= set(scan["object_bbox"])
    # A mattress on its own is a bed to the eye.
    assert names - set(CATALOGUE) == {"mattress"}


def test_rectangles_overlap_by_hand():
    a = Rect(0, 0, 1, 0, 1, 0.5)
    assert rects_overlap(a, Rect(1.9, 0, 1, 0, 1, 0.5))
    assert not rects_overlap(a, Rect(2.1, 0, 1, 0, 1, 0.5))
    assert rects_overlap(a, Rect(2.1, 0, 1, 0, 1, 0.5), gap=0.2)
    # Turned by 90 degrees it reaches 0.5 along x.
    assert not rects_overlap(a, Rect(1.6, 0, 0, 1, 1, 0.5))
    assert rects_overlap(a, Rect(1.4, 0, 0, 1, 1, 0.5))
    # Turned by 45 degrees: the bounding boxes meet, the squares do not.
    s = math.sqrt(0.5)
    square = Rect(0, 0, 1, 0, 0.5, 0.5)
    assert not rects_overlap(square, Rect(0.9, 0.9, s, s, 0.5, 0.5))
    assert rects_overlap(square, Rect(0.8, 0.8, s, s, 0.5, 0.5))


def test_rectangles_overlap_as_footprints_do():
    rng = np.random.default_rng(1)
    for _ in range(500):
        rects = []
        for _ in range(2):
            angle = rng.uniform(0, 7)
            rects.append(Rect(*rng.normal(size=2), math.cos(angle), math.sin(angle), *rng.uniform(0.1, 1, 2)))
        boxes = [
            Box(
                np.array([r.x, r.y, 0]),
                np.array([2 * r.half_width, 2 * r.half_depth, 1]),
                np.array([[r.cos, r.sin, 0], [-r.sin, r.cos, 0], [0, 0, 1]]),
            )
            for r in rects
        ]
        assert rects_overlap(*rects) == footprints_overlap(*boxes)
        corners = sorted(map(tuple, np.round(rects[0].corners(), 6)))
        assert corners == sorted(map(tuple, np.round(footprint(boxes[0]), 6)))


def test_before_is_the_floor_in_front():
    # Not turned: the front is -y. Half depth 0.5 and a strip of 1: its middle lies 1.0 before the centre.
    assert Rect(2, 3, 1, 0, 0.8, 0.5).before(1.0) == Rect(2, 2, 1, 0, 0.8, 0.5)
    # Turned by 90 degrees (own x = +y), the front -y points along +x.
    assert Rect(2, 3, 0, 1, 0.8, 0.5).before(1.0) == Rect(3, 3, 0, 1, 0.8, 0.5)


def test_an_l_shaped_room_excludes_its_notch():
    for seed in range(40):
        room = make_room(np.random.default_rng(seed), (5.0, 9.0), cut=True)
        assert room.notch is not None
        assert not room.holds(room.notch)
        polygon = np.array(room.polygon)
        x, y = polygon.T
        area = (x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2
        notch = 4 * room.notch.half_width * room.notch.half_depth
        assert area == pytest.approx(room.width * room.depth - notch)
        for wall in room.walls:  # the room is on each wall's left
            middle = np.array([wall.x + wall.dx * wall.length / 2, wall.y + wall.dy * wall.length / 2])
            left = middle + 0.1 * np.array([-wall.dy, wall.dx])
            assert polygon_contains(polygon, left[None]).all()
