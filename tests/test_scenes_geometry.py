"""Exact box geometry against hand-computed numbers, a least-squares oracle and invariants."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import lsq_linear

from tolman.scenes import Box
from tolman.scenes.geometry import (
    box_distance,
    box_distances,
    contains,
    distance_matrix,
    footprint,
    footprints_overlap,
    polygon_area,
    polygon_contains,
)

S = math.sqrt(0.5)
TURNED_45 = np.array([[S, S, 0], [-S, S, 0], [0, 0, 1.0]])


def cube(x=0.0, y=0.0, z=0.0, size=(1.0, 1.0, 1.0), axes=None):
    return Box(np.array([x, y, z]), np.array(size), np.eye(3) if axes is None else np.asarray(axes, float))


def random_box(rng, spread=1.5):
    """Any orientation (a third axis-parallel, either handedness), one size in five zero."""
    axes = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    if rng.random() < 0.3:
        axes = np.eye(3)[rng.permutation(3)]
    return Box(rng.normal(size=3) * spread, rng.uniform(0, 2, 3) * (rng.random(3) > 0.2), axes)


def least_squares_distance(a, b):
    """Oracle: min of |a + A u - b - B v| over bounded u, v, by bounded-variable least squares."""
    half = np.maximum(np.concatenate([a.size, b.size]) / 2, 1e-13)
    matrix = np.hstack([a.axes.T, -b.axes.T])
    found = lsq_linear(matrix, b.center - a.center, bounds=(-half, half), method="bvls", tol=1e-15)
    return np.linalg.norm(found.fun)


seeds = st.integers(0, 2**32 - 1)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        # faces 3 - 0.5 - 0.5 apart
        (cube(), cube(3), 2.0),
        # edge to edge: gaps (1, 2, 0)
        (cube(), cube(2, 3), math.sqrt(5)),
        # corner to corner: gaps (1, 2, 3)
        (cube(), cube(2, 3, 4), math.sqrt(14)),
        # touching faces, overlapping, one inside the other
        (cube(), cube(1), 0.0),
        (cube(), cube(0.5, 0.5, 0.5), 0.0),
        (cube(), cube(size=(3, 3, 3)), 0.0),
        # an upright edge of the turned cube points at the other: 2 - 0.5 - sqrt(2)/2
        (cube(), cube(2, axes=TURNED_45), 1.5 - S),
        # two flat plates one over the other, and two points (zero sizes)
        (cube(size=(2, 2, 0)), cube(z=0.25, size=(2, 2, 0)), 0.25),
        (cube(size=(0, 0, 0)), cube(3, 4, size=(0, 0, 0)), 5.0),
        # a needle standing through a plate
        (cube(size=(2, 2, 0)), cube(0.3, size=(0, 0, 1)), 0.0),
        # two crossing needles, 0.7 apart: inner points of both edges
        (cube(size=(2, 0, 0)), cube(z=0.7, size=(2, 0, 0), axes=TURNED_45), 0.7),
    ],
)
def test_distance_by_hand(a, b, expected):
    assert box_distance(a, b) == pytest.approx(expected, abs=1e-12)
    assert box_distance(b, a) == pytest.approx(expected, abs=1e-12)


def test_trap_crossed_bars_are_closest_inside_their_edges():
    """Two long bars resting crosswise on their edges: every corner is far away, so corner sampling fails."""
    tilt = np.array([[1, 0, 0], [0, S, S], [0, -S, S]])  # a bar along x, standing on a long edge
    other = np.array([[0, 1, 0], [S, 0, S], [-S, 0, S]])  # the same along y
    low, high = cube(size=(4, 1, 1), axes=tilt), cube(z=2.0, size=(4, 1, 1), axes=other)
    # Each reaches sqrt(0.5) from its middle towards the other: 2 - 2 sqrt(0.5).
    assert box_distance(low, high) == pytest.approx(2 - 2 * S, abs=1e-12)


def test_trap_nearly_parallel_boxes_that_overlap_are_at_zero():
    angle = 1e-9
    turned = np.array(
        [[math.cos(angle), math.sin(angle), 0], [-math.sin(angle), math.cos(angle), 0], [0, 0, 1]]
    )
    assert box_distance(cube(size=(2, 2, 2)), cube(0.4, 0.2, 0.1, axes=turned)) == 0.0


def test_distance_agrees_with_bounded_least_squares():
    rng = np.random.default_rng(7)
    a, b = ([random_box(rng, 0.5 + k % 3) for k in range(600)] for _ in range(2))
    expected = [least_squares_distance(one, two) for one, two in zip(a, b, strict=True)]
    found = box_distances(a, b)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert 0.02 < (found == 0).mean() < 0.6  # both branches were met


@given(seeds)
def test_distance_is_symmetric_and_independent_of_handedness_and_axis_order(seed):
    rng = np.random.default_rng(seed)
    a, b = random_box(rng), random_box(rng)
    expected = box_distance(a, b)
    order, flip = rng.permutation(3), np.diag(rng.choice([-1.0, 1.0], 3))
    same = Box(a.center, a.size[order], flip @ a.axes[order])
    assert box_distance(b, a) == pytest.approx(expected, abs=1e-9)
    assert box_distance(same, b) == pytest.approx(expected, abs=1e-9)


@given(seeds)
def test_distance_survives_a_rigid_motion_and_scales(seed):
    rng = np.random.default_rng(seed)
    a, b = random_box(rng), random_box(rng)
    turn, shift = np.linalg.qr(rng.normal(size=(3, 3)))[0], rng.normal(size=3) * 10
    moved = [Box(turn @ box.center + shift, box.size, box.axes @ turn.T) for box in (a, b)]
    scaled = [Box(3 * box.center, 3 * box.size, box.axes) for box in (a, b)]
    assert box_distance(*moved) == pytest.approx(box_distance(a, b), abs=1e-9)
    assert box_distance(*scaled) == pytest.approx(3 * box_distance(a, b), abs=1e-9)


@given(seeds)
def test_no_two_points_of_the_boxes_are_closer_and_a_shared_point_means_zero(seed):
    rng = np.random.default_rng(seed)
    a, b = random_box(rng), random_box(rng)
    inside_a, inside_b = (
        box.center + (rng.uniform(-0.5, 0.5, (50, 3)) * box.size) @ box.axes for box in (a, b)
    )
    nearest = np.linalg.norm(inside_a[:, None] - inside_b, axis=2).min()
    assert box_distance(a, b) <= nearest + 1e-12
    assert contains(a, inside_a).all()
    # Slide b so that a point of it falls on a point of a.
    met = Box(b.center + inside_a[0] - inside_b[0], b.size, b.axes)
    assert box_distance(a, met) == pytest.approx(0, abs=1e-9)


@given(seeds, st.floats(1e-6, 5.0))
def test_boxes_pushed_apart_along_a_face_are_that_far_apart(seed, gap):
    """b lies on a face of `a`, over its middle: the distance is the gap; 0 for no gap."""
    rng = np.random.default_rng(seed)
    a, b = random_box(rng), random_box(rng)
    b = Box(b.center, b.size, a.axes)
    out = (a.size[0] + b.size[0]) / 2
    for push, expected in ((gap, gap), (0.0, 0.0)):
        pushed = Box(a.center + (out + push) * a.axes[0], b.size, b.axes)
        assert box_distance(a, pushed) == pytest.approx(expected, abs=1e-9)


def test_matrix_and_pairs_agree_and_empty_input_is_fine():
    rng = np.random.default_rng(3)
    boxes = [random_box(rng) for _ in range(9)]
    matrix = distance_matrix(boxes)
    assert matrix.shape == (9, 9)
    assert (matrix == matrix.T).all()
    assert (np.diag(matrix) == 0).all()
    np.testing.assert_allclose(matrix[2], box_distances([boxes[2]] * 9, boxes), atol=1e-12)
    assert distance_matrix([]).shape == (0, 0)
    assert box_distances([], []).shape == (0,)
    with pytest.raises(ValueError, match="got 1 and 2"):
        box_distances(boxes[:1], boxes[:2])


def test_contains_counts_the_surface():
    box = cube(1, 0, 0, size=(2, 1, 1), axes=TURNED_45)
    # Its own x end lies at center + 1 * (S, S, 0).
    points = np.array([[1, 0, 0], [1 + S, S, 0], [1 + 1.01 * S, 1.01 * S, 0], [1, 0, 0.51]])
    assert contains(box, points).tolist() == [True, True, False, False]
    assert contains(box, np.zeros((0, 3))).shape == (0,)


def test_footprint_of_a_turned_box_is_counter_clockwise_with_its_area():
    polygon = footprint(cube(size=(2, 1, 5), axes=TURNED_45))
    assert polygon.shape == (4, 2)
    assert polygon_area(polygon) == pytest.approx(2.0)
    edges = np.roll(polygon, -1, axis=0) - polygon
    following = np.roll(edges, -1, axis=0)
    assert (edges[:, 0] * following[:, 1] - edges[:, 1] * following[:, 0] > 0).all()


def test_footprint_of_a_tilted_or_flat_box():
    # Rolled by 45 degrees about x: width 1 stays, depth becomes (1 + 1) * S.
    rolled = cube(axes=np.array([[1, 0, 0], [0, S, S], [0, -S, S]]))
    assert polygon_area(footprint(rolled)) == pytest.approx(2 * S)
    generic = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    hexagon = footprint(cube(axes=generic))
    # The shadow of a unit cube has the area |u_z| + |v_z| + |w_z|.
    assert len(hexagon) == 6
    assert polygon_area(hexagon) == pytest.approx(np.abs(generic[:, 2]).sum())
    assert footprint(cube(size=(2, 0, 1))).tolist() == [[-1, 0], [1, 0]]
    assert footprint(cube(size=(0, 0, 1))).shape == (1, 2)


L_SHAPE = np.array([[0, 0], [4, 0], [4, 1], [1, 1], [1, 3], [0, 3.0]])


def test_polygon_area_and_containment_of_an_l():
    assert polygon_area(L_SHAPE) == pytest.approx(4 + 2)  # 4x1 below, 1x2 above
    assert polygon_area(L_SHAPE[::-1]) == pytest.approx(6)
    inside, outside = [(0.5, 2.5), (3.5, 0.5), (0.5, 1.0)], [(2, 2), (-1, 1), (5, 0.5), (0.5, 3.5)]
    boundary = [(0, 0), (1, 1), (2, 1), (4, 0.5), (0, 3), (1, 2)]
    assert polygon_contains(L_SHAPE, np.array(inside)).all()
    assert not polygon_contains(L_SHAPE, np.array(outside)).any()
    assert polygon_contains(L_SHAPE, np.array(boundary)).all()
    assert polygon_contains(L_SHAPE[::-1], np.array(inside)).all()


def test_footprints_overlap_and_margin():
    a = cube()
    assert footprints_overlap(a, cube(0.9, z=10))  # height does not matter
    assert not footprints_overlap(a, cube(1.0))  # touching
    assert not footprints_overlap(a, cube(1.2))
    assert footprints_overlap(a, cube(1.2), margin=0.21)
    assert not footprints_overlap(a, cube(1.2), margin=0.2)
    # Diagonally 0.3 * sqrt(2) = 0.424 apart: a separating-axis test with margin alone would say 0.3.
    assert not footprints_overlap(a, cube(1.3, 1.3), margin=0.4)
    assert footprints_overlap(a, cube(1.3, 1.3), margin=0.43)


def test_footprints_of_flat_boxes():
    plate = cube(size=(2, 0, 1))
    assert footprints_overlap(plate, cube())  # through its middle
    assert not footprints_overlap(plate, cube(0, 0.5))  # along its side
    assert not footprints_overlap(plate, cube(2.5, size=(2, 0, 1)))  # in line, 0.5 apart
    assert footprints_overlap(plate, cube(2.5, size=(2, 0, 1)), margin=0.6)
    assert footprints_overlap(cube(size=(0, 0, 1)), cube())  # a needle inside


@settings(max_examples=50)
@given(seeds)
def test_footprint_holds_the_shadow_of_the_box(seed):
    rng = np.random.default_rng(seed)
    box = random_box(rng)
    shadow = (box.center + (rng.uniform(-0.5, 0.5, (30, 3)) * box.size) @ box.axes)[:, :2]
    polygon = footprint(box)
    if len(polygon) > 2:
        grown = polygon.mean(axis=0) + (polygon - polygon.mean(axis=0)) * (1 + 1e-6)
        assert polygon_contains(grown, shadow).all()
