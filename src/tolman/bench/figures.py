"""From scored rows to the table people read: per task the score, its error, chance and the best constant
answer.

All figures are percent. Overall is VSI-Bench's macro average over tasks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from tolman.bench.stats import (
    Constant,
    Difference,
    best_letter,
    best_number,
    chance_level,
    clustered_mean,
    paired_bootstrap,
)
from tolman.bench.vsibench import NUMERICAL, TASKS, row_shares, task_of, to_number

Row = Mapping[str, Any]


@dataclass(frozen=True)
class TaskFigures:
    """One line of the table, in percent.

    stderr is clustered by clip (None with one clip). chance: uniform guessing, None for numerical tasks.
    best_constant: what always giving `best_answer` would score on these rows, chosen knowing them (None where
    no truth is usable); for the direction task the mean over its levels, each with its own letter.
    """

    n: int
    clips: int
    score: float
    stderr: float | None
    chance: float | None
    best_constant: float | None
    best_answer: str


@dataclass(frozen=True)
class Figures:
    """tasks in the benchmark's order; overall and its stderr; best_constant: the same macro average of
    constants.

    total: rows read; unanswered: rows without any answer; ungraded: rows that the rule could not grade and
    that count in no average.
    """

    tasks: dict[str, TaskFigures]
    overall: float
    stderr: float | None
    best_constant: float | None
    total: int
    unanswered: int
    ungraded: int

    def to_json(self) -> dict[str, Any]:
        """The same as plain JSON values."""
        return asdict(self)


def figures_of(rows: Sequence[Row]) -> Figures:
    """The table of scored rows.

    A row has `question_type`, `score` in [0, 1] or NaN, `ground_truth`, `options`, and `clip` or `scene_name`
    (what errors are clustered by; a row with neither is its own cluster). Raises ValueError where no row is
    graded.
    """
    graded = [row for row in rows if not math.isnan(row["score"])]
    if not graded:
        raise ValueError("no gradable row: there is nothing to average")
    by_task: dict[str, list[Row]] = {task: [] for task in TASKS}
    for row in graded:
        by_task[task_of(row["question_type"])].append(row)
    tasks = {task: _task_figures(task, members) for task, members in by_task.items() if members}
    overall = _macro(graded)
    constants = [figures.best_constant for figures in tasks.values()]
    known = [constant for constant in constants if constant is not None]
    return Figures(
        tasks=tasks,
        overall=overall[0],
        stderr=overall[1],
        best_constant=float(np.mean(known)) if len(known) == len(constants) else None,
        total=len(rows),
        unanswered=sum(bool(row.get("unanswered")) for row in rows),
        ungraded=len(rows) - len(graded),
    )


def compare(
    before: Sequence[Row], after: Sequence[Row], seed: int = 0, draws: int = 4000
) -> dict[str, Any] | None:
    """after - before in percent points with 95 % interval, over the questions (by `id`) graded in both.

    Returns {"overall": {difference, stderr, low, high}, "tasks": {task: the same}, "n"}; a task that has a
    single clip is left out, and with a single clip altogether the result is None: its error cannot be known.
    Raises ValueError where no question is shared.
    """
    first = {row["id"]: row for row in before if not math.isnan(row["score"])}
    pairs = [(first[row["id"]], row) for row in after if row["id"] in first and not math.isnan(row["score"])]
    if not pairs:
        raise ValueError("the two evaluations share no graded question")
    rng = np.random.default_rng(seed)
    if _clip_count([row for row, _ in pairs]) < 2:
        return None
    tasks = {}
    for task in TASKS:
        members = [pair for pair in pairs if task_of(pair[0]["question_type"]) == task]
        if _clip_count([row for row, _ in members]) > 1:
            tasks[task] = _difference(members, rng, draws)._asdict()
    return {"overall": _difference(pairs, rng, draws)._asdict(), "tasks": tasks, "n": len(pairs)}


def cluster_of(row: Row, number: int) -> str:
    """What a row shares with others: its clip, else its scene, else nothing (its number)."""
    return str(row.get("clip") or row.get("scene_name") or row.get("scene") or f"row {number}")


def _task_figures(task: str, rows: Sequence[Row]) -> TaskFigures:
    score, stderr = _macro(rows)
    kinds = list(dict.fromkeys(row["question_type"] for row in rows))
    levels = [[row for row in rows if row["question_type"] == kind] for kind in kinds]
    constants = [_best_constant(task, level) for level in levels]
    known = [constant for constant in constants if constant is not None]
    chances = [chance_level([row.get("options") for row in level]) for level in levels]
    return TaskFigures(
        n=len(rows),
        clips=_clip_count(rows),
        score=score,
        stderr=stderr,
        chance=_mean_percent(chances),
        best_constant=_mean_percent([constant.score for constant in known]) if known else None,
        best_answer="/".join(constant.answer for constant in known),
    )


def _clip_count(rows: Sequence[Row]) -> int:
    return len({cluster_of(row, k) for k, row in enumerate(rows)})


def _mean_percent(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return 100 * float(np.mean(known)) if known else None


def _macro(rows: Sequence[Row]) -> tuple[float, float | None]:
    """Percent: the macro average of rows and its clustered error (None with one cluster)."""
    kinds = [row["question_type"] for row in rows]
    estimate = clustered_mean(
        [row["score"] for row in rows],
        [cluster_of(row, k) for k, row in enumerate(rows)],
        groups_N=kinds,
        shares_N=row_shares(kinds),
    )
    return 100 * estimate.mean, None if math.isnan(estimate.stderr) else 100 * estimate.stderr


def _best_constant(task: str, rows: Sequence[Row]) -> Constant | None:
    if task not in NUMERICAL:
        return best_letter([str(row["ground_truth"]) for row in rows])
    numbers = [to_number(row["ground_truth"]) for row in rows]
    usable = [number for number in numbers if number is not None and math.isfinite(number) and number > 0]
    return best_number(usable) if usable else None


def _difference(pairs: Sequence[tuple[Row, Row]], rng: np.random.Generator, draws: int) -> Difference:
    kinds = [row["question_type"] for row, _ in pairs]
    weights: dict[Any, float] = {}
    for kind, share in zip(kinds, row_shares(kinds), strict=True):
        weights[kind] = weights.get(kind, 0.0) + float(share)
    found = paired_bootstrap(
        [row["score"] for row, _ in pairs],
        [row["score"] for _, row in pairs],
        [cluster_of(row, k) for k, (row, _) in enumerate(pairs)],
        rng,
        groups_N=kinds,
        group_weights=weights,
        draws=draws,
    )
    return Difference(*(100 * value for value in found))
