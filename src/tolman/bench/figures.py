"""From scored rows to the table people read: per task the score, its error, chance and the best constant
answer.

All figures are percent. Overall is the benchmark's own average, over tasks or over rows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from tolman.bench.benchmark import Benchmark, find_benchmark, row_shares
from tolman.bench.maps import MapFigures, map_figures
from tolman.bench.rules.common import to_number
from tolman.bench.score import counted, find_rule, judge_rows
from tolman.bench.stats import (
    Constant,
    Difference,
    best_letter,
    best_number,
    chance_level,
    clustered_mean,
    paired_bootstrap,
)
from tolman.bench.verdict import Row


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
    """tasks in the benchmark's order; overall and its stderr, over tasks or rows as the benchmark has it;
    micro and macro: both averages, over rows and over tasks; best_constant: the overall average of
    constants.

    total: rows read; denominator: rows that averages are taken over; dropped: rows that the rule leaves out
    of them; unanswered: rows without any answer; ungraded: rows that the rule could not grade; failed: rows
    in which it read no answer (failure_rate: their percentage); guessed: rows whose answer its authors draw
    at random, counted with what the draw earns on average. maps: of the maps drawn on the way, None where no
    row has a true one.
    """

    tasks: dict[str, TaskFigures]
    overall: float
    stderr: float | None
    best_constant: float | None
    micro: float
    macro: float
    total: int
    denominator: int
    dropped: int
    unanswered: int
    ungraded: int
    failed: int
    failure_rate: float
    guessed: int
    maps: MapFigures | None

    def to_json(self) -> dict[str, Any]:
        """The same as plain JSON values."""
        return asdict(self)


def figures_of(rows: Sequence[Row], benchmark: str = "vsibench") -> Figures:
    """The table of scored rows of a benchmark.

    A row has `question_type`, `score` in [0, 1] or NaN, `ground_truth`, `options`, and `clip` or `scene_name`
    (what errors are clustered by; a row with neither is its own cluster), and what else a `Verdict` says.
    Raises ValueError where no row counts.
    """
    entry = find_benchmark(benchmark)
    graded = counted(rows)
    if not graded:
        raise ValueError("no gradable row: there is nothing to average")
    by_task: dict[str, list[Row]] = {task: [] for task in entry.tasks}
    for row in graded:
        by_task.setdefault(task_name(entry, row), []).append(row)
    tasks = {task: _task_figures(entry, members) for task, members in by_task.items() if members}
    overall, micro, macro = (_average(entry, graded, over) for over in (entry.macro, False, True))
    return Figures(
        tasks=tasks,
        overall=overall[0],
        stderr=overall[1],
        best_constant=_overall_constant(entry, tasks),
        micro=micro[0],
        macro=macro[0],
        total=len(rows),
        denominator=len(graded),
        dropped=sum(bool(row.get("dropped")) for row in rows),
        unanswered=sum(bool(row.get("unanswered")) for row in rows),
        ungraded=sum(math.isnan(row["score"]) for row in rows),
        failed=sum(bool(row.get("failed")) for row in rows),
        failure_rate=100 * sum(bool(row.get("failed")) for row in rows) / len(rows),
        guessed=sum(bool(row.get("guessed")) for row in rows),
        maps=map_figures(rows, [cluster_of(row, k) for k, row in enumerate(rows)]),
    )


def strict_figures(rows: Sequence[Row], benchmark: str) -> Figures | None:
    """The strict rule's figures of rows with predictions; None where it can grade no row."""
    judged = judge_rows(rows, find_rule(benchmark, "strict").judge)
    return figures_of(judged, benchmark) if counted(judged) else None


def compare(
    before: Sequence[Row],
    after: Sequence[Row],
    seed: int = 0,
    draws: int = 4000,
    benchmark: str = "vsibench",
) -> dict[str, Any] | None:
    """after - before in percent points with 95 % interval, over the questions (by `id`) graded in both.

    Returns {"overall": {difference, stderr, low, high, p}, "tasks": {task: the same}, "n"}; a task that has a
    single clip is left out, and with a single clip altogether the result is None: its error cannot be known.
    Raises ValueError where no question is shared.
    """
    entry = find_benchmark(benchmark)
    first = {row["id"]: row for row in counted(before)}
    pairs = [(first[row["id"]], row) for row in counted(after) if row["id"] in first]
    if not pairs:
        raise ValueError("the two evaluations share no graded question")
    rng = np.random.default_rng(seed)
    if _clip_count([row for row, _ in pairs]) < 2:
        return None
    names = [task_name(entry, row) for row, _ in pairs]
    order = [*entry.tasks, *(name for name in dict.fromkeys(names) if name not in entry.tasks)]
    tasks = {}
    for task in order:
        members = [pair for pair, name in zip(pairs, names, strict=True) if name == task]
        if _clip_count([row for row, _ in members]) > 1:
            tasks[task] = _difference(entry, members, rng, draws)._asdict()
    return {"overall": _difference(entry, pairs, rng, draws)._asdict(), "tasks": tasks, "n": len(pairs)}


def cluster_of(row: Row, number: int) -> str:
    """What a row shares with others: the clip that its own is a part of, its clip, else its scene, else
    nothing (its number).
    """
    names = ("source_clip", "clip", "scene_name", "scene")
    return str(next((row[name] for name in names if row.get(name)), f"row {number}"))


def task_name(entry: Benchmark, row: Row) -> str:
    """The benchmark's task that a row counts for; `all` where it has none."""
    return entry.task_of(str(row["question_type"])) or "all"


def _task_figures(entry: Benchmark, rows: Sequence[Row]) -> TaskFigures:
    score, stderr = _average(entry, rows, macro=True)
    kinds = list(dict.fromkeys(row["question_type"] for row in rows))
    levels = [[row for row in rows if row["question_type"] == kind] for kind in kinds]
    constants = [_best_constant(entry, level) for level in levels]
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


def _overall_constant(entry: Benchmark, tasks: Mapping[str, TaskFigures]) -> float | None:
    """The tasks' best constants, averaged as the overall figure is; None where a task has none."""
    known = [(line.best_constant, line.n) for line in tasks.values() if line.best_constant is not None]
    if len(known) < len(tasks):
        return None
    return float(
        np.average([one for one, _ in known], weights=None if entry.macro else [n for _, n in known])
    )


def _clip_count(rows: Sequence[Row]) -> int:
    return len({cluster_of(row, k) for k, row in enumerate(rows)})


def _mean_percent(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return 100 * float(np.mean(known)) if known else None


def _average(entry: Benchmark, rows: Sequence[Row], macro: bool) -> tuple[float, float | None]:
    """Percent: the average of rows, over tasks or rows, and its clustered error (None with one cluster)."""
    kinds = [str(row["question_type"]) for row in rows]
    estimate = clustered_mean(
        [row["score"] for row in rows],
        [cluster_of(row, k) for k, row in enumerate(rows)],
        groups_N=kinds if macro else [""] * len(kinds),
        shares_N=row_shares(entry, kinds, macro),
    )
    return 100 * estimate.mean, None if math.isnan(estimate.stderr) else 100 * estimate.stderr


def _best_constant(entry: Benchmark, rows: Sequence[Row]) -> Constant | None:
    """Of numbers, letters, or yes and no; None for other kinds of answers and mixtures."""
    kinds = {entry.kind(row) for row in rows}
    if not all(isinstance(row["ground_truth"], str | int | float) for row in rows):
        return None
    if kinds <= {"choice", "yes or no"}:
        return best_letter([str(row["ground_truth"]) for row in rows])
    if kinds != {"numeric"}:
        return None
    numbers = [to_number(row["ground_truth"]) for row in rows]
    usable = [number for number in numbers if number is not None and math.isfinite(number) and number > 0]
    return best_number(usable) if usable else None


def _difference(
    entry: Benchmark, pairs: Sequence[tuple[Row, Row]], rng: np.random.Generator, draws: int
) -> Difference:
    kinds = [str(row["question_type"]) if entry.macro else "" for row, _ in pairs]
    weights: dict[Any, float] = {}
    for kind, share in zip(kinds, row_shares(entry, kinds, entry.macro), strict=True):
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
    return found.percent()
