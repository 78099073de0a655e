"""Several processes make the run that one makes: the same rows, the same weights, the same files.

AdamW's eps is 1e-4 here. With the usual 1e-8 a weight whose gradient is 0 but for rounding (a key's bias)
moves by a full step in a direction that rounding chose, in one process as in many.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from distributed_world import Job, launch
from learn_world import digits, rl_table, sft_table, tiny_policy, write_dataset
from tolman.data.views import Views, write_views
from tolman.learn.config import write_toml
from tolman.learn.processes import Processes, connect, current, own_device
from tolman.learn.recipe import apply_overrides, parse_recipe
from tolman.learn.stages import parse_stages
from tolman.learn.train import train, train_stages
from tolman.policy.load import load_policy, save_policy
from tolman.reward.registry import REWARDS

CLOCK = ("seconds", "samples_per_second", "tokens_per_second")
FULL = "distributed.shard=full"
RL = [
    "batch.clips=3", "sampling.minibatches=2", "loss.clip=[0.2, 0.28]", "rewards=[{name='digits'}]",
    "advantage={name='ema_per_task'}",
    "bonuses=[{name='temporal', options={of=['digits'], shuffled=2, ratio=0.0, threshold=0.0}}]",
]  # fmt: skip
FILTER = ["batch.clips=1", "rewards=[{name='digits'}]", "filter={redraws=2, of='digits', bounds=[0.02, 0.9]}"]
TWINS = [
    "rewards=[{name='digits'}]", "advantage={name='duality', options={weight=0.5}}", "batch.micro_clips=1",
    "loss={name='tw_grpo', normalise='tokens', beta=0.04, options={alpha=1.7}}", "batch.clips=1",
]  # fmt: skip
LORA = ["model.train=text", "model.lora_rank=4"]
PREFERENCE = "loss={{name='{0}', normalise='sequences', beta=0.5}}"
RUNS: dict[str, tuple[str, list[str]]] = {
    "sft": ("sft", ["batch.clips=3", "batch.micro_clips=1", "objective.options.blind=1"]),
    "sft full": ("sft", ["batch.clips=3", "batch.micro_clips=1", "objective.options.blind=1", FULL]),
    "one clip": ("sft", ["batch.clips=1", "objective.options.blind=1"]),
    "one clip full": ("sft", ["batch.clips=1", "run.steps=2", "model.train=text", FULL]),
    "rl": ("rl", [*RL, "run.steps=2"]),
    "rl full": ("rl", [*RL, "run.steps=2", FULL]),
    "filter": ("rl", [*FILTER, "run.steps=2"]),
    "twins full": ("rl", [*TWINS, "run.steps=2", FULL]),
    "kto": ("sft", ["objective.name=kto", PREFERENCE.format("kto"), "batch.clips=3", "run.steps=2"]),
    "dense": ("dense", ["batch.clips=3", "run.steps=2"]),
    "adapters": ("rl", ["batch.clips=3", "rewards=[{name='digits'}]", *LORA, "run.steps=2"]),
    "dpo full": ("sft", ["objective.name=dpo", PREFERENCE.format("dpo"), "run.steps=2", FULL]),
}
"""Objective and overrides. Clip 2 of the data cannot be read: one process skips it, all must count it."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_dataset(tmp_path_factory.mktemp("data"), clips=4, questions=2)
    (folder / "clips" / "2.mp4").write_bytes(b"not a video")
    rows = [json.loads(line) for line in (folder / "questions.jsonl").read_text().splitlines()]
    for index, row in enumerate(rows):
        row |= {"chosen": f"<answer>{index}</answer>", "rejected": "Many, I think."}
        row |= {"completion": f"Say {index}.", "label": index % 2 == 0}
    (folder / "views").mkdir()
    for clip in range(4):  # clip by clip another thing in more of the picture
        shares = np.zeros((6, 8, 8, 1), dtype=np.uint8)
        shares[: 2 * clip, :, : 2 * clip + 2] = 255
        thing = ("bed", "chair", "sofa", "table")[clip]
        write_views(folder / "views" / f"{clip}.npz", Views(shares, (thing,), np.array([[clip, 2 * clip]])))
    (folder / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture(autouse=True)
def digits_reward(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(REWARDS, "digits", lambda: digits)


def table(data: Path, out: Path, kind: str, overrides: Sequence[str]) -> dict[str, Any]:
    made = (rl_table if kind == "rl" else sft_table)(
        data, out, steps=4, checkpoint_every=2, keep=3, max_skipped=0.3
    )
    made["optimiser"] |= {"eps": 1e-4, "warmup": 1}
    if kind == "dense":
        made.pop("loss")
        made["batch"].pop("questions_per_clip")
        made["objective"] = {"name": "dense"}
    return apply_overrides(made, overrides)


def stages_table(data: Path, out: Path, policy: Path) -> dict[str, Any]:
    """Fine-tuning, a selection, GRPO on what was selected."""
    common = table(data, out, "sft", ["run.steps=1", "run.checkpoint_every=1", "optimiser.warmup=0"])
    return common | {
        "model": {"path": str(policy), "template": "map"},
        "sampling": {"group": 3, "max_new_tokens": 8},
        "rewards": [{"name": "digits"}],
        "stages": [
            {"name": "sft", "batch": {"clips": 3}},
            {"name": "choose", "select": {"of": "digits"}},
            {
                "name": "rl",
                "objective": {"name": "rl"},
                "advantage": {"name": "group_mean"},
                "loss": {"name": "policy_gradient", "normalise": "sequences"},
            },
        ],
    }


@pytest.fixture(scope="module")
def two(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What two processes make of every job: one launch for all. `folder`: where the runs are."""
    folder = tmp_path_factory.mktemp("two")
    save_policy(tiny_policy(), folder / "policy")
    jobs: dict[str, Job] = {
        name: {"table": table(data, folder / name, kind, overrides)}
        for name, (kind, overrides) in RUNS.items()
    }
    for name in ("sft", "sft full"):
        again = table(data, folder / f"{name} again", *RUNS[name])
        jobs[f"{name} again"] = {"table": again, "from": str(folder / name / "tiny")}
    for trained in ("lora", "visual", "language_model"):
        jobs[trained] = {"kind": "gradients", "trained": trained, "table": sft_table(data, folder)}
        jobs[trained]["table"]["data"]["families"] = ["object_counting"]
    jobs["stages"] = {"kind": "stages", "table": stages_table(data, folder / "stages", folder / "policy")}
    jobs["other weights"] = {
        "kind": "has other weights", "table": table(data, folder / "other", *RUNS["sft"]),
    }  # fmt: skip
    jobs["bfloat16"] = {"kind": "bfloat16", "table": table(data, folder / "half", *RUNS["sft full"])}
    jobs["split heads"] = {"table": table(data, folder / "heads", "dense", [FULL])}
    results = launch(folder / "launch", 2, list(jobs.values()))
    return {"folder": folder} | dict(zip(jobs, results, strict=True))


def assert_close(one: Any, other: Any, where: str = "") -> None:
    """Equal, numbers to 1e-5; clock times are left out."""
    if isinstance(one, dict):
        keys = one.keys() - set(CLOCK)
        assert keys == other.keys() - set(CLOCK), where
        for key in keys:
            assert_close(one[key], other[key], f"{where}.{key}")
    elif isinstance(one, list):
        assert len(one) == len(other), where
        for at, (a, b) in enumerate(zip(one, other, strict=True)):
            assert_close(a, b, f"{where}[{at}]")
    elif isinstance(one, float):
        assert math.isclose(one, other, rel_tol=1e-5, abs_tol=1e-6), (where, one, other)
    else:
        assert one == other, where


def assert_same_run(one: Path, other: Path) -> None:
    """The same rows, checkpoints of the same files, and tensors to 1e-5 of the largest number in each."""
    for name in ("metrics.jsonl", "rollouts.jsonl", "skipped.jsonl"):
        rows = [[json.loads(line) for line in (run / name).read_text().splitlines()] for run in (one, other)]
        assert_close(*rows, name)
    names = [sorted(f.relative_to(run) for f in run.glob("checkpoints/*/*")) for run in (one, other)]
    assert names[0] == names[1]
    for name in names[0]:
        if name.suffix == ".safetensors":
            ours, theirs = load_file(one / name), load_file(other / name)
            assert {k: (v.shape, v.dtype) for k, v in ours.items()} == {
                k: (v.shape, v.dtype) for k, v in theirs.items()
            }
            for key, tensor in ours.items():
                error = float((tensor - theirs[key]).abs().max())
                assert error <= 1e-5 * float(tensor.abs().max()) + 1e-9, (name, key, error)
        elif name.name == "state.json":
            assert_close(*(json.loads((run / name).read_text()) for run in (one, other)), str(name))


def alone(made: dict[str, Any]) -> Path:
    """The run that one process makes."""
    return train(parse_recipe(made), policy=tiny_policy())


class TestTwoProcesses:
    @pytest.mark.parametrize("name", RUNS)
    def test_make_the_run_that_one_makes(
        self, data: Path, tmp_path: Path, two: dict[str, Any], name: str
    ) -> None:
        many = two["folder"] / name / "tiny"
        assert two[name] == [str(many), str(many)]
        assert_same_run(alone(table(data, tmp_path, *RUNS[name])), many)

    def test_skip_clips_and_reach_groups_of_both(self, two: dict[str, Any]) -> None:
        """The runs hold what they are here for."""
        folder = two["folder"]
        for name in RUNS:
            rows = (folder / name / "tiny" / "metrics.jsonl").read_text().splitlines()
            assert any(json.loads(row)["grad_norm"] > 0.01 for row in rows), name
        for name in ("sft", "rl full"):
            assert (folder / name / "tiny" / "skipped.jsonl").read_text()
        state = json.loads(
            (folder / "rl" / "tiny" / "checkpoints" / "step-00000002" / "state.json").read_text()
        )
        assert set(state["objective"]) == {"numerical"}
        lines = (folder / "filter" / "tiny" / "metrics.jsonl").read_text().splitlines()
        assert any(json.loads(line)["redrawn"] for line in lines)

    @pytest.mark.parametrize("name", ["sft", "sft full"])
    def test_go_on_to_the_same_bits(self, two: dict[str, Any], name: str) -> None:
        straight, resumed = (two["folder"] / part / "tiny" for part in (name, f"{name} again"))
        assert two[f"{name} again"] == [str(resumed)] * 2
        for file in straight.glob("checkpoints/*/*"):
            assert file.read_bytes() == (resumed / file.relative_to(straight)).read_bytes(), file
        for rows in ("metrics.jsonl", "skipped.jsonl"):
            before, after = ((run / rows).read_text().splitlines() for run in (straight, resumed))
            assert len(before) == len(after)

    def test_one_process_goes_on_where_two_stopped(self, data: Path, two: dict[str, Any]) -> None:
        run = two["folder"] / "sft full again" / "tiny"
        for name in ("final", "step-00000004"):
            (run / "checkpoints" / name).rename(run / f"old-{name}")
        made = table(data, run.parent, *RUNS["sft full"])
        train(parse_recipe(made), policy=tiny_policy(), resume=True)
        assert_same_run(two["folder"] / "sft full" / "tiny", run)

    def test_final_policy_loads(self, two: dict[str, Any]) -> None:
        folder = two["folder"] / "sft full" / "tiny" / "checkpoints"
        state = load_policy(folder / "final").model.state_dict()
        for name, tensor in load_file(folder / "step-00000004" / "weights.policy.safetensors").items():
            assert torch.equal(state[name], tensor)

    @pytest.mark.parametrize("trained", ["lora", "visual", "language_model"])
    def test_add_up_split_gradients(self, two: dict[str, Any], trained: str) -> None:
        assert two[trained] == pytest.approx([0.0, 0.0], abs=1e-5)

    def test_run_stages(self, data: Path, tmp_path: Path, two: dict[str, Any]) -> None:
        made = stages_table(data, tmp_path, two["folder"] / "policy")
        last = train_stages(parse_stages(made))
        assert two["stages"] == [str(two["folder"] / "stages" / "tiny" / "03-rl")] * 2
        for folder in sorted(last.parent.iterdir()):
            other = two["folder"] / "stages" / "tiny" / folder.name
            assert_same_run(folder, other)
            if folder.name == "02-choose":
                assert (folder / "questions.jsonl").read_text() == (other / "questions.jsonl").read_text()

    def test_round_split_weights_at_random(self, data: Path, tmp_path: Path, two: dict[str, Any]) -> None:
        """Which way a number is rounded depends on who holds it, so that weights are not the same."""
        policy = tiny_policy()
        before = {name: weight.bfloat16() for name, weight in policy.model.state_dict().items()}
        policy.model.bfloat16()
        one = train(parse_recipe(table(data, tmp_path, *RUNS["sft full"])), policy=policy)
        many = two["folder"] / "half" / "tiny"
        lines = ((run / "metrics.jsonl").read_text().splitlines() for run in (one, many))
        losses = [[json.loads(line)["loss"] for line in of_run] for of_run in lines]
        assert losses[1] == pytest.approx(losses[0], rel=0.02)
        after = load_file(many / "checkpoints" / "step-00000004" / "weights.policy.safetensors")
        moved = {name for name, weight in after.items() if not torch.equal(weight, before[name])}
        assert {name for name, weight in after.items() if weight.ndim > 1} <= moved
        assert {weight.dtype for weight in after.values()} == {torch.bfloat16}

    def test_split_no_heads(self, two: dict[str, Any]) -> None:
        for error in two["split heads"]:
            assert error.startswith("ValueError: distributed.shard is 'full', but objective 'dense' trains")

    def test_notice_that_they_differ(self, two: dict[str, Any]) -> None:
        for error in two["other weights"]:
            assert error.startswith("ValueError: process 1 has other weights than process 0; all 2")


@pytest.mark.slow
def test_four_processes_make_the_run_that_one_makes(data: Path, tmp_path: Path) -> None:
    names = ("sft full", "rl")  # three clips: the fourth process has none
    jobs = [{"table": table(data, tmp_path / "four" / name, *RUNS[name])} for name in names]
    (tmp_path / "four").mkdir()
    launch(tmp_path / "launch", 4, jobs)
    for name in names:
        one = alone(table(data, tmp_path / name, *RUNS[name]))
        assert_same_run(one, tmp_path / "four" / name / "tiny")


@pytest.mark.parametrize(("kind", "run", "timeout"), [("dies", "sft full", 120.0), ("hangs", "rl", 15.0)])
def test_a_lost_process_ends_the_others(
    data: Path, tmp_path: Path, kind: str, run: str, timeout: float
) -> None:
    job = {"kind": kind, "table": table(data, tmp_path / "run", *RUNS[run])}
    [[error, gone]] = launch(tmp_path / "launch", 2, [job], timeout)
    assert gone is None
    assert error.startswith("LostProcess: process 0: another of the 2 processes has died or has not ans")
    assert f"for {timeout:g} s (distributed.timeout)" in error


def test_torchrun_starts_the_command(data: Path, tmp_path: Path) -> None:
    save_policy(tiny_policy(), tmp_path / "policy")
    made = table(data, tmp_path, "sft", ["run.steps=1", f"model.path={tmp_path / 'policy'}"])
    (tmp_path / "recipe.toml").write_text(write_toml(made))
    command = [
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        "-m",
        "tolman.cli.main",
    ]
    done = subprocess.run(
        [sys.executable, *command, "train", str(tmp_path / "recipe.toml")],
        env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [str(tmp_path / "tiny" / "checkpoints" / "final")]  # one speaks
    assert done.stderr.count("step 1/1") == 1
    assert_same_run(alone(table(data, tmp_path / "one", "sft", ["run.steps=1"])), tmp_path / "tiny")


class TestProcesses:
    def test_shares_are_whole_and_in_turn(self) -> None:
        assert Processes(1, 3).share("abcdefgh") == [(1, "b"), (4, "e"), (7, "h")]
        shares = [Processes(rank, 3).share(range(8)) for rank in range(3)]
        assert sorted(item for share in shares for item in share) == [(n, n) for n in range(8)]
        assert Processes(2, 3).share([5]) == []

    def test_one_process_exchanges_nothing(self) -> None:
        with connect("cpu", 1.0) as processes:
            assert processes == current() == Processes(0, 1)
        assert processes.in_order([(2, "c"), (0, "a")]) == ["a", "c"]
        assert processes.from_first(lambda: 7) == 7
        weight = torch.nn.Parameter(torch.ones(2))
        processes.sum_gradients([weight])
        assert weight.grad is None

    def test_one_gpu_for_several_processes_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
        assert own_device("cuda:1") == "cuda:1"
        monkeypatch.setenv("WORLD_SIZE", "2")
        assert own_device("cpu") == "cpu"
        with pytest.raises(ValueError, match=r"'cuda:1', one GPU for several processes; write"):
            own_device("cuda:1")

    def test_stages_wait_equally_long(self, data: Path, tmp_path: Path) -> None:
        made = stages_table(data, tmp_path, tmp_path)
        made["stages"][2]["distributed"] = {"timeout": 5.0}
        with pytest.raises(ValueError, match=r"distributed.timeout must be the same .* \[5.0, 600.0\]"):
            train_stages(parse_stages(made))
