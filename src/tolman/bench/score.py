"""Score a file of predictions by a named rule of a benchmark."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tolman.bench import strict
from tolman.bench.benchmark import Aggregate, Benchmark, Judge, Rule, find_benchmark, plain_name, rule_names
from tolman.bench.rules import averages
from tolman.bench.verdict import Row, Verdict
from tolman.bench.vsibench import UNITS
from tolman.reward.judge import Judge as Model

_ROWS = re.compile(r"_?(?:log(?:_.*)?|full\d*)$")
_NEEDED = ("question_type", "ground_truth", "prediction")


@dataclass(frozen=True)
class Scored:
    """rows: the input rows with the fields of a `Verdict`. aggregate: figures as the peer prints them,
    `overall` in percent; `total` and `answered` count rows. rule: the rule's own name.
    """

    rows: list[dict[str, Any]]
    aggregate: dict[str, float]
    rule: str

    @property
    def ungraded(self) -> int:
        """Rows that could not be graded (score NaN); they count in no average."""
        return sum(math.isnan(row["score"]) for row in self.rows)


def find_rule(benchmark: str, rule: str) -> Rule:
    """The rule of that name; `official` is the authors' own or the one they point at. Raises ValueError
    listing what exists.
    """
    entry = find_benchmark(benchmark)
    name = own_name(entry, rule)
    return Rule(strict_judge(entry), strict_average(entry), "ours") if name == "strict" else entry.rules[name]


def own_name(benchmark: Benchmark, rule: str) -> str:
    """The name a benchmark's rule has in the registry. Raises ValueError listing what exists.

    What a name says about rows from `log` or `full` on (`official_log_gpt`) is no part of the rule's name.
    """
    name = _ROWS.sub("", plain_name(rule)) or "official"
    if name == "official" and benchmark.official in benchmark.rules:
        name = benchmark.official
    if name not in benchmark.rules and name != "strict":
        known = ", ".join(rule_names(benchmark))
        raise ValueError(f"benchmark {benchmark.name!r} has no rule {rule!r}; it has: {known}")
    return name


def strict_judge(benchmark: Benchmark) -> Judge:
    """The rule that is the same for every benchmark, for its kinds of answers."""
    return lambda row: strict.judge(row, benchmark.kind(row), _unit(row))


def strict_average(benchmark: Benchmark) -> Aggregate:
    """The benchmark's own way to average where it has a rule by that name, else by question type."""
    official = benchmark.rules.get("official")
    return official.aggregate if official and benchmark.macro else averages.by_type


def score_rows(rows: Sequence[Row], benchmark: str, rule: str, model: Model | None = None) -> Scored:
    """Judge every row and average those that are graded and not dropped.

    A row needs `question_type`, `ground_truth`, `prediction` (None: no answer) and, for multiple choice,
    `options`. model: who is asked by a rule that asks one. Raises ValueError for unknown names, no rows, and
    a row that lacks a field (its number and id are named).
    """
    entry = find_rule(benchmark, rule)
    if entry.asks is not None and model is not None:
        entry = replace(entry, judge=entry.asks(model))
    judged = judge_rows(rows, entry.judge)
    kept = counted(judged)
    if not kept:
        raise ValueError("no gradable row: there is nothing to average")
    figures = dict(entry.aggregate(kept)) | {"answered": float(len(kept)), "total": float(len(judged))}
    return Scored(judged, figures, own_name(find_benchmark(benchmark), rule))


def judge_rows(rows: Sequence[Row], judge: Judge) -> list[dict[str, Any]]:
    """The rows with the fields of their verdicts. Raises ValueError as `score_rows` does."""
    judged = []
    for number, row in enumerate(rows, 1):
        missing = [name for name in _NEEDED if name not in row]
        if missing:
            raise ValueError(f"row {number} (id {row.get('id', '?')}) lacks {', '.join(missing)}")
        judged.append(dict(row) | _judged(judge, row, number)._asdict())
    return judged


def counted(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The rows that averages are taken over: graded, and not dropped by the rule."""
    return [row for row in rows if not row.get("dropped") and not math.isnan(row["score"])]


def _judged(judge: Judge, row: Row, number: int) -> Verdict:
    try:
        return judge(row)
    except (ValueError, KeyError, TypeError, IndexError) as error:
        known = isinstance(error, ValueError)
        what = str(error) if known else f"cannot be scored ({type(error).__name__}: {error})"
        raise ValueError(f"row {number} (id {row.get('id', '?')}): {what}") from error


def _unit(row: Row) -> str:
    return str(row.get("answer_unit") or UNITS.get(str(row["question_type"]), ""))
