"""Furniture: within its box, for every category, with steady colours and the front where it belongs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tolman.render import furniture, palette
from tolman.render.mesh import furnish
from tolman.render.parts import RECESS, Kit, Parts, triangulate
from tolman.render.placing import THINNEST, found_frame, given_frame
from tolman.render.placing import frames as item_frames
from tolman.scenes import CATALOGUE, Box, Item, Scene

SIZES = (
    (0.6, 0.5, 0.9),
    (2.0, 0.9, 0.5),
    (0.9, 2.1, 0.66),
    (0.3, 0.3, 0.02),
    (0.01, 0.8, 0.6),
    (0.1, 0.06, 0.1),
)


def one(
    category: str, size: tuple[float, float, float], axes: object = None, source: str = "procedural"
) -> Scene:
    box = Box(np.array([1.0, -2.0, 0.7]), np.array(size), np.eye(3) if axes is None else np.asarray(axes))
    return Scene("one", (Item(category, box, "0"),), 20.0, None, None, source)


@pytest.mark.parametrize(
    "category", [*furniture.MODELS, *furniture.SYNONYMS, "gramophone", "surfboard", "anvil", "easel"]
)
def test_every_category_stays_within_its_box_and_fills_it(category: str) -> None:
    for size in SIZES:
        made = one(category, size)
        mesh = furnish(made, item_frames(made), 3, plain=False)
        assert np.isfinite(mesh.corners).all()
        assert np.isfinite(mesh.normal).all()
        points = mesh.corners.reshape(-1, 3) - made.items[0].box.center
        half = np.array(size) / 2
        assert (np.abs(points) <= half + 1e-5).all()
        # along its longest side no model is less than three quarters of its box
        longest = int(half.argmax())
        assert np.ptp(points[:, longest]) >= 1.5 * half[longest]
        assert len(mesh.corners) <= 3000


def test_every_category_of_the_real_scans_has_a_model(shared_data: Path) -> None:
    names = set()
    for path in sorted((shared_data / "vsibench").glob("scenes_*.json")):
        for entry in json.loads(path.read_text()).values():
            names |= set(entry["object_bbox"])
    assert len(names) > 60
    assert {name for name in names if furniture.canonical(name) not in furniture.MODELS} == set()


def test_every_category_of_the_generator_has_a_model_and_colours() -> None:
    for name in CATALOGUE:
        assert furniture.canonical(name) in furniture.MODELS
        assert furniture.canonical(name) in palette.COLOURS


def test_synonyms_lead_to_models() -> None:
    assert set(furniture.SYNONYMS.values()) <= set(furniture.MODELS)
    assert not set(furniture.SYNONYMS) & set(furniture.MODELS)


def test_colours_of_unknown_categories_are_steady() -> None:
    """crc32 of b"gramophone" is 0x830BCC63 in every process: hue 0xCC63 / 0x10000 = 0.79839, a violet between
    blue (4/6) and magenta (5/6); value v = 0.5 + 0.35 * 0x0B / 255 = 0.515098. At saturation 0.65 blue is v,
    green 0.35 v = 0.180284, and red v (1 - 0.65 (1 - f)) with f = 6 * 0.79839 - 4 = 0.790314: 0.444892."""
    main, _ = palette.guessed("gramophone")
    assert main == pytest.approx((0.444892, 0.180284, 0.515098), abs=2e-6)
    assert palette.guessed("gramophone") != palette.guessed("surfboard")


def test_items_of_a_category_vary_with_the_seed_but_stay_alike() -> None:
    main = [palette.colours("sofa", np.random.default_rng(k))[0] for k in range(20)]
    assert len(set(main)) == 20
    assert np.ptp(np.array(main), axis=0).max() < 0.35


def test_big_categories_have_colours_far_apart() -> None:
    """Any two of the large categories differ by 0.12 or more in some channel of main or accent colour."""
    big = [name for name, kind in CATALOGUE.items() if kind.big]
    for k, a in enumerate(big):
        for b in big[:k]:
            ours, theirs = (
                np.array([palette.rgb(code) for code in palette.COLOURS[name]]) for name in (a, b)
            )
            assert np.abs(ours - theirs).max() >= 0.12, (a, b)


def test_of_two_faces_in_one_plane_the_later_one_lies_in_front() -> None:
    """Two parts with the same top at z = 1: the first is drawn RECESS lower, the last exactly."""
    parts = Parts()
    kit = Kit(parts, 0, (1.0, 1.0, 1.0), (0, 0, 0), (1, 1, 1), np.random.default_rng(0))
    kit.box((0, 1), (0, 1), (0, 1), (0, 0, 0))
    kit.box((0.2, 0.8), (0.2, 0.8), (0.5, 1), (1, 1, 1))
    shape = triangulate(parts)
    tops = [shape.corners[shape.style == k][..., 2].max() for k in (0, 1)]
    assert tops == pytest.approx([1 - RECESS, 1.0], abs=1e-12)


def test_normals_of_boxes_tubes_and_blobs_point_outwards() -> None:
    parts = Parts()
    kit = Kit(parts, 0, (2.0, 2.0, 2.0), (0, 0, 0), (0, 0, 0), np.random.default_rng(0))
    kit.box((0, 2), (0, 2), (0, 2), (0, 0, 0), top=(0.5, 1.5, 0.5, 1.5))
    for axis in range(3):
        start, end = [1.0, 1.0, 1.0], [1.0, 1.0, 1.0]
        start[axis], end[axis] = 0.0, 2.0
        kit.tube(tuple(start), tuple(end), (0.5, 0.9), (0, 0, 0), axis=axis, end_radius=0.3)  # type: ignore[arg-type]
    kit.blob((0, 2), (0.5, 1.5), (0, 2), (0, 0, 0), power=3.0)
    shape = triangulate(parts)
    out = np.einsum("nki,nki->nk", shape.corners - 1.0, shape.normals)
    assert (out > 0).all()
    np.testing.assert_allclose(np.linalg.norm(shape.normals, axis=2), 1.0, atol=1e-9)


def test_a_procedural_item_keeps_its_frame() -> None:
    turn = np.array([[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    frame = given_frame(Box(np.array([1.0, 2.0, 0.5]), np.array([0.4, 0.6, 1.0]), turn))
    np.testing.assert_allclose(frame.axes, turn)
    # lower front left corner: centre - 0.2 x - 0.3 y - 0.5 z, x = (0, 1, 0), y = (-1, 0, 0)
    np.testing.assert_allclose(frame.origin, [1.3, 1.8, 0.0])


@pytest.mark.parametrize("mirror", [1.0, -1.0])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0), (0, 2, 1)])
def test_found_frames_are_right_handed_upright_and_face_the_room(
    order: tuple[int, ...], mirror: float
) -> None:
    """A sofa 2 m wide, 0.9 deep, 0.8 high against the -y wall of a room around (0, 3): its front faces +y, so
    its own y is (0, -1, 0), its x (-1, 0, 0) and its z up, whatever the order and signs of the annotated
    axes."""
    axes = np.diag([mirror, 1.0, -1.0])[list(order)]
    size = np.array([2.0, 0.9, 0.8])[list(order)]
    frame = found_frame(Box(np.array([0.0, 0.0, 0.4]), size, axes), "sofa", np.array([0.0, 3.0]))
    np.testing.assert_allclose(frame.axes, [[-1, 0, 0], [0, -1, 0], [0, 0, 1]], atol=1e-12)
    np.testing.assert_allclose(frame.size, [2.0, 0.9, 0.8])


def test_the_front_suits_the_category() -> None:
    """A box long in y: a bed lies along it, a sofa's depth is its short side, a chair faces the room's
    centre."""
    box = Box(np.array([2.0, 0.3, 0.3]), np.array([1.0, 2.0, 0.6]), np.eye(3))
    centre = np.array([0.0, 0.0])
    assert found_frame(box, "bed", centre).size[1] == 2.0
    assert found_frame(box, "sofa", centre).size[1] == 1.0
    np.testing.assert_allclose(-found_frame(box, "chair", centre).axes[1], [-1, 0, 0], atol=1e-12)


def test_a_leaning_box_is_stood_up_unless_drawn_plain() -> None:
    c, s = np.cos(0.5), np.sin(0.5)
    axes = np.array([[1, 0, 0], [0, c, s], [0, -s, c]])
    box = Box(np.zeros(3), np.array([0.5, 0.6, 0.9]), axes)
    np.testing.assert_allclose(found_frame(box, "chair", np.ones(2)).axes[2], [0, 0, 1], atol=1e-12)
    leaning = found_frame(box, "chair", np.ones(2), upright=False)
    np.testing.assert_allclose(leaning.axes[2], [0, -s, c], atol=1e-12)


def test_boxes_without_extent_get_the_least_thickness() -> None:
    frame = given_frame(Box(np.zeros(3), np.zeros(3), np.eye(3)))
    np.testing.assert_allclose(frame.size, THINNEST)
