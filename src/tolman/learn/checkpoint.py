"""Checkpoints that are whole or not there at all.

A checkpoint is a folder `step-00000120` holding its files and `manifest.json` with their SHA-256: tensors in
safetensors, everything else in JSON, so that loading one runs no code. It is written under a temporary name,
flushed to disk and renamed, so that a kill at any moment leaves either the old state or the new one. Random
states are not stored because there are none: every random choice of a run is a pure function of (seed, step)
(`tolman.learn.seeds`).
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from safetensors.torch import load_file, load_model, save_file, save_model

from tolman.learn.processes import current
from tolman.learn.sharding import gathered, is_split, load_whole, split_like, whole_state
from tolman.policy.adapters import adapter_weights
from tolman.policy.disk import disk_errors

MANIFEST = "manifest.json"
_STAGING = ".incomplete-"
_OPTIMISER, _STATE = "optimiser.safetensors", "state.json"


def write_whole(target: Path, writer: Callable[[Path], None]) -> None:
    """Let `writer` fill a fresh folder, add a manifest, flush, and rename it to `target` (replacing an old
    one).

    Raises OSError naming the path when the disk is full or not writable; then nothing is left behind.
    """
    staging = target.with_name(f"{_STAGING}{target.name}")
    with disk_errors("checkpoint", target):
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
        except BaseException:
            shutil.rmtree(staging, ignore_errors=True)
            raise


def verify(folder: Path) -> None:
    """Check a checkpoint against its manifest; ValueError naming the file that is missing, changed or not
    listed, so that nothing is read unchecked."""
    advice = f"remove {folder} to resume from the checkpoint before it"
    manifest = folder / MANIFEST
    try:
        digests = json.loads(manifest.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError) as error:
        raise ValueError(f"{manifest} is missing or damaged ({error}); {advice}") from error
    if not isinstance(digests, dict):
        raise ValueError(f"{manifest} is damaged (no object); {advice}")
    for name, digest in digests.items():
        file = folder / name
        if not file.is_file() or _sha256(file) != digest:
            raise ValueError(f"{file} is missing or damaged; {advice}")
    present = {str(file.relative_to(folder)) for file in _files(folder) if not file.name.startswith(".")}
    if unlisted := sorted(present - {MANIFEST, *digests}):
        raise ValueError(f"{folder / unlisted[0]} is not in the manifest; {advice}")


def save_step(
    folder: Path,
    step: int,
    modules: Mapping[str, torch.nn.Module],
    optimiser: torch.optim.Optimizer,
    keep: int,
    state: Mapping[str, Any] | None = None,
    base: str = "",
) -> Path:
    """Write the state after `step` finished steps and drop all but the newest `keep` checkpoints.

    Of a module with adapters only these are written. state: what the objective carries from step to step, in
    values JSON can hold. base: `bit_sums` of the weights that are not written. All processes must call it;
    the first writes, the same files whether weights are split over processes or not.
    """
    target = folder / f"step-{step:08d}"
    weights = {name: adapter_weights(module) or whole_state(module) for name, module in modules.items()}
    tensors, rest = _split(optimiser.state_dict())
    if not current().first:
        return target

    def writer(staging: Path) -> None:
        for name, tensors_of in weights.items():
            module: Any = SimpleNamespace(state_dict=tensors_of.copy)  # all that save_model asks of one
            save_model(module, str(staging / _weights(name)))
        save_file(tensors, staging / _OPTIMISER)
        saved = {"step": step, "modules": sorted(modules), "optimiser": rest, "objective": dict(state or {})}
        saved["base"] = base
        (staging / _STATE).write_text(json.dumps(saved), encoding="utf-8")

    write_whole(target, writer)
    prune(folder, keep)
    return target


def prune(folder: Path, keep: int) -> None:
    """Drop all but the newest `keep` checkpoints."""
    for old in step_folders(folder)[:-keep]:
        shutil.rmtree(old)


def clear_up(folder: Path, keep: int) -> None:
    """Drop what a kill left: a checkpoint too many, folders half written (`save_policy` names them after
    their process, so that no later one writes over them)."""
    prune(folder, keep)
    for left in (*folder.glob(f"{_STAGING}*"), *folder.glob(".final.*")):
        shutil.rmtree(left)


def load_step(
    checkpoint: Path,
    modules: Mapping[str, torch.nn.Module],
    optimiser: torch.optim.Optimizer,
    device: str,
    state: dict[str, Any] | None = None,
    base: str = "",
) -> int:
    """Restore weights, optimiser and the objective's `state` in place; returns the finished steps.

    Each process takes its share where weights are split. Raises ValueError for a damaged checkpoint, one of
    another model, or one of adapters on other weights than `base` says.
    """
    verify(checkpoint)
    saved = json.loads((checkpoint / _STATE).read_text(encoding="utf-8"))
    if saved["modules"] != sorted(modules):
        raise ValueError(f"{checkpoint} holds {saved['modules']}, this run trains {sorted(modules)}")
    if saved.get("base", "") != base:
        raise ValueError(f"{checkpoint} holds adapters of other weights than model.path has now")
    for name, module in modules.items():
        try:
            _load_weights(module, checkpoint / _weights(name), device)
        except RuntimeError as error:
            raise ValueError(f"{checkpoint} does not fit the model {name!r}: {error}") from error
    tensors = {name: value.clone() for name, value in load_file(checkpoint / _OPTIMISER).items()}
    joined = _joined(tensors, saved["optimiser"])  # of clones: the file may go, and its room
    trained = [weight for group in optimiser.param_groups for weight in group["params"]]
    for number, entries in joined["state"].items():
        for key, value in entries.items():
            if isinstance(value, torch.Tensor):
                entries[key] = split_like(value, trained[number])
    optimiser.load_state_dict(joined)
    if state is not None:
        state.clear()
        state.update(saved["objective"])
    return int(saved["step"])


def _load_weights(module: torch.nn.Module, file: Path, device: str) -> None:
    """Fill a module, or its adapters alone where it has some. Raises RuntimeError where names or shapes do
    not fit."""
    own = adapter_weights(module)
    if not own:
        if is_split(module):
            load_whole(module, load_file(file))
        else:
            load_model(module, file, device=device)
        return
    given = load_file(file)
    if shapes_of(given) != shapes_of(own):
        wrong = sorted(set(shapes_of(given).items()) ^ set(shapes_of(own).items()))
        raise RuntimeError(f"its adapters are others, {wrong[0][0]} among them")
    for name, weight in own.items():
        weight.copy_(given[name])


def shapes_of(weights: Mapping[str, torch.Tensor]) -> dict[str, tuple[int, ...]]:
    """The weights' shapes by name."""
    return {name: tuple(weight.shape) for name, weight in weights.items()}


def bit_sums(weights: Iterable[torch.Tensor]) -> str:
    """A digest, in hexadecimal, of each weight's bits added up as whole numbers."""
    bits = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    sums = [
        int(weight.detach().view(bits[weight.element_size()]).sum(dtype=torch.int64)) for weight in weights
    ]
    return hashlib.sha256(repr(sums).encode()).hexdigest()


def _weights(name: str) -> str:
    return f"weights.{name}.safetensors"


def _split(state: Mapping[str, Any]) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """An optimiser's state as tensors, named `number.key`, and the rest, which JSON can hold."""
    tensors, scalars = {}, {}
    for number, entries in state["state"].items():
        for key, value in entries.items():
            if isinstance(value, torch.Tensor):
                tensors[f"{number}.{key}"] = gathered(value).contiguous()
            else:
                scalars[f"{number}.{key}"] = value
    return tensors, {"scalars": scalars, "groups": state["param_groups"]}


def _joined(tensors: Mapping[str, torch.Tensor], rest: Mapping[str, Any]) -> dict[str, Any]:
    """What `_split` split."""
    state: dict[int, dict[str, Any]] = {}
    for name, value in {**tensors, **rest["scalars"]}.items():
        number, _, key = name.partition(".")
        state.setdefault(int(number), {})[key] = value
    return {"state": state, "param_groups": rest["groups"]}


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
