"""A run's trackers: fed with the rows of metrics.jsonl, never with a step twice, and never fatal to a run.

trackers.json in the run folder says what each tracker calls the run and the last step that it was given. The
step is noted before the tracker gets it, so that a kill in between leaves a point out rather than doubling
it. A resumed run gives each tracker the rows that it has not had, also one that the recipe did not name
before. Steps that are run again after a kill are not given again: no tracker but TensorBoard could take the
first ones back, and on a CPU they are the same.
"""

from __future__ import annotations

import importlib
import json
import math
import warnings
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from importlib.util import find_spec
from types import TracebackType
from typing import Any

from tolman.learn.config import to_table
from tolman.learn.recipe import Recipe
from tolman.learn.registry import TRACKERS
from tolman.learn.run_folder import TRACKED, RunFolder
from tolman.learn.trackers import Opening, Tracker


def check_trackers(recipe: Recipe) -> None:
    """Raise ValueError where a tracker that the recipe names is not installed."""
    for name in recipe.run.trackers:
        spec = find_spec(name)
        if spec is None or spec.origin is None:  # none: a mere folder of that name, as W&B leaves behind
            raise ValueError(
                f"run.trackers names {name!r}, which is not installed: pip install {name}, or take it out"
            )


class Trackers(AbstractContextManager["Trackers"]):
    """The trackers that the recipe names, open until the block ends.

    missed: how many steps each was not given because it failed. That is said at the first failure and, with
    the number, at the end. Entering raises ValueError naming a tracker that cannot be opened and why.
    """

    def __init__(self, recipe: Recipe, folder: RunFolder) -> None:
        self._recipe, self._folder = recipe, folder
        self._open: dict[str, Tracker] = {}
        self._state: dict[str, Any] = {}
        self.missed: dict[str, int] = {}

    def __enter__(self) -> Trackers:
        file = self._folder.path / TRACKED
        if file.is_file():
            self._state = json.loads(file.read_text(encoding="utf-8"))
        for name in self._recipe.run.trackers:
            known = self._state.get(name, {"run": "", "step": 0})
            try:
                tracker = self._start(name, known["run"])
            except Exception as error:  # whatever it is, it is the tracker's
                self._close(done=False)
                raise ValueError(
                    f"{name} of run.trackers cannot be opened: {_line(error)}; put that right, or take it "
                    "out (--run.trackers '[]'), and go on with --resume"
                ) from error
            self._open[name], self.missed[name] = tracker, 0
            self._state[name] = {"run": tracker.run, "step": known["step"]}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close(done=kind is None)

    def log(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Give each tracker those of the rows that it has not had. Raises OSError where trackers.json cannot
        be written, and nothing that a tracker raises.
        """
        for row in rows:
            step = int(row["step"])
            before = {name: self._state[name]["step"] for name in self._open}
            waiting = [name for name in self._open if before[name] < step]
            if not waiting:
                continue
            self._note(dict.fromkeys(waiting, step))
            failed = [name for name in waiting if not self._give(name, step, finite_numbers(row))]
            if failed:
                self._note({name: before[name] for name in failed})

    def _start(self, name: str, run: str) -> Tracker:
        module, _, kind = TRACKERS[name].partition(":")
        path, settings = self._folder.path, self._recipe.run
        opening = Opening(path, "/".join(path.parts[-2:]), settings.project, to_table(self._recipe), run)
        tracker: Tracker = getattr(importlib.import_module(module), kind)(opening)
        return tracker

    def _note(self, steps: Mapping[str, int]) -> None:
        for name, step in steps.items():
            self._state[name]["step"] = step
        self._folder.replace(TRACKED, json.dumps(self._state))

    def _give(self, name: str, step: int, values: Mapping[str, float]) -> bool:
        try:
            self._open[name].log(step, values)
        except Exception as error:  # a tracker's fault, whatever it is, must not cost a run
            if not self.missed[name]:
                warnings.warn(
                    f"{name} did not take step {step}: {_line(error)}. The run goes on, metrics.jsonl has "
                    "every row; further steps it does not take are counted",
                    stacklevel=2,
                )
            self.missed[name] += 1
            return False
        return True

    def _close(self, done: bool) -> None:
        for name, tracker in self._open.items():
            try:
                tracker.close(done)
            except Exception as error:  # as above; the run is over and safe
                warnings.warn(f"{name} could not be closed: {_line(error)}", stacklevel=2)
            if self.missed[name]:
                warnings.warn(
                    f"{name} lacks {self.missed[name]} steps that it did not take; metrics.jsonl has them",
                    stacklevel=2,
                )
        self._open = {}


def finite_numbers(row: Mapping[str, Any]) -> dict[str, float]:
    """What of a row a tracker gets: everything but the step that is a finite number."""
    return {
        name: float(value)
        for name, value in row.items()
        if name != "step"
        and isinstance(value, int | float)
        and not isinstance(value, bool)
        and math.isfinite(value)
    }


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
