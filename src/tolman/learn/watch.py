"""What a run should tell whoever waits for it: that it learns nothing, or that a step does not end."""

from __future__ import annotations

import statistics
import sys
import threading
import time
import traceback
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

Metrics = Mapping[str, float]
STEPS = 10


class Sign(NamedTuple):
    """Something that a step's metrics show and that should not last. advice: what is said when it does."""

    shows: Callable[[Metrics], bool]
    advice: str


def _ungraded(metrics: Metrics) -> bool:
    return metrics.get("ungraded", 0) > 0 and "reward" not in metrics


SIGNS = (
    Sign(
        lambda metrics: metrics.get("zero_signal") == 1 and not _ungraded(metrics),
        "every group's completions earned the same (zero_signal 1): nothing is learnt. See rollouts.jsonl; "
        "raise sampling.temperature or sampling.group, take questions that the policy sometimes answers, or "
        "add a reward with degrees",
    ),
    Sign(
        _ungraded,
        "no completion could be graded (ungraded): nothing is learnt. The reasons are in rollouts.jsonl; is "
        "the judge there?",
    ),
    Sign(
        lambda metrics: metrics.get("finished") == 0,
        "no completion came to an end by itself (finished 0). See rollouts.jsonl: where they are cut short, "
        "raise sampling.max_new_tokens; where they go round in circles, lower optimiser.lr or "
        "sampling.temperature, or train the format first",
    ),
)


class Watch:
    """Notices signs that last. steps: in a row before a sign is spoken of; None: STEPS."""

    def __init__(self, steps: int | None = None) -> None:
        self.steps = STEPS if steps is None else steps
        self._streaks = [0] * len(SIGNS)

    def see(self, metrics: Metrics) -> list[str]:
        """A step's metrics; returns what to warn of, once for each time that `steps` of them are full."""
        self._streaks = [
            streak + 1 if sign.shows(metrics) else 0
            for sign, streak in zip(SIGNS, self._streaks, strict=True)
        ]
        return [
            f"in the last {self.steps} steps {sign.advice}"
            for sign, streak in zip(SIGNS, self._streaks, strict=True)
            if streak == self.steps
        ]


class StallWatch:
    """Warns while a step takes far longer than those before it: a judge, a disk or a process that hangs.

    A step that hangs runs no code of ours, so a thread beside it waits. factor: times the median of the last
    steps, and at least `least` seconds; first: seconds for the first step, which may compile. Nothing is
    stopped: what hangs may come back, and --resume loses nothing before the last checkpoint.
    """

    def __init__(self, factor: float = 20.0, least: float = 600.0, first: float = 1800.0) -> None:
        self.factor, self.least, self.first = factor, least, first
        self._seconds: deque[float] = deque(maxlen=50)

    @property
    def limit(self) -> float:
        """Seconds that the next step may take in silence."""
        if not self._seconds:
            return self.first
        return max(self.least, self.factor * statistics.median(self._seconds))

    @contextmanager
    def step(self, number: int) -> Iterator[None]:
        """Around a step. number: 1-based."""
        limit = self.limit
        timer = threading.Timer(limit, self._warn, (number, limit, threading.get_ident()))
        timer.daemon = True
        timer.start()
        began = time.monotonic()
        try:
            yield
        finally:
            timer.cancel()
        self._seconds.append(time.monotonic() - began)

    def _warn(self, number: int, limit: float, thread: int) -> None:
        usual = f", the steps before {statistics.median(self._seconds):.3g} s" if self._seconds else ""
        warnings.warn(
            f"step {number} has taken more than {limit:.3g} s{usual}. It is at {_place(thread)}. If it does "
            "not come back, stop the run and go on with --resume",
            stacklevel=1,
        )


def _place(thread: int) -> str:
    """Where a thread is: its last calls, the innermost first."""
    frame = sys._current_frames().get(thread)
    calls = traceback.extract_stack(frame)[-4:] if frame is not None else []
    return " < ".join(f"{call.name} ({call.filename}:{call.lineno})" for call in reversed(calls)) or "its end"
