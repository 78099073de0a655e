"""Two runs over the same questions: what changed, how sure that is, and which rows were won and lost."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from scipy.stats import binomtest

from tolman.bench.benchmark import find_benchmark
from tolman.bench.figures import compare, figures_of, task_name
from tolman.bench.score import counted
from tolman.bench.verdict import Row

DRAWS = 10_000
_SAME = ("question", "question_type", "ground_truth", "options")


@dataclass(frozen=True)
class Line:
    """One task, or all of them; percent.

    n: rows that both runs have graded. won, lost: of them, rows that the second run scores higher and lower;
    sign_p: of the exact sign test on them, which is McNemar's exact test where scores are 0 or 1 (and takes
    rows for independent, which those about one clip are not). difference, low, high, p: second - first by
    the bootstrap over clips, None with a single clip.
    """

    n: int
    before: float
    after: float
    won: int
    lost: int
    sign_p: float
    difference: float | None
    low: float | None
    high: float | None
    p: float | None


@dataclass(frozen=True)
class Comparison:
    """overall: averaged as the benchmark has it. tasks: in its order. skipped: rows that one of the runs, or
    both, could not have graded; they count nowhere.
    """

    overall: Line
    tasks: dict[str, Line]
    skipped: int
    draws: int

    def to_json(self) -> dict[str, Any]:
        """The same as plain JSON values."""
        return asdict(self)


def compare_runs(
    before: Sequence[Row],
    after: Sequence[Row],
    benchmark: str = "vsibench",
    *,
    seed: int = 0,
    draws: int = DRAWS,
) -> Comparison:
    """Compare scored rows of the same questions, matched by `id`.

    The bootstrap draws whole clips (`tolman.bench.stats.paired_bootstrap`), the sign test counts rows. Raises
    ValueError where the questions differ: other ids, an id that comes twice, or another question, truth, type
    or options under one id.
    """
    first, second = _by_id(before, "first"), _by_id(after, "second")
    _check_same(first, second)
    graded = {row["id"] for row in counted(before)} & {row["id"] for row in counted(after)}
    if not graded:
        raise ValueError("no row is graded in both runs")
    ids = [identity for identity in first if identity in graded]
    left, right = [first[identity] for identity in ids], [second[identity] for identity in ids]
    moved = compare(left, right, seed=seed, draws=draws, benchmark=benchmark) or {"tasks": {}}
    ends = figures_of(left, benchmark), figures_of(right, benchmark)
    entry = find_benchmark(benchmark)
    tasks = {}
    for task in ends[0].tasks:
        members = [k for k, row in enumerate(left) if task_name(entry, row) == task]
        scores = ends[0].tasks[task].score, ends[1].tasks[task].score
        tasks[task] = _line(
            scores, [left[k] for k in members], [right[k] for k in members], moved["tasks"].get(task)
        )
    overall = _line((ends[0].overall, ends[1].overall), left, right, moved.get("overall"))
    return Comparison(overall, tasks, len(first) - len(ids), draws)


def _by_id(rows: Sequence[Row], which: str) -> dict[Any, Row]:
    found: dict[Any, Row] = {}
    for row in rows:
        if "id" not in row:
            raise ValueError(f"the {which} run has a row without an id, by which rows are matched")
        if row["id"] in found:
            raise ValueError(f"the {which} run has question {row['id']!r} twice")
        found[row["id"]] = row
    return found


def _check_same(first: Mapping[Any, Row], second: Mapping[Any, Row]) -> None:
    alone = [identity for identity in first if identity not in second]
    others = [identity for identity in second if identity not in first]
    if alone or others:
        examples = ", ".join(repr(identity) for identity in [*alone[:2], *others[:2]])
        raise ValueError(
            f"the runs are about different questions: {len(alone)} only in the first, {len(others)} only in "
            f"the second ({examples}); finish or thin out one of them"
        )
    for identity, row in first.items():
        for name in _SAME:
            ours, theirs = row.get(name), second[identity].get(name)
            if name in row and name in second[identity] and ours != theirs:
                raise ValueError(f"question {identity!r}: {name} is {ours!r} and {theirs!r}")


def _line(
    scores: tuple[float, float],
    before: Sequence[Row],
    after: Sequence[Row],
    moved: Mapping[str, float] | None,
) -> Line:
    gains = [second["score"] - first["score"] for first, second in zip(before, after, strict=True)]
    won, lost = sum(gain > 0 for gain in gains), sum(gain < 0 for gain in gains)
    assert not any(math.isnan(gain) for gain in gains)
    sign_p = float(binomtest(won, won + lost).pvalue) if won + lost else 1.0
    known = moved or {}
    bounds = (known.get(name) for name in ("difference", "low", "high", "p"))
    return Line(len(gains), *scores, won, lost, sign_p, *bounds)
