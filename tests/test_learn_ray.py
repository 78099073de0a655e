"""Rollout workers and learners on a Ray cluster of two nodes, both on this machine."""

from __future__ import annotations

import json
import os
import queue
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from learn_world import digits, rl_table, sft_table, tiny_policy, write_dataset
from test_learn_engines import CLOCK, SAMPLING, prompts_of, same
from tolman.learn import placing
from tolman.learn.engines.engine import InProcess
from tolman.learn.engines.options import RayOptions
from tolman.learn.engines.ray_workers import RayEngine
from tolman.learn.processes import LostProcess
from tolman.learn.recipe import apply_overrides, parse_recipe
from tolman.learn.sections import Model
from tolman.learn.stages import Stage
from tolman.learn.train import train
from tolman.policy.generate import draw_uniforms
from tolman.policy.load import save_policy
from tolman.reward.registry import REWARDS

ray: Any = pytest.importorskip("ray", reason="Ray is not installed (pip install ray)")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a dataset and a policy."""
    folder = tmp_path_factory.mktemp("world")
    write_dataset(folder / "data", clips=3, questions=2)
    save_policy(tiny_policy(), folder / "policy")
    return folder


def process_of(engine: RayEngine, number: int) -> int:
    pid: int = ray.get(engine.members[number].taking)
    return pid


class Halting(queue.SimpleQueue[Any]):
    """Whoever reports step 2 goes no further."""

    def put(self, said: Any, *_: Any) -> None:
        super().put(said)
        if isinstance(said, placing.Reported) and said.row["step"] == 2:
            time.sleep(600)


class CountingLearner(placing.Learner):
    """A learner that knows the tests' reward, and waits to be killed where nobody was yet."""

    def run(self, *given: Any) -> Iterator[Any]:
        REWARDS["digits"] = lambda: digits
        if not Path(self.folder, "killed").exists():
            self.said = Halting()
        yield from super().run(*given)


@pytest.fixture(autouse=True)
def own_reward(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(REWARDS, "digits", lambda: digits)


def table_of(world: Path, out: Path, **run: Any) -> dict[str, Any]:
    table = rl_table(world / "data", out, threads=1, **run)
    table["model"]["path"] = str(world / "policy")
    return table | {"rewards": [{"name": "digits"}]}


def results(folder: Path) -> tuple[list[dict[str, Any]], dict[str, torch.Tensor]]:
    """A run's metrics and final weights."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    weights = load_file(folder / "checkpoints" / "final" / "model.safetensors")
    return [{k: v for k, v in row.items() if k not in CLOCK} for row in rows], weights


def same_weights(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.slow
def test_a_run_with_workers_one_of_them_killed_equals_one_without(
    address: str, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = table_of(world, tmp_path / "here", steps=4)
    here = results(train(parse_recipe(table)))
    asked: list[tuple[int, int]] = []
    ask = RayEngine._ask

    def kill(engine: RayEngine, number: int, *given: Any) -> Any:
        """Ask, and at the third step let worker 1 die over the question."""
        asked.append((engine.weights.version, number))
        if asked.count((2, 1)) != 1 or asked[-1] != (2, 1):
            return ask(engine, number, *given)
        process = process_of(engine, number)
        os.kill(process, signal.SIGSTOP)  # so that it cannot answer before it dies
        said = ask(engine, number, *given)
        os.kill(process, signal.SIGKILL)
        return said

    monkeypatch.setattr(RayEngine, "_ask", kill)
    table["run"]["out"] = str(tmp_path / "there")
    table["engine"] = {"name": "ray", "options": {"address": address}}
    with pytest.warns(UserWarning, match=r"rollout worker 1: \w+.*; another one takes its place"):
        there = results(train(parse_recipe(table)))
    assert asked == [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1), (2, 1), (3, 0), (3, 1)]
    assert here[0] == there[0]
    same_weights(here[1], there[1])
    assert all(row["grad_norm"] > 0 for row in here[0])
    assert not ray.is_initialized()  # left as it was found


@pytest.mark.slow
def test_workers_that_hang_or_die_too_often_end_the_run(address: str, world: Path) -> None:
    policy = tiny_policy()
    prompts = prompts_of(policy, world / "data")
    asked = prompts, 2, SAMPLING, draw_uniforms(len(prompts), 2, 5, torch.Generator().manual_seed(1))
    engine = RayEngine(Model(str(world / "policy"), "map"), policy, RayOptions(address, workers=1, deaths=0))
    try:
        engine.sync(policy, 0)
        assert same(engine.sample(*asked), InProcess(policy).sample(*asked))
        engine.options = replace(engine.options, timeout=1.0)
        stopped = process_of(engine, 0)
        os.kill(stopped, signal.SIGSTOP)
        with pytest.raises(LostProcess, match=r"rollout workers 0 have not answered for 1 s \(engine"):
            engine.sample(*asked)
        engine.options = replace(engine.options, timeout=600.0)
        os.kill(stopped, signal.SIGKILL)
        with pytest.raises(LostProcess, match=r"1 rollout workers died over step 1, 0 may \(engine.options"):
            engine.sample(*asked)
    finally:
        engine.close()
    assert not ray.is_initialized()


@pytest.mark.slow
def test_what_a_cluster_cannot_do_is_said(address: str, world: Path) -> None:
    policy, model = tiny_policy(), Model(str(world / "policy"), "map")
    for options, message in (
        (RayOptions(address, gpus=1), "0 workers of 1 GPUs each do not fit a cluster with 0"),
        (RayOptions(address, workers=3), "3 workers of 1 CPUs each do not fit a cluster with 2"),
        (RayOptions("127.0.0.1:1"), "no Ray cluster at '127.0.0.1:1'"),
    ):
        with pytest.raises(ValueError, match=message):
            RayEngine(model, policy, options)
        assert not ray.is_initialized()
    engine = RayEngine(Model(str(world / "absent"), "map"), policy, RayOptions(address, workers=1))
    try:
        engine.sync(policy, 0)
        with pytest.raises(ValueError, match="absent"):
            engine.sample(prompts_of(policy, world / "data"), 1, SAMPLING, torch.rand(4, 3).double())
    finally:
        engine.close()


def learner_in(folder: Path) -> int:
    """The process of the learner that works in a folder."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if b"CountingLearner" in (entry / "cmdline").read_bytes() and (entry / "cwd").samefile(folder):
                return int(entry.name)
        except OSError:  # it has ended meanwhile, or is not ours
            continue
    raise AssertionError("no learner is running")


@pytest.mark.slow
def test_a_placed_learner_that_is_killed_goes_on_from_its_checkpoint(
    address: str, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The learner on one node, its rollout worker on the other."""
    here = results(train(parse_recipe(table_of(world, tmp_path / "here", steps=3, checkpoint_every=1))))
    table = table_of(world, Path("there"), steps=3, checkpoint_every=1)
    table["engine"] = {"name": "ray", "options": {"workers": 1}}
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(placing, "Learner", CountingLearner)
    seen: list[int] = []

    def progress(stage: Stage, row: dict[str, Any]) -> None:
        seen.append(row["step"])
        if seen == [1, 2]:
            Path("killed").touch()
            os.kill(learner_in(tmp_path), signal.SIGKILL)

    with pytest.warns(UserWarning, match=r"^learner 0: .*; all learners are placed anew"):
        folder = placing.train_on(address, [parse_recipe(table)], progress=progress)
    assert folder == Path("there/tiny")
    assert seen == [1, 2, 2, 3]  # of step 2 there was a row, but no checkpoint yet
    there = results(folder)
    assert here[0] == there[0]
    same_weights(here[1], there[1])
    with pytest.raises(ValueError, match="run there/tiny exists; continue it with resume"):
        placing.train_on(address, [parse_recipe(table)])
    with pytest.raises(ValueError, match=r"run\.device is 'cuda:1'; on a cluster it is 'cpu' or"):
        placing.train_on(address, [parse_recipe(apply_overrides(table, ["run.device=cuda:1"]))])
    assert not ray.is_initialized()


@pytest.mark.slow
def test_two_placed_learners_train_as_one(address: str, world: Path, tmp_path: Path) -> None:
    table = sft_table(world / "data", tmp_path / "here", steps=2, threads=1)
    table["optimiser"]["eps"] = 1e-4  # a gradient that is 0 but for rounding must move nothing
    table["model"]["path"] = str(world / "policy")
    here = results(train(parse_recipe(table)))
    table["run"]["out"] = str(tmp_path / "there")
    there = results(placing.train_on(address, [parse_recipe(table)], learners=2))
    assert [row["samples"] for row in there[0]] == [row["samples"] for row in here[0]]
    for name, weight in here[1].items():
        bound = 1e-5 * float(weight.abs().max())
        assert torch.allclose(there[1][name], weight, rtol=0, atol=bound), name
