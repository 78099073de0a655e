"""Checkpoints and run folders: whole or not at all, and nothing doubled."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest
import torch
from torch import nn

from learn_world import sft_table
from tolman.learn.checkpoint import load_step, save_step, step_folders, write_whole
from tolman.learn.recipe import apply_overrides, parse_recipe
from tolman.learn.run_folder import METRICS, RunFolder


def trained() -> tuple[nn.Linear, torch.optim.AdamW]:
    torch.manual_seed(0)
    layer = nn.Linear(3, 2)
    optimiser = torch.optim.AdamW(layer.parameters(), lr=0.1)
    layer(torch.ones(1, 3)).sum().backward()
    optimiser.step()
    return layer, optimiser


def test_a_checkpoint_gives_everything_back(tmp_path: Path) -> None:
    layer, optimiser = trained()
    path = save_step(tmp_path, 7, {"policy": layer}, optimiser, keep=2)
    fresh = nn.Linear(3, 2)
    fresh_optimiser = torch.optim.AdamW(fresh.parameters(), lr=0.5)
    assert load_step(path, {"policy": fresh}, fresh_optimiser, "cpu") == 7
    assert torch.equal(fresh.weight, layer.weight)
    for one, other in zip(fresh_optimiser.state.values(), optimiser.state.values(), strict=True):
        assert all(torch.equal(one[key], other[key]) for key in other)


def test_only_the_newest_are_kept_in_order(tmp_path: Path) -> None:
    layer, optimiser = trained()
    for step in (9, 10, 100):
        save_step(tmp_path, step, {"policy": layer}, optimiser, keep=2)
    assert [folder.name for folder in step_folders(tmp_path)] == ["step-00000010", "step-00000100"]


@pytest.mark.parametrize(
    "name", ["weights.policy.safetensors", "optimiser.safetensors", "state.json", "manifest.json"]
)
def test_a_damaged_checkpoint_is_refused(tmp_path: Path, name: str) -> None:
    layer, optimiser = trained()
    path = save_step(tmp_path, 1, {"policy": layer}, optimiser, keep=2)
    for damage in (lambda file: file.write_bytes(file.read_bytes()[:-3]), Path.unlink):
        damage(path / name)
        with pytest.raises(ValueError, match=rf"{name}.*remove"):
            load_step(path, {"policy": layer}, optimiser, "cpu")


@pytest.mark.parametrize("manifest", ["{}", "[]", '{"state.json": 1}', "null"])
def test_a_manifest_that_checks_nothing_is_refused(tmp_path: Path, manifest: str) -> None:
    layer, optimiser = trained()
    path = save_step(tmp_path, 1, {"policy": layer}, optimiser, keep=2)
    (path / "manifest.json").write_text(manifest)
    with pytest.raises(ValueError, match=r"step-00000001/.* (manifest|damaged).*remove"):
        load_step(path, {"policy": layer}, optimiser, "cpu")


def test_another_model_is_refused(tmp_path: Path) -> None:
    layer, optimiser = trained()
    path = save_step(tmp_path, 1, {"policy": layer}, optimiser, keep=2)
    with pytest.raises(ValueError, match=r"does not fit the model 'policy'"):
        load_step(path, {"policy": nn.Linear(4, 2)}, optimiser, "cpu")
    with pytest.raises(ValueError, match=r"this run trains \['head', 'policy'\]"):
        load_step(path, {"policy": layer, "head": layer}, optimiser, "cpu")


def test_a_full_disk_leaves_the_old_checkpoint_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "step-00000001"
    write_whole(target, lambda place: (place / "a").write_text("old") and None)

    def fill_up(place: Path) -> None:
        (place / "a").write_text("new, half wri")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match=r"not written \(No space left on device\).*step-00000001"):
        write_whole(target, fill_up)
    assert (target / "a").read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["step-00000001"]


def test_what_a_kill_leaves_behind_is_no_checkpoint(tmp_path: Path) -> None:
    (tmp_path / ".incomplete-step-00000002").mkdir()
    (tmp_path / ".incomplete-step-00000002" / "weights.policy.safetensors").write_text("half")
    assert step_folders(tmp_path) == []
    layer, optimiser = trained()
    save_step(tmp_path, 2, {"policy": layer}, optimiser, keep=1)
    assert [entry.name for entry in tmp_path.iterdir()] == ["step-00000002"]


def test_rows_after_the_checkpoint_and_half_lines_go(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.start(parse_recipe(sft_table(tmp_path, tmp_path)))
    folder.append(METRICS, [{"step": 1, "loss": 2.0}, {"step": 2, "loss": float("nan")}, {"step": 3}])
    with (folder.path / METRICS).open("a") as stream:
        stream.write('{"step": 4, "lo')
    folder.truncate(2)
    assert (folder.path / METRICS).read_text() == '{"step": 1, "loss": 2.0}\n{"step": 2, "loss": null}\n'


def test_runs_are_not_mixed_up(tmp_path: Path) -> None:
    recipe = parse_recipe(sft_table(tmp_path, tmp_path))
    folder = RunFolder(tmp_path / "run")
    with pytest.raises(ValueError, match="nothing to resume"):
        folder.check_same(recipe)
    folder.start(recipe)
    with pytest.raises(ValueError, match=r"exists; continue it with resume"):
        folder.start(recipe)
    other = parse_recipe(apply_overrides(sft_table(tmp_path, tmp_path), ["optimiser.lr=0.5"]))
    with pytest.raises(ValueError, match=r"optimiser.lr was 0.003, is 0.5"):
        folder.check_same(other)
    folder.check_same(parse_recipe(sft_table(tmp_path, tmp_path, checkpoint_every=1)))


def test_too_little_space_is_said_before_training(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="MiB are free"):
        RunFolder(tmp_path).need_space(1 << 62)


def test_an_unwritable_folder_is_said_before_training(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        RunFolder(tmp_path / "file" / "run").start(parse_recipe(sft_table(tmp_path, tmp_path)))


@pytest.mark.skipif(not Path("/sys/kernel").is_dir(), reason="no /sys here, where nobody can make a file")
def test_a_folder_of_checkpoints_that_takes_none_is_said_before_training(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").symlink_to("/sys/kernel")
    with pytest.raises(OSError, match="checkpoints"):
        RunFolder(tmp_path).need_space(0)


def test_manifest_lists_every_file(tmp_path: Path) -> None:
    layer, optimiser = trained()
    path = save_step(tmp_path, 1, {"policy": layer}, optimiser, keep=1)
    assert set(json.loads((path / "manifest.json").read_text())) == {
        "weights.policy.safetensors",
        "optimiser.safetensors",
        "state.json",
    }
