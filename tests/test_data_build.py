"""Building a data set: the same bytes, resumed where it stopped, and failures that name their scene."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tolman.data import build
from tolman.data.build import build_dataset, load_dataset, scene_seed
from tolman.data.scene_io import scene_text
from tolman.data.sightings_io import read_sightings
from tolman.data.views import read_views
from tolman.render.sightings import Sightings
from tolman.scenes import Box, Item, Scene
from tolman.video.clip import read_clip

SMALL = {"frames": 3, "size": (32, 48), "workers": 1}


def room(name: str = "room", chairs: int = 2) -> Scene:
    """A 4 × 4 m room with chairs, a table and a bed."""
    kinds = ["chair"] * chairs + ["table", "bed"]
    size, axes = np.array([0.5, 0.4, 0.6]), np.eye(3)
    places = [np.array([0.7 + k * 0.8, 0.7 + k * 0.6, 0.3]) for k in range(len(kinds))]
    items = [
        Item(c, Box(place, size, axes), f"{c}/{place[0]:.1f}") for c, place in zip(kinds, places, strict=True)
    ]
    floor = np.array([[0.0, 0], [4, 0], [4, 4], [0, 4]])
    return Scene(name, tuple(items), 16.0, floor, 2.5, "procedural")


class Studio:
    """A stand-in for `film`: grey noise of the seed, every item seen in every frame; counts its calls."""

    def __init__(self) -> None:
        self.made: list[str] = []
        self.styles: list[str] = []

    def __call__(
        self, scene: Scene, seed: int, frames: int, size: tuple[int, int], style: str, fps: float
    ) -> SimpleNamespace:
        if style == "broken":
            raise KeyError("light")
        self.made.append(scene.id)
        self.styles.append(style)
        rgb = np.random.default_rng(seed).integers(0, 256, (frames, *size, 3), dtype=np.uint8)
        seen = Sightings(np.full((frames, len(scene.items)), 100), np.arange(frames) / 2.0, size[0] * size[1])
        ids = np.zeros((frames, *size), dtype=np.int32)
        return SimpleNamespace(rgb_THWC=rgb, ids_THW=ids, fps=fps, sightings=seen)


@pytest.fixture
def studio(monkeypatch: pytest.MonkeyPatch) -> Studio:
    studio = Studio()
    monkeypatch.setattr(build, "film", studio)
    return studio


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


class TestBuild:
    def test_what_is_there(self, studio: Studio, tmp_path: Path) -> None:
        dataset = build_dataset(tmp_path / "d", [room("a"), room("b", 3)], seed=5, per_family=2, **SMALL)
        assert sorted(contents(tmp_path / "d")) == [
            "card.json", "clips/a.mp4", "clips/b.mp4", "questions.jsonl", "scenes.jsonl",
            "sightings/a.npz", "sightings/b.npz",
        ]  # fmt: skip
        assert {q.scene_id for q in dataset.questions} == {"a", "b"}
        assert len({q.problem_id for q in dataset.questions}) == len(dataset.questions)
        clip = read_clip(dataset.clip(dataset.questions[0]))
        assert clip.rgb_THWC.shape == (3, 32, 48, 3)
        np.testing.assert_allclose(clip.times_T, dataset.sightings("a").times_T, atol=1e-4)

    def test_card(self, studio: Studio, tmp_path: Path) -> None:
        dataset = build_dataset(tmp_path / "d", [room()], seed=5, per_family=2, **SMALL)
        text = (tmp_path / "d" / "card.json").read_text()
        card = json.loads(text)
        assert (card["seed"], card["frames"], card["size"], card["styles"]) == (5, 3, [32, 48], ["walk"])
        assert card["scenes"] == {"total": 1, "sources": {"procedural": 1}}
        assert (
            card["questions"]["total"]
            == len(dataset.questions)
            == sum(card["questions"]["families"].values())
        )
        assert str(tmp_path) not in text

    def test_read_again(self, studio: Studio, tmp_path: Path) -> None:
        made = build_dataset(tmp_path / "d", [room("a"), room("b")], seed=5, **SMALL)
        dataset = load_dataset(tmp_path / "d")
        assert dataset.questions == made.questions
        assert [scene_text(s) for s in dataset.scenes] == [scene_text(s) for s in made.scenes]
        assert dataset.clip(dataset.questions[0]) == tmp_path / "d" / "clips" / "a.mp4"

    def test_same_call_same_bytes(self, studio: Studio, tmp_path: Path) -> None:
        for name in "xy":
            build_dataset(tmp_path / name, [room("a"), room("b")], seed=5, **SMALL)
        assert contents(tmp_path / "x") == contents(tmp_path / "y")

    def test_a_scene_does_not_depend_on_the_others(self, studio: Studio, tmp_path: Path) -> None:
        build_dataset(tmp_path / "x", [room("a"), room("b")], seed=5, **SMALL)
        build_dataset(tmp_path / "y", [room("b")], seed=5, **SMALL)
        x, y = contents(tmp_path / "x"), contents(tmp_path / "y")
        assert x["clips/b.mp4"] == y["clips/b.mp4"]
        assert x["questions.jsonl"].endswith(y["questions.jsonl"])

    def test_seeds_differ(self) -> None:
        assert len({scene_seed(seed, name) for seed in range(10) for name in "abc"}) == 30
        assert all(0 <= scene_seed(seed, "a") < 2**63 for seed in range(100))

    def test_without_questions(self, studio: Studio, tmp_path: Path) -> None:
        dataset = build_dataset(tmp_path / "d", [room()], seed=5, questions=False, **SMALL)
        assert dataset.questions == load_dataset(tmp_path / "d").questions == []
        build_dataset(tmp_path / "d", [room()], seed=5, **SMALL)
        build_dataset(tmp_path / "d", [room()], seed=5, questions=False, **SMALL)
        assert not (tmp_path / "d" / "questions.jsonl").exists()

    def test_views_are_written_where_asked_for(self, studio: Studio, tmp_path: Path) -> None:
        build_dataset(tmp_path / "d", [room()], seed=5, **SMALL)
        build_dataset(tmp_path / "d", [room()], seed=5, views=True, **SMALL)  # made again: they were missing
        views = read_views(tmp_path / "d" / "views" / "room.npz")
        assert views.shares.shape == (3, 8, 8, 4)
        assert studio.made == ["room", "room"]

    def test_styles_are_taken_in_turn(self, studio: Studio, tmp_path: Path) -> None:
        styles = ["walk", "raised"]
        build_dataset(tmp_path / "d", [room(n) for n in "abc"], seed=5, style=styles, **SMALL)
        assert studio.styles == ["walk", "raised", "walk"]

    def test_per_family_by_name(self, studio: Studio, tmp_path: Path) -> None:
        dataset = build_dataset(tmp_path / "d", [room()], seed=5, per_family={"object_counting": 1}, **SMALL)
        assert [q.question_type for q in dataset.questions] == ["object_counting"]


class TestResume:
    def test_whole_clips_are_kept(self, studio: Studio, tmp_path: Path) -> None:
        steps: list[tuple[int, int, str]] = []
        build_dataset(tmp_path / "d", [room("a")], seed=5, **SMALL)
        before = contents(tmp_path / "d")
        build_dataset(tmp_path / "d", [room("a")], seed=5, progress=lambda *s: steps.append(s), **SMALL)
        assert contents(tmp_path / "d") == before
        build_dataset(
            tmp_path / "d", [room("b"), room("a")], seed=5, progress=lambda *s: steps.append(s), **SMALL
        )
        assert studio.made == ["a", "b"]
        assert steps == [(1, 1, "kept"), (1, 2, "made"), (2, 2, "kept")]

    @pytest.mark.parametrize(
        "change", [{"seed": 6}, {"frames": 4}, {"size": (48, 32)}, {"style": "raised"}], ids=str
    )
    def test_other_values_make_it_again(
        self, studio: Studio, tmp_path: Path, change: dict[str, object]
    ) -> None:
        build_dataset(tmp_path / "d", [room()], **({"seed": 5} | SMALL))
        build_dataset(tmp_path / "d", [room()], **({"seed": 5} | SMALL | change))
        assert studio.made == ["room", "room"]

    def test_another_scene_of_the_same_name(self, studio: Studio, tmp_path: Path) -> None:
        build_dataset(tmp_path / "d", [room()], seed=5, **SMALL)
        build_dataset(tmp_path / "d", [room(chairs=3)], seed=5, **SMALL)
        assert studio.made == ["room", "room"]

    @pytest.mark.parametrize("victim", ["clips/room.mp4", "sightings/room.npz"])
    @pytest.mark.parametrize("harm", ["cut", "gone"])
    def test_damage_is_made_again(self, studio: Studio, tmp_path: Path, victim: str, harm: str) -> None:
        build_dataset(tmp_path / "d", [room()], seed=5, **SMALL)
        before = contents(tmp_path / "d")
        file = tmp_path / "d" / victim
        file.unlink() if harm == "gone" else file.write_bytes(file.read_bytes()[:-20])
        build_dataset(tmp_path / "d", [room()], seed=5, **SMALL)
        assert studio.made == ["room", "room"]
        assert contents(tmp_path / "d") == before


class TestErrors:
    def test_a_failure_names_its_scene(self, studio: Studio, tmp_path: Path) -> None:
        with pytest.raises(RuntimeError, match="scene b: KeyError: 'light'"):
            build_dataset(tmp_path / "d", [room("b")], seed=5, style="broken", **SMALL)
        with pytest.raises(ValueError, match="not a data set, or not built to its end"):
            load_dataset(tmp_path / "d")

    def test_a_failure_takes_the_old_card_away(self, studio: Studio, tmp_path: Path) -> None:
        build_dataset(tmp_path / "d", [room("b")], seed=5, **SMALL)
        with pytest.raises(RuntimeError, match="scene b"):
            build_dataset(tmp_path / "d", [room("b")], seed=5, style="broken", **SMALL)
        with pytest.raises(ValueError, match="not a data set, or not built to its end"):
            load_dataset(tmp_path / "d")

    def test_bad_frames_name_the_scene(self, studio: Studio, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=r"scene room: .*even height and width, got 31x48"):
            build_dataset(tmp_path / "d", [room()], seed=5, frames=2, size=(31, 48), workers=1)

    @pytest.mark.parametrize(
        ("names", "match"),
        [
            ([], "at least one scene"),
            (["a", "a"], "'a' occurs 2 times"),
            (["../a"], "cannot name a file"),
            ([""], "cannot name a file"),
            ([".hidden"], "cannot name a file"),
        ],
    )
    def test_scene_ids(self, tmp_path: Path, names: list[str], match: str) -> None:
        with pytest.raises(ValueError, match=match):
            build_dataset(tmp_path / "d", [room(name) for name in names], seed=5)
        assert not (tmp_path / "d").exists()

    def test_no_workers(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="workers must be at least 1"):
            build_dataset(tmp_path / "d", [room()], seed=5, workers=0)

    def test_unwritable(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(ValueError, match="file/d/clips: cannot be made"):
            build_dataset(tmp_path / "file" / "d", [room()], seed=5)

    @pytest.mark.parametrize("text", ["{", "[]", "{}", '{"questions": {"total": "x"}}'])
    def test_damaged_card(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "card.json").write_text(text)
        with pytest.raises(ValueError, match=r"card\.json: not a data set's card"):
            load_dataset(tmp_path)

    def test_damaged_sightings(self, tmp_path: Path) -> None:
        for data in (b"", b"PK\x03\x04", b"text"):
            (tmp_path / "s.npz").write_bytes(data)
            with pytest.raises(ValueError, match=r"s\.npz: not a sightings file"):
                read_sightings(tmp_path / "s.npz")


class TestWorkers:
    def test_their_number_changes_no_byte(self, tmp_path: Path) -> None:
        for workers in (1, 2):
            build_dataset(
                tmp_path / str(workers), [room("a"), room("b")], seed=5, frames=3, size=(32, 48),
                style="overhead", workers=workers,
            )  # fmt: skip
        assert contents(tmp_path / "1") == contents(tmp_path / "2")

    def test_a_failure_in_a_worker_names_its_scene(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="scene a: "):
            build_dataset(tmp_path / "d", [room("a"), room("b")], seed=5, style="nowhere", workers=2)

    def test_workers_do_not_import_torch(self) -> None:
        code = "import sys, tolman.data.build; sys.exit('torch' in sys.modules)"
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
