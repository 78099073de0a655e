"""Checkpoints that are whole or not there at all.

A checkpoint is a folder `step-00000120` holding its files and `manifest.json` with their SHA-256. It is
written under a temporary name, flushed to disk and renamed, so that a kill at any moment leaves either the
old state or the new one. Random states are not stored because there are none: every random choice of a run is
a pure function of (seed, step) (`tolman.learn.seeds`).
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

MANIFEST = "manifest.json"
_STAGING = ".incomplete-"


def write_whole(target: Path, writer: Callable[[Path], None]) -> None:
    """Let `writer` fill a fresh folder, add a manifest, flush, and rename it to `target` (replacing an old
    one).

    Raises OSError naming the path when the disk is full or not writable; then nothing is left behind.
    """
    staging = target.with_name(f"{_STAGING}{target.name}")
    try:
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(parents=True)
        writer(staging)
        manifest = {str(file.relative_to(staging)): _sha256(file) for file in _files(staging)}
        (staging / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
        for file in _files(staging):
            _flush(file)
        _flush(staging)
        if target.exists():
            shutil.rmtree(target)
        staging.rename(target)
        _flush(target.parent)
    except OSError as error:
        shutil.rmtree(staging, ignore_errors=True)
        raise OSError(error.errno, f"checkpoint not written ({error.strerror})", str(target)) from error
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise


def verify(folder: Path) -> None:
    """Check a checkpoint against its manifest; ValueError naming the file that is missing or changed."""
    advice = f"remove {folder} to resume from the checkpoint before it"
    manifest = folder / MANIFEST
    try:
        digests = json.loads(manifest.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError) as error:
        raise ValueError(f"{manifest} is missing or damaged ({error}); {advice}") from error
    for name, digest in digests.items():
        file = folder / name
        if not file.is_file() or _sha256(file) != digest:
            raise ValueError(f"{file} is missing or damaged; {advice}")


def save_step(
    folder: Path,
    step: int,
    modules: Mapping[str, torch.nn.Module],
    optimiser: torch.optim.Optimizer,
    keep: int,
    state: Mapping[str, Any] | None = None,
) -> Path:
    """Write the state after `step` finished steps and drop all but the newest `keep` checkpoints.

    state: what the objective carries from step to step, in values JSON can hold.
    """
    target = folder / f"step-{step:08d}"

    def writer(staging: Path) -> None:
        weights = {name: module.state_dict() for name, module in modules.items()}
        torch.save(weights, staging / "weights.pt")
        torch.save(optimiser.state_dict(), staging / "optimiser.pt")
        (staging / "state.json").write_text(
            json.dumps({"step": step, "objective": dict(state or {})}), encoding="utf-8"
        )

    write_whole(target, writer)
    for old in step_folders(folder)[:-keep]:
        shutil.rmtree(old)
    return target


def load_step(
    checkpoint: Path,
    modules: Mapping[str, torch.nn.Module],
    optimiser: torch.optim.Optimizer,
    device: str,
    state: dict[str, Any] | None = None,
) -> int:
    """Restore weights, optimiser and the objective's `state` in place; returns the finished steps.

    Raises ValueError for a damaged checkpoint or one of another model.
    """
    verify(checkpoint)
    weights: dict[str, Any] = torch.load(checkpoint / "weights.pt", map_location=device, weights_only=True)
    if set(weights) != set(modules):
        raise ValueError(f"{checkpoint} holds {sorted(weights)}, this run trains {sorted(modules)}")
    for name, module in modules.items():
        try:
            module.load_state_dict(weights[name])
        except RuntimeError as error:
            raise ValueError(f"{checkpoint} does not fit the model {name!r}: {error}") from error
    optimiser.load_state_dict(torch.load(checkpoint / "optimiser.pt", map_location=device, weights_only=True))
    saved = json.loads((checkpoint / "state.json").read_text(encoding="utf-8"))
    if state is not None:
        state.clear()
        state.update(saved.get("objective", {}))  # checkpoints of before there was any have none
    return int(saved["step"])


def step_folders(folder: Path) -> list[Path]:
    """The whole checkpoints of a run, oldest first (a folder still being written has another name)."""
    return sorted(folder.glob("step-*")) if folder.is_dir() else []


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.is_file())


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
