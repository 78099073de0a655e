"""The scene contract: what a box, an item and a scene accept."""

import numpy as np
import pytest

from tolman.scenes import Box, Item, Scene
from tolman.scenes.types import unique_ids


def test_corner_k_takes_the_plus_side_of_axis_j_where_bit_j_is_set():
    # Axes rows: own x points along world y, own y along world x (left-handed), own z up.
    box = Box(
        np.array([1.0, 2.0, 3.0]), np.array([2.0, 4.0, 6.0]), np.array([[0, 1, 0], [1, 0, 0], [0, 0, 1.0]])
    )
    # corner 0: center - 1*(0,1,0) - 2*(1,0,0) - 3*(0,0,1) = (-1, 1, 0); corner 1 adds 2*(0,1,0).
    np.testing.assert_allclose(box.corners[0], (-1, 1, 0))
    np.testing.assert_allclose(box.corners[1], (-1, 3, 0))
    np.testing.assert_allclose(box.corners[2], (3, 1, 0))
    np.testing.assert_allclose(box.corners[4], (-1, 1, 6))
    assert box.longest == 6.0


@pytest.mark.parametrize(
    ("center", "size", "axes", "message"),
    [
        ([np.nan, 0, 0], [1, 1, 1], np.eye(3), "center must be finite"),
        ([0, 0, 0], [1, -0.5, 1], np.eye(3), "size must not be negative.*-0.5"),
        ([0, 0, 0], [1, 1], np.eye(3), r"size must have shape \(3,\)"),
        ([0, 0, 0], [1, 1, 1], np.eye(3) * 2, "axes must be orthonormal"),
        ([0, 0, 0], [1, 1, 1], np.ones((3, 3)), "axes must be orthonormal"),
    ],
)
def test_a_broken_box_is_an_error(center, size, axes, message):
    with pytest.raises(ValueError, match=message):
        Box(np.array(center), np.array(size), axes)


def test_a_box_does_not_change_with_its_input():
    size = np.ones(3)
    box = Box(np.zeros(3), size, np.eye(3))
    size[0] = 7
    assert box.size[0] == 1
    with pytest.raises(ValueError, match="read-only"):
        box.size[0] = 2


def test_scene_counts_and_order():
    box = Box(np.zeros(3), np.ones(3), np.eye(3))
    items = tuple(Item(name, box, f"{name}/{k}") for k, name in enumerate(("tv", "chair", "chair")))
    scene = Scene("s", items, 12.0)
    assert scene.counts() == {"chair": 2, "tv": 1}
    assert [item.id for item in scene.of("chair")] == ["chair/1", "chair/2"]
    assert unique_ids(items)
    assert not unique_ids(items + items)


@pytest.mark.parametrize("area", [0.0, -1.0, float("nan"), float("inf")])
def test_a_scene_without_a_floor_area_is_an_error(area):
    with pytest.raises(ValueError, match="scene s: floor_area"):
        Scene("s", (), area)
