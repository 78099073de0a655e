"""Runs that are killed, and disks that are full: nothing is lost that was written, and the rest is said."""

from __future__ import annotations

import os
import re
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import tolman
from learn_world import sft_table, tiny_policy, write_dataset
from tolman.learn.checkpoint import load_step, save_step, step_folders
from tolman.learn.optim import StochasticAdamW
from tolman.learn.recipe import apply_overrides, parse_recipe
from tolman.learn.run_folder import METRICS, RunFolder
from tolman.learn.train import train

CHECK = Path(__file__).resolve().parents[1] / "checks" / "kill_resume.py"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("data"), clips=3, questions=2)


def test_a_run_killed_at_any_moment_ends_the_same() -> None:
    done = subprocess.run(
        [sys.executable, CHECK, "--moments", "3"],
        env=os.environ | {"PYTHONPATH": str(Path(tolman.__file__).parents[1])},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(re.findall(r"killed at flush .* resumed: equal", done.stdout)) == 2
    assert done.stdout.count("resumed: equal") == 3


def test_what_a_kill_left_goes_when_the_run_goes_on(data: Path, tmp_path: Path) -> None:
    """Killed after the last checkpoint was renamed and before the one too many was dropped, and in the middle
    of writing the final policy: there is no later write that would clear up."""
    recipe = parse_recipe(sft_table(data, tmp_path, steps=2, checkpoint_every=1, keep=1))
    checkpoints = train(recipe, policy=tiny_policy()) / "checkpoints"
    shutil.copytree(checkpoints / "step-00000002", checkpoints / "step-00000001")
    shutil.move(checkpoints / "final", checkpoints / ".final.123.part")
    (checkpoints / ".incomplete-step-00000002").mkdir()
    train(recipe, policy=tiny_policy(), resume=True)
    assert sorted(entry.name for entry in checkpoints.iterdir()) == ["final", "step-00000002"]


def test_tied_weights_and_bfloat16_moments_come_back(tmp_path: Path) -> None:
    def world() -> tuple[torch.nn.Module, torch.optim.Optimizer]:
        torch.manual_seed(0)
        module = torch.nn.Sequential(torch.nn.Embedding(5, 4), torch.nn.Linear(4, 5, bias=False))
        module[1].weight = module[0].weight
        module.bfloat16()
        return module, StochasticAdamW(module.parameters(), lr=0.1, betas=(0.8, 0.9))

    module, optimiser = world()
    for _ in range(3):
        module(torch.arange(5)).float().square().sum().backward()
        optimiser.step()
    path = save_step(tmp_path, 3, {"policy": module}, optimiser, keep=1, state={"mean": [0.1, 1 / 3]})
    fresh, other = world()
    state: dict[str, object] = {"old": 1}
    assert load_step(path, {"policy": fresh}, other, "cpu", state) == 3
    assert state == {"mean": [0.1, 1 / 3]}
    assert fresh[1].weight is fresh[0].weight
    assert torch.equal(fresh[0].weight, module[0].weight)
    [before], [after] = optimiser.state.values(), other.state.values()
    assert before["step"] == after["step"] == 3
    assert after["mean"].dtype == torch.bfloat16
    assert all(torch.equal(before[key], after[key]) for key in ("mean", "square"))
    assert tuple(other.param_groups[0]["betas"]) == (0.8, 0.9)


def test_a_write_that_fails_leaves_the_checkpoint_before_it(tmp_path: Path) -> None:
    module = torch.nn.Linear(300, 300)
    optimiser = torch.optim.AdamW(module.parameters())
    save_step(tmp_path, 1, {"policy": module}, optimiser, keep=1)
    before = module.weight.detach().clone()
    torch.nn.init.zeros_(module.weight)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))  # of 361,200 bytes
    try:
        with pytest.raises(OSError, match=r"checkpoint not written \(.*File too large.*step-00000002"):
            save_step(tmp_path, 2, {"policy": module}, optimiser, keep=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [entry.name for entry in tmp_path.iterdir()] == ["step-00000001"]
    load_step(step_folders(tmp_path)[-1], {"policy": module}, optimiser, "cpu")
    assert torch.equal(module.weight, before)


def test_too_little_room_is_said_before_the_first_step(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1 << 18))
    recipe = parse_recipe(sft_table(data, tmp_path))
    with pytest.raises(OSError, match=r"checkpoints need about \d+ MiB, 0 MiB are free"):
        train(recipe, policy=tiny_policy(), progress=lambda row: pytest.fail("a step was made"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_is_said_with_the_path(data: Path, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.start(parse_recipe(sft_table(data, tmp_path)))
    (folder.path / METRICS).unlink()
    (folder.path / METRICS).symlink_to("/dev/full")
    with pytest.raises(OSError, match=r"No space left on device.*metrics\.jsonl"):
        folder.append(METRICS, [{"step": 1}])


def test_decoding_elsewhere_changes_no_weight(data: Path, tmp_path: Path) -> None:
    policies = []
    for isolate in ("false", "true"):
        table = sft_table(data, tmp_path / isolate, steps=1, checkpoint_every=1) | {"optimiser": {"lr": 3e-3}}
        policy = tiny_policy()
        train(parse_recipe(apply_overrides(table, [f"data.isolate={isolate}"])), policy=policy)
        policies.append(policy.model.state_dict())
    assert all(torch.equal(policies[0][name], policies[1][name]) for name in policies[0])
