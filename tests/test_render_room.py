"""Rooms, grids and ways: polygons, floors, where a camera may stand."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from embreex.rtcore_scene import EmbreeScene

from tolman.render import gaze, occupancy, route
from tolman.render.film import film
from tolman.render.placing import given_frame
from tolman.render.room import plan_room, room_mesh, signed_area, triangles_of
from tolman.render.walk import Stage, lighting_of
from tolman.scenes import Box, Item, Scene, generate_scene
from tolman.scenes.geometry import polygon_contains

Floats = npt.NDArray[np.float64]

ELL = np.array([[0.0, 0.0], [4.0, 0.0], [4.0, 2.0], [2.0, 2.0], [2.0, 4.0], [0.0, 4.0]])  # 16 - 4 = 12 m²
COMB = np.array(
    [[0, 0], [7, 0], [7, 3], [5, 3], [5, 1], [4, 1], [4, 3], [2, 3], [2, 1], [1, 1], [1, 3], [0, 3.0]]
)


def area_of(corners: Floats) -> Floats:
    a, b = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    return np.asarray((a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]) / 2)


@pytest.mark.parametrize(("polygon", "area"), [(ELL, 12.0), (COMB, 17.0), (ELL[:4], 6.0)])
def test_triangles_fill_concave_polygons_without_overlap(polygon: Floats, area: float) -> None:
    """COMB: a bar of 7 x 1 with teeth 2 high and 1, 2 and 2 wide: 7 + 2 * 5 = 17. The L's first four corners
    make a trapezium with parallel sides of 4 and 2, 2 apart: 6."""
    faces = triangles_of(polygon)
    assert faces.shape == (len(polygon) - 2, 3)
    parts = area_of(polygon[faces])
    assert (parts > -1e-12).all()
    assert parts.sum() == pytest.approx(area)
    assert signed_area(polygon) == pytest.approx(area)


def test_an_outline_that_crosses_itself_is_an_error() -> None:
    with pytest.raises(ValueError, match="crosses itself"):
        triangles_of(np.array([[0, 0], [2, 2], [2, 0], [0, 2.0]]))


def test_a_room_without_a_floor_polygon_gets_a_rectangle_of_its_area() -> None:
    """Two boxes along a line at 30°: the rectangle is turned by 30° and has the scene's area, or else a
    margin."""
    c, s = np.cos(np.pi / 6), np.sin(np.pi / 6)
    axes = np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]])
    boxes = [Box(np.array([k * c, k * s, 1.2]), np.array([0.5, 0.5, 0.8]), axes) for k in (0.0, 3.0)]
    items = tuple(Item("chair", box, str(k)) for k, box in enumerate(boxes))
    room = plan_room(Scene("real", items, 12.0, source="scannet"), np.random.default_rng(0))
    assert signed_area(room.polygon) == pytest.approx(12.0)
    edge = room.polygon[1] - room.polygon[0]
    assert abs(np.rad2deg(np.arctan2(edge[1], edge[0])) % 90 - 30) < 1e-6
    assert room.low == pytest.approx(0.8)  # the chairs stand on the floor: 1.2 - 0.4
    assert room.height == pytest.approx(2.4)
    small = plan_room(Scene("real", items, 0.5, source="scannet"), np.random.default_rng(0))
    # 3.5 + 2 * 0.12 by 0.5 + 2 * 0.12
    assert signed_area(small.polygon) == pytest.approx(3.74 * 0.74)


def test_a_clockwise_floor_is_turned_round() -> None:
    made = Scene("s", (), 12.0, ELL[::-1].copy(), 2.5, "procedural")
    assert signed_area(plan_room(made, np.random.default_rng(0)).polygon) == pytest.approx(12.0)


def test_only_filming_inside_has_a_ceiling() -> None:
    room = plan_room(Scene("s", (), 12.0, ELL, 2.5, "procedural"), np.random.default_rng(0))
    inside, opened = room_mesh(room, ceiling=True).corners, room_mesh(room, ceiling=False).corners
    ceiling = inside[(inside[..., 2] == 2.5).all(axis=1)]
    assert np.abs(area_of(ceiling[..., :2].astype(float))).sum() == pytest.approx(12.0)
    # without one, the tops of the walls: 0.12 m wide along an outline of 16 m, and at five convex corners a
    # square more, at the concave one a square less
    tops = opened[(opened[..., 2] == 2.5).all(axis=1)]
    expected = 16 * 0.12 + 4 * 0.12**2
    assert np.abs(area_of(tops[..., :2].astype(float))).sum() == pytest.approx(expected, rel=1e-4)


def test_the_grid_knows_inside_and_blocked() -> None:
    room = plan_room(Scene("s", (), 12.0, ELL, 2.5, "procedural"), np.random.default_rng(0))
    grid = occupancy.grid_of(room)
    assert grid.inside.sum() * grid.cell**2 == pytest.approx(12.0, rel=0.02)
    np.testing.assert_array_equal(grid.inside.ravel(), polygon_contains(ELL, grid.middles().reshape(-1, 2)))
    box = Box(np.array([1.0, 1.0, 1.0]), np.array([1.0, 1.0, 0.2]), np.eye(3))
    frames = [given_frame(box)]
    hanging = occupancy.blocked(grid, frames, 0.0, 0.8)  # the box spans z = 0.9 to 1.1
    np.testing.assert_array_equal(hanging, ~grid.inside)
    standing = occupancy.blocked(grid, frames, 0.0, 1.0)
    r, c = grid.index(np.array([1.0, 1.0]))
    assert standing[r, c]
    assert 1.0 <= (standing & grid.inside).sum() * grid.cell**2 <= 1.3


def test_ways_go_round_corners() -> None:
    """From one leg of the L to the other the straight line leaves the floor; the way does not, and it is at
    least as long as the two straight pieces over the inner corner (2, 2): from (3.5, 1.5) and to (1.5, 3.5),
    2 * 1.5811."""
    room = plan_room(Scene("s", (), 12.0, ELL, 2.5, "procedural"), np.random.default_rng(0))
    grid = occupancy.grid_of(room)
    clear = occupancy.clearance(grid.inside, grid.cell)
    ways = occupancy.Ways(grid.inside, clear, grid.cell)
    ends = np.stack(grid.index(np.array([[3.5, 1.5], [1.5, 3.5]])), axis=1)
    costs, before = ways.from_cells(ends[:1])
    number = int(ways.number[tuple(ends[1])])
    path = ways.path(before[0], number)
    np.testing.assert_array_equal(path[[0, -1]], ends)
    assert grid.inside[tuple(path.T)].all()
    points = grid.middles()[tuple(path.T)]
    length = np.linalg.norm(np.diff(points, axis=0), axis=1).sum()
    assert 2 * 1.5811 - 0.2 <= length <= 1.25 * 2 * 1.5811
    assert costs[0, number] >= length


def test_a_full_floor_falls_back_to_the_clearest_spot() -> None:
    """Free floor of 0.3 x 0.3 m is too small to walk: the camera stands in its middle. None at all: in the
    middle of the room."""
    square = np.array([[0.0, 0.0], [3.0, 0.0], [3.0, 3.0], [0.0, 3.0]])
    room = plan_room(Scene("s", (), 9.0, square, 2.5, "procedural"), np.random.default_rng(0))
    grid = occupancy.grid_of(room)
    middles = grid.middles()
    hole = (np.abs(middles - 2.0) < 0.16).all(axis=-1)
    floor = route.free_floor(grid, ~hole)
    assert floor.free.sum() == 1
    assert np.abs(middles[floor.free][0] - 2.0).max() <= 0.1
    full = route.free_floor(grid, np.ones_like(hole))
    assert full.free.sum() == 1
    assert np.abs(middles[full.free][0] - 1.5).max() <= 0.1


@pytest.mark.parametrize("style", ["raised", "walk"])
def test_the_camera_stays_over_free_floor_and_moves_smoothly(style: str) -> None:
    for seed in range(8):
        made = generate_scene(40 + seed, seed % 4)
        assert made.floor is not None
        assert made.height is not None
        poses = film(made, seed, 24, (8, 8), style).poses_T44
        assert polygon_contains(made.floor, poses[:, :2, 3]).all()
        assert (poses[:, 2, 3] < made.height).all()
        for item in made.items:
            own = (poses[:, :3, 3] - item.box.center) @ item.box.axes.T
            assert not (np.abs(own) <= item.box.size / 2).all(axis=1).any(), item.id
        steps = np.linalg.norm(np.diff(poses[:, :3, 3], axis=0), axis=1)
        assert steps.sum() > 0.5  # it walks
        assert steps.max() < 0.8
        cosine = (poses[1:, :3, 2] * poses[:-1, :3, 2]).sum(axis=1)
        assert np.rad2deg(np.arccos(np.clip(cosine, -1, 1))).max() < 50
        np.testing.assert_allclose(poses[:, 2, 0], 0.0, atol=1e-12)  # level: right has no z


def test_the_gaze_turns_to_what_is_behind() -> None:
    """Two things, one ahead (+y) and one behind: in 16 frames with at most 45° a frame both are seen."""
    ahead, behind = np.array([0.0, 3.0, 0.0]), np.array([0.0, -3.0, 0.0])
    toward = np.broadcast_to(np.array([ahead, behind])[None, :, None], (16, 2, 1, 3)).copy()
    views = gaze.Views(toward, np.ones((16, 2, 1), bool), np.full((16, 2), 0.05))
    heading, _ = gaze.plan_gaze(views, gaze.Lens(0.6, 0.6), np.array([0.0]), 8.0)
    facing = np.stack([np.cos(heading), np.sin(heading)], axis=1)
    assert facing[0] @ [0, 1] == pytest.approx(1.0)
    assert ((facing @ [0, 1]) > 0.86).sum() >= 3
    assert ((facing @ [0, -1]) > 0.86).sum() >= 3
    assert np.abs(np.diff(heading)).max() <= np.pi / 4 + 1e-9


def test_in_view_follows_the_lens() -> None:
    """Facing +y with half a width of tangent 0.5: a thing at 1 m across 3 m ahead (0.33) is in view, at 2 m
    (0.67) it is not; and nothing behind is. Its share is its solid angle over the picture's 4 * 0.5 * 0.5 =
    1."""
    toward = np.array([[[[1.0, 3.0, 0.0]], [[2.0, 3.0, 0.0]], [[1.0, -3.0, 0.0]]]])
    views = gaze.Views(toward, np.ones((1, 3, 1), bool), np.full((1, 3), 0.02))
    share = gaze.in_view(views, gaze.Lens(0.5, 0.5), np.array([np.pi / 2]), np.array([0.0]))
    np.testing.assert_allclose(share, [[[0.02, 0.0, 0.0]]])


@pytest.mark.parametrize("style", ["raised", "walk", "overhead"])
def test_lamps_hang_clear_of_walls_and_things(style: str) -> None:
    """In the L the middle of the bounding box is a corner of the wall; a lamp there would light nothing. A
    ceiling light around a lamp would shut it in."""
    box = Box(np.array([1.2, 1.4, 2.4]), np.array([0.6, 0.6, 0.2]), np.eye(3))
    made = Scene("s", (Item("ceiling light", box, "0"),), 12.0, ELL, 2.5, "procedural")
    room, placed = plan_room(made, np.random.default_rng(0)), [given_frame(box)]
    mesh = room_mesh(room, True)
    lamps = lighting_of(Stage(made, room, placed, mesh, EmbreeScene()), style).lights
    assert len(lamps) == 2
    for lamp in lamps:
        if style == "overhead":
            assert lamp.position[2] == pytest.approx(4.0)
            continue
        assert polygon_contains(ELL, lamp.position[None, :2]).all()
        assert (np.abs(lamp.position - box.center) > box.size / 2 + 0.1).any()
        assert lamp.position[2] == pytest.approx(2.35)
