"""The reader of VSI-Bench's scan metadata: real files, and every way a file can be broken."""

import copy
import json
import re

import numpy as np
import pytest

from tolman.scenes.geometry import box_distances
from tolman.scenes.types import unique_ids
from tolman.scenes.vsibench import read_vsibench

BOX = {
    "centroid": [1.0, 2.0, 0.5],
    "axesLengths": [0.6, 0.8, 1.0],
    "normalizedAxes": [0.0, 1.0, 0.0, -1.0, 0.0, 0.0, 0.0, 0.0, 1.0],
}
ENTRY = {
    "dataset": "scannet",
    "room_size": 12.5,
    "room_center": [0.0, 1.0, 2.0],
    "object_counts": {"chair": 1},
    "object_bbox": {"chair": [BOX]},
}


def write(folder, content, name="scenes_test.json"):
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_a_scan_is_read_as_it_is(tmp_path):
    (scene,) = read_vsibench(write(tmp_path, {"scan-1": ENTRY}))
    assert (scene.id, scene.source, scene.floor_area) == ("scan-1", "scannet", 12.5)
    assert scene.floor is None
    assert scene.meta["room_center"] == [0.0, 1.0, 2.0]
    assert scene.meta["object_counts"] == {"chair": 1}
    (item,) = scene.items
    assert (item.category, item.id) == ("chair", "chair/0")
    # The flat list of nine is three rows: the first axis is (0, 1, 0) and has length 0.6.
    np.testing.assert_array_equal(item.box.axes, [[0, 1, 0], [-1, 0, 0], [0, 0, 1]])
    np.testing.assert_allclose(item.box.corners.max(axis=0), [1 + 0.4, 2 + 0.3, 1.0])


def test_an_exact_repeat_is_dropped_and_ids_keep_the_place_in_the_file(tmp_path):
    moved = BOX | {"centroid": [1.0, 2.0, 0.6]}
    entry = ENTRY | {"object_bbox": {"printer": [BOX, BOX, moved], "chair": [BOX]}}
    (scene,) = read_vsibench(write(tmp_path, {"s": entry}))
    assert [item.id for item in scene.items] == ["printer/0", "printer/2", "chair/0"]


def test_a_folder_is_read_by_file_name(tmp_path):
    write(tmp_path, {"b": ENTRY}, "scenes_b.json")
    write(tmp_path, {"a2": ENTRY, "a1": ENTRY}, "scenes_a.json")
    write(tmp_path, "not read", "questions.json")
    assert [scene.id for scene in read_vsibench(tmp_path)] == ["a2", "a1", "b"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"centroid": [float("nan"), 0, 0]}, "item chair/0: centroid must be finite.*nan"),
        ({"centroid": [1, 2]}, r"item chair/0: centroid must be a list of 3 numbers, got \[1, 2\]"),
        ({"axesLengths": [1, -0.25, 1]}, "item chair/0: box size must not be negative.*-0.25"),
        ({"axesLengths": [1, "wide", 1]}, "item chair/0: axesLengths must be finite numbers.*wide"),
        ({"axesLengths": None}, "item chair/0: axesLengths must be a list of 3 numbers, got None"),
        ({"normalizedAxes": [1, 0, 0, 0, 1, 0, 0, 0, 2]}, "item chair/0: box axes must be orthonormal.*2.0"),
        ({"normalizedAxes": [1, 0, 0, 0, 1, 0]}, "item chair/0: normalizedAxes must be a list of 9"),
        (
            {"normalizedAxes": [[1, 0, 0], [0, 1, 0], [0, 0, 1]]},
            "item chair/0: normalizedAxes must be a list of 9",
        ),
    ],
)
def test_a_broken_box_names_file_scene_item_and_value(tmp_path, change, message):
    path = write(tmp_path, {"good": ENTRY, "bad": ENTRY | {"object_bbox": {"chair": [BOX | change]}}})
    with pytest.raises(ValueError, match=f"{re.escape(str(path))}, scene bad, {message}"):
        read_vsibench(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"room_size": 0}, "room_size must be positive, got 0"),
        ({"room_size": float("inf")}, "room_size must be finite"),
        ({"room_size": True}, "room_size must be finite numbers.*True"),
        ({"room_center": [1, 2]}, "room_center must be a list of 3"),
        ({"object_bbox": []}, "object_bbox: expected an object"),
        ({"object_bbox": {"chair": BOX}}, "object_bbox of chair must be a list of boxes"),
        ({"object_bbox": {"chair": [3]}}, "item chair/0: expected an object"),
        ({"object_counts": {"chair": 1.5}}, "object_counts: chair must be a count, got 1.5"),
        ({"object_counts": {"chair": -1}}, "object_counts: chair must be a count, got -1"),
    ],
)
def test_a_broken_scan_names_the_scene(tmp_path, change, message):
    with pytest.raises(ValueError, match=f"scene bad.*{message}"):
        read_vsibench(write(tmp_path, {"bad": ENTRY | change}))


@pytest.mark.parametrize("key", sorted(ENTRY))
def test_a_missing_scan_key_is_named(tmp_path, key):
    entry = copy.deepcopy(ENTRY)
    del entry[key]
    with pytest.raises(ValueError, match=f"scene s: lacks {key}"):
        read_vsibench(write(tmp_path, {"s": entry}))


@pytest.mark.parametrize("key", sorted(BOX))
def test_a_missing_box_key_is_named(tmp_path, key):
    box = {name: value for name, value in BOX.items() if name != key}
    with pytest.raises(ValueError, match=f"item chair/0: lacks {key}"):
        read_vsibench(write(tmp_path, {"s": ENTRY | {"object_bbox": {"chair": [box]}}}))


def test_what_is_no_metadata_file_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="no such file"):
        read_vsibench(tmp_path / "absent.json")
    with pytest.raises(ValueError, match=r"no scenes_\*.json"):
        read_vsibench(tmp_path)
    with pytest.raises(ValueError, match="not a JSON file"):
        read_vsibench(write(tmp_path, "{"))
    with pytest.raises(ValueError, match="expected an object"):
        read_vsibench(write(tmp_path, [ENTRY]))


def test_all_288_scans_load(shared_data):
    scenes = read_vsibench(shared_data / "vsibench")
    assert len(scenes) == 288
    sources = [scene.source for scene in scenes]
    assert [sources.count(name) for name in ("arkitscenes", "scannet", "scannetpp")] == [150, 88, 50]
    assert all(unique_ids(scene.items) for scene in scenes)
    # 1,224 + 1,119 + 854 boxes in the files, 12 of them printers listed twice.
    assert sum(len(scene.items) for scene in scenes) == 3197 - 12
    disagree = [s.id for s in scenes if s.counts() != dict(sorted(s.meta["object_counts"].items()))]
    assert disagree == ["scene0474_04", "scene0500_00"]


def test_distances_never_exceed_vsibenchs_official_answers(shared_data):
    """The official answers were taken between points sampled in the boxes and rounded to 0.1 m: never below
    the exact distance by more than the rounding, and above it by at most a sample's spacing."""
    scenes = {
        scene.id: scene for scene in read_vsibench(shared_data / "vsibench" / "scenes_arkitscenes.json")
    }
    rows = json.loads((shared_data / "vsibench" / "questions_arkitscenes.json").read_text())
    excess = []
    for row in rows:
        if row["question_type"] == "object_abs_distance":
            one, two = re.search(r"between the (.+?) and the (.+?) \(in", row["question"]).groups()
            scene = scenes[row["scene_name"]]
            pairs = [(a.box, b.box) for a in scene.of(one) for b in scene.of(two)]
            exact = box_distances(*zip(*pairs, strict=True)).min()
            excess.append(float(row["ground_truth"]) - exact)
    assert len(excess) == 277
    assert min(excess) >= -0.05 - 1e-9
    assert np.median(excess) < 0.05
    assert max(excess) < 0.25
