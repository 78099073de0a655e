"""Trackers: the rows of metrics.jsonl, each once, whatever happens to the run or to the tracker."""

from __future__ import annotations

import importlib.util
import json
import os
import resource
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

import tolman
from learn_world import rl_table, sft_table, tiny_policy, write_dataset
from tolman.learn.recipe import Recipe, apply_overrides, parse_recipe
from tolman.learn.registry import TRACKERS
from tolman.learn.run_folder import METRICS, TRACKED, RunFolder
from tolman.learn.stages import parse_stages
from tolman.learn.trackers import Opening, TensorBoard
from tolman.learn.tracking import Trackers, check_trackers, finite_numbers
from tolman.learn.train import train

CLOCK = ("seconds", "samples_per_second", "tokens_per_second")


def needs(package: str) -> pytest.MarkDecorator:
    there = importlib.util.find_spec(package) is not None
    return pytest.mark.skipif(not there, reason=f"{package} is not installed")


class Fake:
    """Keeps what it is given; fails at the steps in `faults`, which belong to the test."""

    made: list[Fake]
    faults: dict[int, BaseException]

    def __init__(self, opening: Opening) -> None:
        if 0 in self.faults:
            raise self.faults[0]
        self.opening, self.run = opening, opening.run or f"run {len(self.made)}"
        self.rows: dict[int, Mapping[str, float]] = {}
        self.closed: list[bool] = []
        self.made.append(self)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        if step in self.faults:
            raise self.faults[step]
        assert step not in self.rows
        self.rows[step] = values

    def close(self, done: bool) -> None:
        self.closed.append(done)
        if -1 in self.faults:
            raise self.faults[-1]


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> type[Fake]:
    """Stands in for W&B."""
    monkeypatch.setitem(TRACKERS, "wandb", f"{__name__}:Fake")
    monkeypatch.setattr(Fake, "made", [], raising=False)
    monkeypatch.setattr(Fake, "faults", {}, raising=False)
    return Fake


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    made = RunFolder(tmp_path / "tiny")
    made.start(recipe_of(tmp_path))
    return made


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("data"), clips=2, questions=2)


def recipe_of(out: Path, *trackers: str, **run: Any) -> Recipe:
    return parse_recipe(sft_table(out, out, trackers=list(trackers), **run))


def steps(*numbers: int) -> list[dict[str, Any]]:
    return [{"step": number, "loss": 1.0 / number} for number in numbers]


def state(folder: RunFolder) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder.path / TRACKED).read_text())
    return found


class TestRows:
    def test_each_once_and_a_resumed_run_goes_on(self, fake: type[Fake], folder: RunFolder) -> None:
        recipe = recipe_of(folder.path.parent, "wandb", project="rooms")
        with Trackers(recipe, folder) as trackers:
            trackers.log([])
            for row in steps(1, 2, 3):
                trackers.log([row])
        with Trackers(recipe, folder) as trackers:
            trackers.log(steps(1, 2))  # of metrics.jsonl, cut off after a checkpoint
            trackers.log(steps(3))
            trackers.log(steps(4))
        first, second = fake.made
        assert first.rows == {1: {"loss": 1.0}, 2: {"loss": 0.5}, 3: {"loss": 1 / 3}}
        assert second.rows == {4: {"loss": 0.25}}
        assert (first.closed, second.closed) == ([True], [True])
        assert first.opening.name == f"{folder.path.parent.name}/tiny"
        assert first.opening.project == "rooms"
        assert first.opening.recipe["optimiser"]["lr"] == 3e-3
        assert (first.opening.run, second.opening.run) == ("", "run 0")
        assert state(folder) == {"wandb": {"run": "run 0", "step": 4}}

    def test_a_tracker_that_comes_late_gets_everything(self, fake: type[Fake], folder: RunFolder) -> None:
        with Trackers(recipe_of(folder.path.parent), folder) as trackers:
            trackers.log(steps(1, 2))
        assert not (folder.path / TRACKED).exists()
        with Trackers(recipe_of(folder.path.parent, "wandb"), folder) as trackers:
            trackers.log(steps(1, 2))
        assert list(fake.made[0].rows) == [1, 2]

    def test_a_kill_in_between_doubles_nothing(self, fake: type[Fake], folder: RunFolder) -> None:
        recipe = recipe_of(folder.path.parent, "wandb")
        fake.faults = {2: KeyboardInterrupt()}  # as a kill would: nothing after it runs
        with pytest.raises(KeyboardInterrupt), Trackers(recipe, folder) as trackers:
            trackers.log(steps(1, 2))
        fake.faults = {}
        with Trackers(recipe, folder) as trackers:
            trackers.log(steps(1, 2, 3))
        first, second = fake.made
        assert (list(first.rows), first.closed) == ([1], [False])
        assert list(second.rows) == [3]

    def test_a_fresh_run_knows_no_tracker(self, fake: type[Fake], folder: RunFolder) -> None:
        recipe = recipe_of(folder.path.parent, "wandb")
        with Trackers(recipe, folder) as trackers:
            trackers.log(steps(1))
        (folder.path / METRICS).unlink()
        folder.checkpoints.rmdir()
        folder.start(recipe)
        with Trackers(recipe, folder) as trackers:
            trackers.log(steps(1))
        assert [list(one.rows) for one in fake.made] == [[1], [1]]
        assert fake.made[1].opening.run == ""

    def test_only_finite_numbers(self) -> None:
        row = {"step": 3, "loss": 0.5, "samples": 4, "kl": None, "x": float("nan"), "y": float("inf"),
               "finished": True, "name": "a"}  # fmt: skip
        assert finite_numbers(row) == {"loss": 0.5, "samples": 4.0}


class TestFaults:
    def test_the_run_goes_on_and_what_is_missing_is_counted(
        self, fake: type[Fake], folder: RunFolder
    ) -> None:
        fake.faults = {2: OSError("no network"), 3: ValueError(), -1: RuntimeError("still none")}
        with (
            pytest.warns(UserWarning, match="did not take|not be closed|lacks") as caught,
            Trackers(recipe_of(folder.path.parent, "wandb"), folder) as trackers,
        ):
            trackers.log(steps(1, 2, 3, 4))
        assert trackers.missed == {"wandb": 2}
        said = [str(entry.message) for entry in caught]
        assert len(said) == 3
        assert said[0].startswith("wandb did not take step 2: no network. The run goes on")
        assert said[1:] == [
            "wandb could not be closed: still none",
            "wandb lacks 2 steps that it did not take; metrics.jsonl has them",
        ]
        assert list(fake.made[0].rows) == [1, 4]

    def test_what_the_last_ones_lack_comes_with_the_next_run(
        self, fake: type[Fake], folder: RunFolder
    ) -> None:
        recipe = recipe_of(folder.path.parent, "wandb")
        fake.faults = {2: OSError(), 3: OSError()}
        with (
            pytest.warns(UserWarning, match="did not take step 2: OSError"),
            pytest.warns(UserWarning, match="lacks 2 steps"),
            Trackers(recipe, folder) as one,
        ):
            one.log(steps(1, 2, 3))
        fake.faults = {}
        with Trackers(recipe, folder) as other:
            other.log(steps(1, 2, 3))
        assert [list(each.rows) for each in fake.made] == [[1], [2, 3]]

    def test_one_that_cannot_be_opened_is_named_and_the_others_closed(
        self, fake: type[Fake], folder: RunFolder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(TRACKERS, "trackio", "json:nothing")
        recipe = recipe_of(folder.path.parent, "wandb", "trackio")
        with pytest.raises(ValueError, match=r"^trackio of run\.trackers cannot be opened: .*--resume"):
            Trackers(recipe, folder).__enter__()
        assert fake.made[0].closed == [False]
        fake.faults = {0: RuntimeError("No API key\nconfigured.")}
        with pytest.raises(
            ValueError, match=r"wandb of run.trackers cannot be opened: No API key configured\."
        ):
            Trackers(recipe, folder).__enter__()

    def test_a_package_that_is_missing_is_said_before_anything(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real = importlib.util.find_spec
        monkeypatch.setattr(
            "tolman.learn.tracking.find_spec", lambda name: None if name == "trackio" else real(name)
        )
        with pytest.raises(ValueError, match=r"run.trackers names 'trackio', .* pip install trackio"):
            train(recipe_of(tmp_path, "trackio"), policy=tiny_policy())
        assert not (tmp_path / "tiny").exists()

    def test_a_folder_of_that_name_is_no_package(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "tolman_none").mkdir()
        monkeypatch.syspath_prepend(tmp_path)
        spec = importlib.util.find_spec("tolman_none")
        assert spec is not None  # what W&B leaves beside a script can be imported
        monkeypatch.setattr("tolman.learn.tracking.find_spec", lambda name: spec)
        with pytest.raises(ValueError, match="not installed"):
            check_trackers(recipe_of(tmp_path, "wandb"))


class TestRecipe:
    @pytest.mark.parametrize(
        ("run", "said"),
        [
            (
                {"trackers": ["tensorbored"]},
                r"run.trackers\[0\] is 'tensorbored'; valid choices: tensorboard, ",
            ),
            ({"trackers": ["wandb", "wandb"]}, "run.trackers lists 'wandb' twice"),
            ({"project": "mine"}, "run.project is 'mine', but run.trackers names neither wandb nor trackio"),
        ],
    )
    def test_mistakes(self, tmp_path: Path, run: dict[str, Any], said: str) -> None:
        with pytest.raises(ValueError, match=said):
            parse_recipe(sft_table(tmp_path, tmp_path, **run))

    def test_a_resumed_run_may_change_them(self, folder: RunFolder) -> None:
        folder.check_same(recipe_of(folder.path.parent, "wandb", project="rooms"))

    def test_a_selecting_stage_has_none(self, tmp_path: Path) -> None:
        table = rl_table(tmp_path, tmp_path, trackers=["tensorboard"])
        choose = {"name": "choose", "select": {"of": "accuracy"}}
        first, second = parse_stages(table | {"stages": [choose, {"name": "learn"}]})
        assert not hasattr(first.run, "trackers")
        assert second.run.trackers == ("tensorboard",)


@needs("tensorboard")
class TestTensorBoard:
    def test_a_killed_run_has_every_point_once(self, data: Path, tmp_path: Path) -> None:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        class Killed(Exception):
            pass

        def kill(row: dict[str, Any]) -> None:
            if row["step"] == 5:  # two steps after the checkpoint
                raise Killed

        recipe = parse_recipe(rl_table(data, tmp_path, trackers=["tensorboard"]))
        with pytest.raises(Killed):
            train(recipe, policy=tiny_policy(), progress=kill)
        run = train(recipe, policy=tiny_policy(), resume=True)
        rows = RunFolder(run).rows(METRICS)
        events = EventAccumulator(str(run / "tensorboard"))
        events.Reload()
        names = {name for row in rows for name, value in row.items() if name != "step" and value is not None}
        assert set(events.Tags()["scalars"]) == names
        assert {"loss", "kl", "reward", "reward_std", "reward/format", "zero_signal", "grad_norm",
                "tokens_per_second"} <= names  # fmt: skip
        for name in names:
            points = [(event.step, event.value) for event in events.Scalars(name)]
            expected = [(row["step"], row[name]) for row in rows if row.get(name) is not None]
            assert [step for step, _ in points] == [step for step, _ in expected], name
            if name not in CLOCK:
                assert [y for _, y in points] == pytest.approx([y for _, y in expected], rel=1e-6), name

    def test_a_full_disk_is_a_fault_and_no_hang(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(threading, "excepthook", lambda caught: None)  # the writer's thread tells it, too
        before = set(threading.enumerate())
        tracker = TensorBoard(Opening(tmp_path, "x", "tolman", {}))

        def log() -> None:
            for step in range(1, 50):
                tracker.log(step, {"loss": 1.0})

        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (500, limits[1]))
        try:
            for _ in range(2):
                with pytest.raises(OSError, match="File too large"):
                    log()
            with pytest.raises(OSError, match="File too large"):
                tracker.close(done=True)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        for thread in set(threading.enumerate()) - before:
            thread.join()


HOSTED = """
import json, sys
from pathlib import Path
from learn_world import sft_table
from tolman.learn.recipe import parse_recipe
from tolman.learn.run_folder import TRACKED, RunFolder
from tolman.learn.tracking import Trackers
out, name = Path(sys.argv[1]), sys.argv[2]
folder = RunFolder(out / "tiny")
folder.start(parse_recipe(sft_table(out, out)))
recipe = parse_recipe(sft_table(out, out, trackers=[name], project="rooms"))
for numbers in ([1, 2], [1, 2, 3]):
    with Trackers(recipe, folder) as trackers:
        trackers.log({"step": step, "loss": 1 / step, "reward/map": 0.25} for step in numbers)
    assert trackers.missed == {name: 0}
run = json.loads((folder.path / TRACKED).read_text())[name]["run"]
if name == "trackio":
    import trackio
    print(json.dumps([[row["step"], row["loss"], row["reward/map"]]
                      for row in trackio.SQLiteStorage.get_logs("rooms", run)]))
"""
EXPECTED = [[1, 1.0, 0.25], [2, 0.5, 0.25], [3, 1 / 3, 0.25]]


def hosted(out: Path, name: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Two sessions of a run in a process of their own, which knows of no account."""
    places = [str(Path(__file__).parent), str(Path(tolman.__file__).parents[1])]
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("WANDB_", "TRACKIO_"))}
    kept |= {"PYTHONPATH": os.pathsep.join(places), "HOME": str(out), "NETRC": str(out / "none")}
    return subprocess.run(
        [sys.executable, "-c", HOSTED, out, name], env=kept | environment, cwd=out, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, check=False,
    )  # fmt: skip


@needs("trackio")
def test_trackio_on_this_machine(tmp_path: Path) -> None:
    done = hosted(tmp_path, "trackio", TRACKIO_DIR=str(tmp_path / "trackio"))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == EXPECTED  # and nothing of trackio's own on standard output


def records(file: Path) -> Iterator[Any]:
    """The records of a file that W&B wrote offline: LevelDB's log format behind a header of 7 bytes."""
    from wandb.proto.wandb_internal_pb2 import Record

    content, at, part = file.read_bytes(), 7, b""
    while at + 7 <= len(content):
        if (left := 32768 - at % 32768) < 7:  # no room for a header at the end of a block
            at += left
            continue
        _, length, kind = struct.unpack("<IHB", content[at : at + 7])
        part += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last piece
            yield Record.FromString(part)
            part = b""


@needs("wandb")
def test_wandb_offline(tmp_path: Path) -> None:
    done = hosted(tmp_path, "wandb", WANDB_MODE="offline")
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    files = sorted((tmp_path / "tiny" / "wandb").glob("offline-run-*/*.wandb"))
    assert len({file.name for file in files}) == 1  # the same run in both
    found, runs = [], []
    for file in files:
        for record in records(file):
            if record.WhichOneof("record_type") == "history":
                item = {"/".join(one.nested_key) or one.key: json.loads(one.value_json)
                        for one in record.history.item}  # fmt: skip
                found.append([record.history.step.num, item["loss"], item["reward/map"]])
            elif record.WhichOneof("record_type") == "run":
                runs.append((record.run.project, record.run.display_name))
    assert found == EXPECTED
    assert runs == [("rooms", f"{tmp_path.name}/tiny")] * 2


@needs("wandb")
def test_wandb_without_an_account(tmp_path: Path) -> None:
    done = hosted(tmp_path, "wandb")
    assert done.returncode == 1
    assert "ValueError: wandb of run.trackers cannot be opened: " in done.stderr
    assert "API key" in done.stderr


def test_every_tracker_has_its_extra() -> None:
    import tomllib

    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    for name in TRACKERS:
        assert [one.partition(">")[0] for one in project["optional-dependencies"][name]] == [name]


def test_nothing_of_it_is_imported_before_it_is_named() -> None:
    code = "import sys, tolman.learn.tracking; print({'tensorboard', 'wandb', 'trackio'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_the_command_line_can_name_them(tmp_path: Path) -> None:
    table = apply_overrides(sft_table(tmp_path, tmp_path), ['run.trackers=["tensorboard"]'])
    assert parse_recipe(table).run.trackers == ("tensorboard",)
