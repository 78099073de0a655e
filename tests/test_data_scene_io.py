"""Scene files come back bit for bit."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tolman.data.scene_io import read_scenes, scene_text, write_scenes
from tolman.scenes import Box, Item, Scene


def scene(center: object = (0.1, -2.5, 1 / 3), **changes: object) -> Scene:
    turn = np.array([[np.cos(0.7), np.sin(0.7), 0], [-np.sin(0.7), np.cos(0.7), 0], [0, 0, 1]])
    box = Box(np.array(center), np.array([0.0, 1e-300, 2.7]), turn)
    values = {"id": "s", "items": (Item("café chair", box, "chair/0"),), "floor_area": 12.3} | changes
    return Scene(**values)  # type: ignore[arg-type]


def same(a: Scene, b: Scene) -> bool:
    """Whether two scenes agree in every bit."""
    boxes = [
        (i.category, i.id, *(getattr(i.box, n).tobytes() for n in ("center", "size", "axes")))
        for i in a.items
    ]
    again = [
        (i.category, i.id, *(getattr(i.box, n).tobytes() for n in ("center", "size", "axes")))
        for i in b.items
    ]
    floors = [None if s.floor is None else s.floor.tobytes() for s in (a, b)]
    plain = [(s.id, s.floor_area, s.height, s.source) for s in (a, b)]
    return boxes == again and floors[0] == floors[1] and plain[0] == plain[1]


@given(arrays(np.float64, (2, 3), elements=st.floats(allow_nan=False, allow_infinity=False, width=64)))
def test_every_float_survives(tmp_path_factory: pytest.TempPathFactory, centers: np.ndarray) -> None:
    path = tmp_path_factory.getbasetemp() / "floats.jsonl"
    scenes = [scene(centers[0]), scene(centers[1], id="t")]
    write_scenes(path, scenes)
    assert all(same(a, b) for a, b in zip(scenes, read_scenes(path), strict=True))


def test_everything_a_scene_has(tmp_path: Path) -> None:
    floor = np.array([[0, 0], [4.1, 0], [4.1, 3.2], [0, 3.2]])
    meta = {
        "room_center": np.array([0.1, 0.2, 0.3]),
        "pair": (1, "x"),
        "deep": {"n": None, "list": [True, 0.1]},
    }
    full = scene(floor=floor, height=2.55, source="procedural", meta=meta)
    write_scenes(tmp_path / "s.jsonl", [full])
    (back,) = read_scenes(tmp_path / "s.jsonl")
    assert same(back, full)
    assert back.meta["room_center"].tolist() == [0.1, 0.2, 0.3]  # type: ignore[attr-defined]
    assert (back.meta["pair"], back.meta["deep"]) == ((1, "x"), {"n": None, "list": [True, 0.1]})
    assert scene_text(back) == scene_text(full)


def test_a_dataset_folder(tmp_path: Path) -> None:
    write_scenes(tmp_path / "scenes.jsonl", [scene()])
    assert same(read_scenes(tmp_path)[0], scene())


@pytest.mark.parametrize("name", ["scannet", "scannetpp", "arkitscenes"])
def test_real_scenes(shared_data: Path, tmp_path: Path, name: str) -> None:
    scenes = read_scenes(shared_data / "vsibench" / f"scenes_{name}.json")
    write_scenes(tmp_path / "s.jsonl", scenes)
    back = read_scenes(tmp_path / "s.jsonl")
    assert all(same(a, b) for a, b in zip(scenes, back, strict=True))
    assert all(scene_text(a) == scene_text(b) for a, b in zip(scenes, back, strict=True))


def test_the_real_folder(shared_data: Path) -> None:
    assert len(read_scenes(shared_data / "vsibench")) == 288


@pytest.mark.parametrize(
    "value", [object(), float("nan"), {1: 2}, {"$array": []}, np.zeros(2, dtype=np.int64)]
)
def test_meta_that_cannot_be_written(tmp_path: Path, value: object) -> None:
    with pytest.raises(ValueError, match=r"scene s: meta\['key'\] cannot be written"):
        write_scenes(tmp_path / "s.jsonl", [scene(meta={"key": value})])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda row: row.pop("floor_area"), "line 2: a scene lacks 'floor_area'"),
        (lambda row: row.update(floor_area=-1), "line 2: not a scene: .*floor_area must be positive"),
        (lambda row: row["items"][0].update(size=[1, -1, 1]), "line 2: not a scene: .*must not be negative"),
        (lambda row: row.update(items=3), "line 2: not a scene"),
        (lambda row: row["items"][0].pop("axes"), "line 2: a scene lacks 'axes'"),
    ],
)
def test_bad_rows_name_the_line(tmp_path: Path, change: object, match: str) -> None:
    row = json.loads(scene_text(scene()))
    change(row)  # type: ignore[operator]
    (tmp_path / "s.jsonl").write_text(f"{scene_text(scene())}\n{json.dumps(row)}\n")
    with pytest.raises(ValueError, match=rf"s\.jsonl, {match}"):
        read_scenes(tmp_path / "s.jsonl")


def test_what_is_no_scene_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"neither scenes\.jsonl nor"):
        read_scenes(tmp_path)
    with pytest.raises(ValueError, match=r"expected our \.jsonl"):
        read_scenes(tmp_path / "scenes.csv")
    with pytest.raises(ValueError, match="cannot be read"):
        read_scenes(tmp_path / "none.jsonl")
    (tmp_path / "s.jsonl").write_text("{\n")
    with pytest.raises(ValueError, match="line 1: not a scene"):
        read_scenes(tmp_path / "s.jsonl")
