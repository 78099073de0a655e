"""Answers recomputed from a scene: hand-made rooms, and every official question on the ARKitScenes scans."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tolman.questions.recompute import recompute
from tolman.questions.rel_direction import signed_angle
from tolman.scenes import Box, Item, Scene
from tolman.scenes.vsibench import read_vsibench

# Unit cubes on the floor, seen from above (x to the right, y up), centres in metres:
#   stove (0, 0), sofa (0, 4), tv (-3, 4.5), table (3, 0), bed (1, -3), chairs (5.5, 0) and (0, 2.2)
PLACES = {
    "stove": [(0.0, 0.0)],
    "sofa": [(0.0, 4.0)],
    "tv": [(-3.0, 4.5)],
    "table": [(3.0, 0.0)],
    "bed": [(1.0, -3.0)],
    "chair": [(5.5, 0.0), (0.0, 2.2)],
}


def cube(
    category: str, number: int, x: float, y: float, size: tuple[float, float, float] = (1, 1, 1)
) -> Item:
    box = Box(np.array([x, y, 0.5]), np.array(size, dtype=float), np.eye(3))
    return Item(category, box, f"{category}/{number}")


@pytest.fixture
def room() -> Scene:
    items = [cube(name, k, x, y) for name, spots in PLACES.items() for k, (x, y) in enumerate(spots)]
    return Scene("room", tuple(items), floor_area=26.37)


def direction(stand: str, face: str, target: str, ending: str) -> str:
    return f"If I am standing by the {stand} and facing the {face}, is the {target} {ending}"


EASY = "to the left or the right of the {}?"
MEDIUM = (
    "to my left, right, or back?\n"
    "An object is to my back if I would have to turn at least 135 degrees in order to face it."
)
HARD = (
    "to my front-left, front-right, back-left, or back-right?\nThe directions refer to the quadrants of a "
    "Cartesian plane (if I am standing at the origin and facing along the positive y-axis)."
)


def test_signed_angle_is_positive_to_the_left() -> None:
    # Facing +y from the origin, (−1, 0) is a quarter turn to the left, (1, 0) one to the right.
    origin, ahead = np.zeros(2), np.array([0.0, 2.0])
    assert signed_angle(origin, ahead, np.array([-1.0, 0.0])) == pytest.approx(90)
    assert signed_angle(origin, ahead, np.array([1.0, 0.0])) == pytest.approx(-90)
    assert signed_angle(origin, ahead, np.array([-1.0, 1.0])) == pytest.approx(45)


@pytest.mark.parametrize(
    ("stand", "face", "target", "easy", "medium", "hard", "angle"),
    [
        # Facing +y: the tv at (−3, 4.5) lies atan(3/4.5) = 33.69° to the left.
        ("stove", "sofa", "tv", "left", "left", "front-left", 33.690068),
        # Facing +y: the table at (3, 0) lies exactly 90° to the right: no quadrant, so no hard answer.
        ("stove", "sofa", "table", "right", "right", None, -90.0),
        # Facing +y: the bed at (1, −3) lies 180° − atan(1/3) = 161.57° to the right, behind.
        ("stove", "sofa", "bed", "right", "back", "back-right", -161.565051),
        # From the sofa facing the stove (−y): the tv at (−3, +0.5) is 90° + atan(0.5/3) = 99.46° right.
        ("sofa", "stove", "tv", "right", "right", "back-right", -99.462322),
    ],
)
def test_directions(
    room: Scene, stand: str, face: str, target: str, easy: str, medium: str, hard: str | None, angle: float
) -> None:
    for name, ending, answer in (
        ("easy", EASY.format(face), easy),
        ("medium", MEDIUM, medium),
        ("hard", HARD, hard),
    ):
        question = direction(stand, face, target, ending)
        ours = recompute(f"object_rel_direction_{name}", question, None, room)
        assert ours.answer == answer, ours
        if answer is None:
            assert "tie" in ours.reason
        else:
            assert ours.value == pytest.approx(angle, abs=1e-5)


def test_direction_letter_and_spacer_prefix(room: Scene) -> None:
    question = "Question:\n" + direction("stove", "sofa", "TV", EASY.format("sofa"))
    assert recompute("object_rel_direction", question, ["A. right", "B. left"], room).answer == "B"
    assert recompute("object_rel_direction", question, None, room).answer == "left"


def test_direction_needs_single_instances(room: Scene) -> None:
    ours = recompute(
        "object_rel_direction_easy", direction("chair", "sofa", "tv", EASY.format("sofa")), None, room
    )
    assert ours.answer is None
    assert "2 items of category 'chair'" in ours.reason


@pytest.mark.parametrize(
    ("stand", "face", "target", "reason"),
    [
        ("stove", "stove", "tv", "the three objects are not different: stove, stove, tv"),
        ("stove", "tv", "stove", "the three objects are not different"),
        ("stove", "sofa", "hood", "two of the objects have the same position"),  # it hangs over the stove
        ("stove", "hood", "sofa", "two of the objects have the same position"),
    ],
)
def test_directions_between_fewer_than_three_places_are_unknown(
    room: Scene, stand: str, face: str, target: str, reason: str
) -> None:
    hood = Item("hood", Box(np.array([0.0, 0.0, 2.0]), np.ones(3), np.eye(3)), "hood/0")
    scene = Scene("s", (*room.items, hood), 9.0)
    ours = recompute("object_rel_direction_medium", direction(stand, face, target, MEDIUM), None, scene)
    assert ours.answer is None
    assert reason in ours.reason


def test_medium_is_back_from_135_degrees_on() -> None:
    # Facing +y; (−1, −1) lies exactly 135° to the left: back.
    places = {"a": (0.0, 0.0), "b": (0.0, 2.0), "c": (-1.0, -1.0)}
    scene = Scene("s", tuple(cube(name, 0, x, y) for name, (x, y) in places.items()), 9.0)
    assert (
        recompute("object_rel_direction_medium", direction("a", "b", "c", MEDIUM), None, scene).answer
        == "back"
    )


def test_absolute_distance_is_between_faces_and_the_closest_instances(room: Scene) -> None:
    # Cubes of edge 1: centres 4 m apart along y leave 3 m. Chair 1 at (0, 2.2) is 1.8 m from the sofa's
    # centre, which leaves 0.8 m.
    text = (
        "Measuring from the closest point of each object, what is the {}distance between the {} and the {} "
        "(in meters)?"
    )
    ours = recompute("object_abs_distance", text.format("", "sofa", "stove"), None, room)
    assert ours.answer == "3.0"
    assert ours.value == pytest.approx(3.0)
    ours = recompute(
        "object_abs_distance", "Question:\n" + text.format("direct ", "sofa", "chair"), None, room
    )
    assert ours.answer == "0.8"
    assert "chair/1" in ours.reason
    # Diagonal: table (3, 0) and bed (1, −3) leave 1 m in x and 2 m in y: √5 = 2.236 m.
    ours = recompute("object_abs_distance", text.format("", "table", "bed"), None, room)
    assert (ours.answer, ours.value) == ("2.2", pytest.approx(5**0.5))


def test_relative_distance_by_closest_instance(room: Scene) -> None:
    text = (
        "Measuring from the closest point of each object, which of these objects (table, chair, bed, tv) "
        "is the closest to the sofa?"
    )
    options = ["A. table", "B. chair", "C. bed", "D. tv"]
    # Chair 1 leaves 0.8 m; the tv 2 m in x and 0 in y; the others more.
    assert recompute("object_rel_distance", text, options, room).answer == "B"
    inline = (
        "Question:\nMeasuring from the closest point of each object, which of the following objects is the "
        "closest to the sofa?\nOptions:\nA. table\nB. stove\nC. bed\nD. tv\n"
    )
    assert recompute("object_rel_distance", inline, None, room).answer == "D"


def test_relative_distance_tie_has_no_answer() -> None:
    scene = Scene("s", (cube("a", 0, 0, 0), cube("b", 0, 3, 0), cube("c", 0, -3, 0)), 9.0)
    text = (
        "Measuring from the closest point of each object, which of these objects (b, c) is "
        "the closest to the a?"
    )
    ours = recompute("object_rel_distance", text, ["A. b", "B. c"], scene)
    assert ours.answer is None
    assert "tie" in ours.reason


def test_size_is_the_longest_edge_rounded() -> None:
    # 1.6679 m is 167 cm (166 when cut off).
    scene = Scene("s", (cube("computer mouse", 0, 0, 0, (0.4, 1.6679, 1.0)),), 9.0)
    text = (
        "What is the length of the longest dimension (length, width, or height) of the computer mouse, "
        "measured in centimeters?"
    )
    ours = recompute("object_size_estimation", text, None, scene)
    assert (ours.answer, ours.value) == ("167", pytest.approx(166.79))


def test_room_size_has_one_decimal(room: Scene) -> None:
    for gap in (" \n", " "):
        text = (
            f"What is the size of this room (in square meters)?{gap}"
            "If multiple rooms are shown, estimate the size of the combined space."
        )
        assert recompute("room_size_estimation", text, None, room).answer == "26.4"


def test_counting_takes_whole_names() -> None:
    # "table" is a prefix of "table lamp"; neither counts for the other. "TV" is "tv".
    items = [cube("table lamp", k, k, 0) for k in range(3)] + [cube("table", 0, 0, 4), cube("tv", 0, 9, 9)]
    scene = Scene("s", tuple(items), 9.0)
    assert recompute("object_counting", "How many table(s) are in this room?", None, scene).answer == "1"
    assert recompute("object_counting", "How many table lamp(s) are in this room?", None, scene).answer == "3"
    assert (
        recompute("object_counting", "Question:\nHow many TV(s) are in this room?", None, scene).answer == "1"
    )
    ours = recompute("object_counting", "How many lamp(s) are in this room?", None, scene)
    assert (ours.answer, ours.value) == (None, None)
    assert "'lamp' is not in the scene's metadata" in ours.reason


def test_counting_prefers_the_sources_own_count() -> None:
    items = tuple(cube("chair", k, k, 0) for k in range(4))
    scene = Scene("s", items, 9.0, meta={"object_counts": {"chair": 3}})
    ours = recompute("object_counting", "How many chair(s) are in this room?", None, scene)
    assert ours.answer == "3"
    assert "source counts 3" in ours.reason


@pytest.mark.parametrize(
    ("family", "question"),
    [
        ("object_counting", "Are there chairs?"),
        ("object_size_estimation", "How big is it?"),
        ("room_size_estimation", ""),
        ("object_abs_distance", "How far is the sofa?"),
        ("object_rel_distance", "Which is closest?"),
        ("object_rel_direction_hard", "Where am I?"),
        ("route_planning", "Go forward."),
        ("obj_appearance_order", "What first?"),
        ("colour", "Which colour is the sofa?"),
    ],
)
def test_other_wordings_are_not_guessed(room: Scene, family: str, question: str) -> None:
    ours = recompute(family, question, None, room)
    assert ours.answer is None
    assert ours.reason


def test_appearance_order_needs_sightings(room: Scene) -> None:
    question = (
        "What will be the first-time appearance order of the following categories in the video: "
        "sofa, tv, table, bed?"
    )
    assert "sightings" in recompute("obj_appearance_order", question, None, room).reason


def test_official_questions(shared_data: Path) -> None:
    folder = shared_data / "vsibench"
    scenes = {scene.id: scene for scene in read_vsibench(folder)}
    right: Counter[str] = Counter()
    total: Counter[str] = Counter()
    for row in json.loads((folder / "questions_arkitscenes.json").read_text()):
        family, truth = row["question_type"], row["ground_truth"]
        ours = recompute(family, row["question"], row["options"], scenes[row["scene_name"]])
        if ours.answer is None:
            assert family == "route_planning", ours
            continue
        total[family] += 1
        if family == "object_abs_distance":
            assert ours.value is not None
            right[family] += abs(ours.value - float(truth)) <= max(0.1, 0.1 * float(truth))
        else:
            right[family] += ours.answer == truth
    assert dict(total - right) == {"object_abs_distance": 7, "object_counting": 1}
    assert total["object_abs_distance"] == 277
    assert total["object_counting"] == 166
    assert sum(total.values()) == 1601 - 103
