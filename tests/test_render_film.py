"""Clips of hand-made and procedural scenes: depth, ids, poses and bytes."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene

from tolman.render.camera import intrinsics, pose, rays, turned
from tolman.render.film import Film, cast, film
from tolman.render.walk import OPEN_TOPPED
from tolman.scenes import Box, Item, Scene, generate_scene
from tolman.scenes.vsibench import read_vsibench

Floats = npt.NDArray[np.float64]

SQUARE = np.array([[-2.0, -2.0], [2.0, -2.0], [2.0, 2.0], [-2.0, 2.0]])
ELL = np.array([[-3.0, -3.0], [3.0, -3.0], [3.0, 0.0], [0.0, 0.0], [0.0, 3.0], [-3.0, 3.0]])
STYLES = ("survey", "overhead", "raised", "walk")


def item(
    category: str, number: int, center: tuple[float, ...], size: tuple[float, ...], yaw: float = 0.0
) -> Item:
    c, s = np.cos(yaw), np.sin(yaw)
    axes = np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]])
    return Item(category, Box(np.array(center), np.array(size), axes), f"{category}/{number}")


def scene(*items: Item, floor: Floats = SQUARE) -> Scene:
    area = 16.0 if floor is SQUARE else 27.0
    return Scene("hand-made", items, area, floor, 2.6, "procedural")


def cast_boxes(boxes: list[Box], origin: Floats, directions: Floats) -> tuple[Floats, npt.NDArray[np.int64]]:
    """The slab method, one box after the other: distance (n,) along directions (n, 3) and box number (n,)."""
    best, number = np.full(len(directions), np.inf), np.full(len(directions), -1)
    for k, box in enumerate(boxes):
        start, along = box.axes @ (origin - box.center), directions @ box.axes.T
        with np.errstate(divide="ignore"):
            a, b = (-box.size / 2 - start) / along, (box.size / 2 - start) / along
        enter, leave = np.minimum(a, b).max(axis=1), np.maximum(a, b).min(axis=1)
        closer = (enter <= leave) & (enter > 0) & (enter < best)
        best[closer], number[closer] = enter[closer], k
    return best, number


def pixel_rays(shot: Film, frame: int) -> tuple[Floats, Floats]:
    """Origin (3,) and directions (H * W, 3) with unit forward component, from poses and intrinsics alone."""
    height, width = shot.depth_THW.shape[1:]
    v, u = np.meshgrid(np.arange(height) + 0.5, np.arange(width) + 0.5, indexing="ij")
    k = shot.intrinsics_33
    own = np.stack([(u - k[0, 2]) / k[0, 0], (v - k[1, 2]) / k[1, 1], np.ones_like(u)], axis=-1).reshape(
        -1, 3
    )
    matrix = shot.poses_T44[frame]
    return matrix[:3, 3], own @ matrix[:3, :3].T


@pytest.mark.parametrize("style", STYLES)
def test_plain_boxes_agree_with_a_numpy_box_caster(style: str) -> None:
    made = scene(
        item("chair", 0, (-0.8, 0.5, 0.45), (0.5, 0.5, 0.9), 0.3),
        item("table", 0, (0.9, 0.8, 0.4), (1.2, 0.7, 0.8), 1.0),
        item("plant", 0, (0.9, 0.8, 1.0), (0.2, 0.3, 0.4), 0.0),
    )
    shot = film(made, 1, 3, (60, 80), style, plain=True)
    for t in range(3):
        origin, directions = pixel_rays(shot, t)
        distance, number = cast_boxes([one.box for one in made.items], origin, directions)
        ids, depth = shot.ids_THW[t].ravel(), shot.depth_THW[t].ravel()
        # single precision may decide a pixel on an edge the other way; no more than 1 in 500
        assert (ids == number).mean() > 0.998
        same = (ids == number) & (number >= 0)
        assert same.any()
        np.testing.assert_allclose(depth[same], distance[same], rtol=1e-5)


def test_depth_is_the_distance_along_the_viewing_axis() -> None:
    """A ray (x, y, 1) of the camera's frame falls, per metre of depth, by minus the z of y * down + forward;
    from height h it meets the floor at depth h over that fall. Straight down the fall is 1, whatever the
    pixel."""
    shot = film(scene(), 5, 1, (40, 40), "overhead")
    matrix = shot.poses_T44[0]
    down, forward, height = matrix[2, 1], matrix[2, 2], matrix[2, 3]
    for v in (2, 12, 20):  # (further down the picture shows the wall)
        y = (v + 0.5 - 20) / shot.intrinsics_33[1, 1]
        floor = height / -(y * down + forward)
        assert shot.depth_THW[0, v, 20] == pytest.approx(floor, rel=1e-5)


def test_embree_depth_of_a_wall_straight_ahead() -> None:
    """A wall 3 m ahead is 3 m deep in every pixel, though it is further from the camera in the corners."""
    wall = np.array([[[-9, 3, -9], [9, 3, -9], [9, 3, 9]], [[-9, 3, -9], [9, 3, 9], [-9, 3, 9]]], np.float32)
    caster = EmbreeScene()
    TriangleMesh(caster, wall)
    matrix = pose(np.zeros(3), np.pi / 2, 0.0)
    hits = cast(caster, matrix[:3, 3], turned(rays(intrinsics((8, 12), 1.2), (8, 12)), matrix))
    np.testing.assert_allclose(hits.distance, 3.0, rtol=1e-6)


def test_a_pose_looks_along_z_with_x_right_and_y_down() -> None:
    """Looking towards +y, level: right is +x, down is -z, forward +y; as columns of the matrix."""
    matrix = pose(np.array([1.0, 2.0, 1.5]), np.pi / 2, 0.0)
    expected = [[1, 0, 0, 1], [0, 0, 1, 2], [0, -1, 0, 1.5], [0, 0, 0, 1]]
    np.testing.assert_allclose(matrix, expected, atol=1e-12)


def test_a_pixel_projects_where_its_point_is() -> None:
    """A box to the right of the first view's middle appears in the right half of the picture, a high one
    above."""
    made = scene(
        item("lamp", 0, (1.0, 1.5, 0.3), (0.4, 0.4, 0.6)), item("clock", 0, (-1.0, 1.9, 2.0), (0.4, 0.1, 0.4))
    )
    shot = film(made, 0, 1, (96, 96), "walk")
    lamp, clock = np.argwhere(shot.ids_THW[0] == 0), np.argwhere(shot.ids_THW[0] == 1)
    assert lamp[:, 1].min() > 48 > clock[:, 1].max()
    assert lamp[:, 0].mean() > clock[:, 0].mean()


def test_nothing_has_depth_zero_and_id_minus_one() -> None:
    shot = film(scene(item("bed", 0, (0, 0, 0.3), (1.5, 2.0, 0.6))), 2, 6, (48, 48), "overhead")
    outside = shot.depth_THW == 0
    assert (shot.ids_THW[outside] == -1).all()
    assert shot.depth_THW.dtype == np.float32
    assert shot.ids_THW.dtype == np.int32
    assert shot.rgb_THWC.dtype == np.uint8
    assert shot.rgb_THWC.shape == (6, 48, 48, 3)


def test_sightings_count_the_pixels_of_the_ids() -> None:
    shot = film(generate_scene(3, 2), 0, 5, (40, 56), "raised", fps=4.0)
    for t in range(5):
        for k in range(shot.sightings.pixels_TI.shape[1]):
            assert shot.sightings.pixels_TI[t, k] == (shot.ids_THW[t] == k).sum()
    assert shot.sightings.frame_pixels == 40 * 56
    assert shot.sightings.times_T.tolist() == [0.0, 0.25, 0.5, 0.75, 1.0]


def digest(shot: Film) -> str:
    arrays = (shot.rgb_THWC, shot.depth_THW, shot.ids_THW, shot.poses_T44, shot.sightings.pixels_TI)
    return hashlib.sha256(b"".join(a.tobytes() for a in arrays)).hexdigest()


@pytest.mark.parametrize("style", STYLES)
def test_same_seed_same_bytes(style: str) -> None:
    made = generate_scene(8, 3)
    first = digest(film(made, 4, 3, (32, 32), style))
    assert digest(film(made, 4, 3, (32, 32), style)) == first
    assert digest(film(made, 4, 3, (32, 32), style, threads=3)) == first
    assert digest(film(made, 5, 3, (32, 32), style)) != first


def test_bytes_do_not_depend_on_the_number_of_threads() -> None:
    code = """
import hashlib
from tolman.render.film import film
from tolman.scenes import generate_scene
shot = film(generate_scene(2, 2), 1, 3, (24, 24), "walk")
arrays = shot.rgb_THWC, shot.depth_THW, shot.poses_T44
print(hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest())
"""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    path = os.pathsep.join(entry for entry in sys.path if entry)
    seen = set()
    for count in ("1", "2"):
        env = {**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": count, **dict.fromkeys(names, count)}
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
        seen.add(done.stdout)
    assert len(seen) == 1


def test_supersampling_changes_colours_only() -> None:
    made = generate_scene(5, 1)
    rough, fine = film(made, 0, 2, (32, 32), "walk"), film(made, 0, 2, (32, 32), "walk", 2)
    np.testing.assert_array_equal(rough.ids_THW, fine.ids_THW)
    np.testing.assert_array_equal(rough.depth_THW, fine.depth_THW)
    difference = np.abs(rough.rgb_THWC.astype(int) - fine.rgb_THWC)
    assert 0 < difference.mean() < 12


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"style": "drone"}, "survey, overhead, raised, walk"),
        ({"frames": 0}, "frames"),
        ({"size": (0, 8)}, "height"),
        ({"supersample": 0}, "supersample"),
        ({"fps": 0.0}, "fps"),
        ({"fps": float("nan")}, "fps"),
        ({"threads": 0}, "threads"),
    ],
)
def test_arguments_that_make_no_clip(change: dict[str, object], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        film(scene(), 0, **change)  # type: ignore[arg-type]


@pytest.mark.parametrize("style", STYLES)
def test_a_scene_without_items_is_filmed(style: str) -> None:
    shot = film(scene(), 0, 2, (16, 16), style)
    assert shot.sightings.pixels_TI.shape == (2, 0)
    assert (shot.ids_THW == -1).all()


@pytest.mark.parametrize("style", STYLES)
def test_flat_and_tiny_boxes_are_drawn(style: str) -> None:
    made = scene(
        item("whiteboard", 0, (0, 1.95, 1.2), (1.5, 0.0, 1.0)),
        item("rug", 0, (0, 0.5, 0.01), (1.5, 1.0, 0.0)),
        item("cup", 0, (0.3, 0.4, 0.5), (0.0, 0.0, 0.0)),
    )
    shot = film(made, 0, 8, (96, 96), style)
    seen = shot.sightings.pixels_TI.sum(axis=0)
    assert seen[0] > 0
    assert seen[1] > 0


def test_the_first_view_looks_towards_plus_y_from_the_near_side() -> None:
    for seed in range(4):
        made = generate_scene(seed, seed)
        assert made.floor is not None
        middle = made.floor.mean(axis=0)
        for style in STYLES:
            first = film(made, seed, 4, (16, 16), style).poses_T44[0]
            assert first[1, 3] < middle[1]
            if style in OPEN_TOPPED:  # up in the picture is -y of the camera's frame; tilts are at most 14°
                assert -first[1, 1] >= np.cos(np.deg2rad(14.01))
                assert abs(first[0, 0]) == pytest.approx(1.0)
            else:  # forward, level
                assert first[1, 2] / np.hypot(first[0, 2], first[1, 2]) > 0.99


def test_real_scans_are_filmed(shared_data: Path) -> None:
    shares = []
    for made in read_vsibench(shared_data / "vsibench")[::24]:
        for style in STYLES:
            shot = film(made, 0, 8, (64, 64), style)
            shares.append((shot.sightings.pixels_TI.sum(axis=0) > 0).mean())
    assert np.mean(shares) > 0.8


def test_every_item_is_seen_at_least_twice() -> None:
    """At least 95 % of the items of 20 rooms, by each style."""
    for style in STYLES:
        seen = total = 0
        for seed in range(20):
            shot = film(generate_scene(500 + seed, seed % 4), seed, 24, (64, 64), style)
            seen += int(((shot.sightings.pixels_TI > 0).sum(axis=0) >= 2).sum())
            total += shot.sightings.pixels_TI.shape[1]
        assert seen / total >= 0.95, (style, seen, total)
