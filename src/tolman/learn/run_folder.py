"""The run folder: recipe.toml, metrics.jsonl, rollouts.jsonl, skipped.jsonl, trackers.json, checkpoints/.

Every row carries the step it belongs to (1-based), so that a resumed run can cut off what was written after
its checkpoint and no row is doubled.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import tempfile
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tolman.learn.recipe import Recipe, parse_recipe, parse_selection, recipe_to_toml
from tolman.learn.sections import Selection

METRICS, ROLLOUTS, SKIPPED = "metrics.jsonl", "rollouts.jsonl", "skipped.jsonl"
TRACKED = "trackers.json"
_FREE_TO_CHANGE = {
    "run.out", "run.threads", "run.checkpoint_every", "run.keep", "run.device", "run.max_skipped",
    "data.isolate", "run.trackers", "run.project", "run.hardware", "distributed.shard",
    "distributed.timeout", "engine.options.address", "engine.options.workers", "engine.options.cpus",
    "engine.options.gpus", "engine.options.timeout", "engine.options.deaths",
}  # fmt: skip


class RunFolder:
    """Rows and folders of one run. `path`: out/name."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = path / "checkpoints"

    def start(self, recipe: Recipe | Selection) -> None:
        """Make a fresh run. ValueError when there is one already, OSError when it cannot be written."""
        if (self.path / METRICS).exists() or self.checkpoints.exists():
            raise ValueError(f"run {self.path} exists; continue it with resume, or give another run.name")
        self.path.mkdir(parents=True, exist_ok=True)
        self.replace("recipe.toml", recipe_to_toml(recipe))  # first: what has a recipe can be resumed
        (self.path / TRACKED).unlink(missing_ok=True)
        self.checkpoints.mkdir()
        for name in (METRICS, ROLLOUTS, SKIPPED):
            (self.path / name).touch()

    def check_same(self, recipe: Recipe | Selection) -> None:
        """Before resuming: the recipe must be the one the run began with.

        What changes no weight (output folder, threads, checkpoint rhythm, device, where clips are decoded,
        trackers) may differ. Raises ValueError naming the first key that differs, or that there is no run.
        """
        file = self.path / "recipe.toml"
        if not file.is_file():
            raise ValueError(f"nothing to resume: {file} is missing")
        parse = parse_selection if isinstance(recipe, Selection) else parse_recipe
        before = _flatten(parse(tomllib.loads(file.read_text(encoding="utf-8")), str(file)))
        now = _flatten(recipe)
        for key in sorted(before.keys() | now.keys()):
            if key not in _FREE_TO_CHANGE and before.get(key) != now.get(key):
                raise ValueError(
                    f"cannot resume {self.path}: {key} was {before.get(key)!r}, is {now.get(key)!r}; "
                    "a resumed run keeps its recipe (start another run to change it)"
                )
        self.replace("recipe.toml", recipe_to_toml(recipe))

    def append(self, name: str, rows: Iterable[Mapping[str, Any]]) -> None:
        """Add rows to a .jsonl of the run; NaN and infinity become null, which JSON can hold.

        Raises OSError naming the file where the disk is full.
        """
        text = "".join(json.dumps(_finite(row), ensure_ascii=False) + "\n" for row in rows)
        if not text:
            return
        try:
            with (self.path / name).open("a", encoding="utf-8") as stream:
                stream.write(text)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self.path / name)) from error

    def flush(self) -> None:
        """Force what was appended to the disk; before a checkpoint, so that no row before it can be lost."""
        for name in (METRICS, ROLLOUTS, SKIPPED):
            with (self.path / name).open("a") as stream:
                os.fsync(stream.fileno())

    def truncate(self, step: int) -> None:
        """Drop every row after `step`, and a last line that a kill cut in half."""
        for name in (METRICS, ROLLOUTS, SKIPPED):
            kept = [line for line, row in self._lines(name) if row["step"] <= step]
            self.replace(name, "".join(f"{line}\n" for line in kept))

    def rows(self, name: str) -> list[dict[str, Any]]:
        """All whole rows of a .jsonl of the run."""
        return [row for _, row in self._lines(name)]

    def need_space(self, needed: int) -> None:
        """Raise OSError before training when the disk cannot hold `needed` bytes of checkpoints, or nothing
        can be written to their folder."""
        free = shutil.disk_usage(self.path).free
        if free < needed:
            raise OSError(
                f"{self.path}: checkpoints need about {needed >> 20} MiB, {free >> 20} MiB are free; "
                "free some space or lower run.keep"
            )
        with tempfile.TemporaryFile(dir=self.checkpoints):
            pass

    def _lines(self, name: str) -> list[tuple[str, dict[str, Any]]]:
        file = self.path / name
        text = file.read_text(encoding="utf-8") if file.exists() else ""
        whole = text[: text.rfind("\n") + 1]  # what follows the last newline was being written at the kill
        return [(line, json.loads(line)) for line in whole.split("\n") if line]

    def replace(self, name: str, text: str) -> None:
        """Write a file of the run whole or not at all. Raises OSError."""
        staging = self.path / f".{name}.incomplete"
        with staging.open("w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        staging.replace(self.path / name)


def _flatten(recipe: Recipe | Selection) -> dict[str, Any]:
    flat: dict[str, Any] = {}

    def walk(prefix: str, value: Any) -> None:
        if isinstance(value, dict):
            for key, entry in value.items():
                walk(f"{prefix}.{key}" if prefix else key, entry)
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            for at, entry in enumerate(value):
                walk(f"{prefix}[{at}]", entry)
        else:
            flat[prefix] = value

    walk("", tomllib.loads(recipe_to_toml(recipe)))
    return flat


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    return value
