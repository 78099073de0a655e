"""Score a file of predictions by a named rule.

A rule is a judge of one row and a way to average; `RULES` is open: `register` adds one, nothing else changes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tolman.bench import strict, vsibench
from tolman.bench.vsibench import Verdict

Aggregate = Callable[[Sequence[str], Sequence[float]], dict[str, float]]
_NEEDED = ("question_type", "ground_truth", "prediction")


@dataclass(frozen=True)
class Rule:
    """How a benchmark reads and averages answers.

    judge: row with question_type, ground_truth, options, prediction → Verdict. aggregate: question types and
    scores → figures in percent, `overall` among them. about: one line for people.
    """

    judge: Callable[[Mapping[str, Any]], Verdict]
    aggregate: Aggregate
    about: str


@dataclass(frozen=True)
class Scored:
    """rows: the input rows with `score`, `extracted` and `reason`. aggregate: figure → percent."""

    rows: list[dict[str, Any]]
    aggregate: dict[str, float]

    @property
    def ungraded(self) -> int:
        """Rows that could not be graded (score NaN); they count in no average."""
        return sum(math.isnan(row["score"]) for row in self.rows)


RULES: dict[tuple[str, str], Rule] = {}


def register(benchmark: str, rule: str, entry: Rule) -> None:
    """Add a rule. Raises ValueError where the name is taken."""
    if (benchmark, rule) in RULES:
        raise ValueError(f"benchmark {benchmark!r} has a rule {rule!r} already")
    RULES[benchmark, rule] = entry


def find_rule(benchmark: str, rule: str) -> Rule:
    """The rule of that name. Raises ValueError listing what exists."""
    if (benchmark, rule) in RULES:
        return RULES[benchmark, rule]
    names = sorted({name for name, _ in RULES})
    if benchmark not in names:
        raise ValueError(f"no benchmark {benchmark!r}; there are: {', '.join(names)}")
    rules = sorted(other for name, other in RULES if name == benchmark)
    raise ValueError(f"benchmark {benchmark!r} has no rule {rule!r}; it has: {', '.join(rules)}")


def score_rows(rows: Sequence[Mapping[str, Any]], benchmark: str, rule: str) -> Scored:
    """Judge every row and average.

    A row needs `question_type`, `ground_truth`, `prediction` (None: no answer) and, for multiple choice,
    `options`. Raises ValueError for unknown names, no rows, and a row that lacks a field (its number and id
    are named).
    """
    entry = find_rule(benchmark, rule)
    judged = []
    for number, row in enumerate(rows, 1):
        missing = [name for name in _NEEDED if name not in row]
        if missing:
            raise ValueError(f"row {number} (id {row.get('id', '?')}) lacks {', '.join(missing)}")
        judged.append(dict(row) | entry.judge(row)._asdict())
    kinds = [row["question_type"] for row in judged]
    return Scored(judged, entry.aggregate(kinds, [row["score"] for row in judged]))


register(
    "vsibench",
    "official",
    Rule(
        vsibench.official,
        vsibench.aggregate,
        "the benchmark's own: the text before the first blank is the answer",
    ),
)
register(
    "vsibench",
    "strict",
    Rule(
        strict.judge,
        vsibench.aggregate,
        "ours: the last <answer>, letters and numbers read with care, no guesses",
    ),
)
