"""What rows published by others leave out, worked out from what they say."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any, NamedTuple

from tolman.questions.common import inline_options
from tolman.reward.letters import read_letter
from tolman.reward.numbers import read_number

_TAIL = re.compile(r"\n\s*options\s*:", re.IGNORECASE)
_TAGS = re.compile(r"<answer>.*</answer>", re.DOTALL)


class Completed(NamedTuple):
    """A row with what it lacked, and what that was, in words."""

    row: dict[str, Any]
    added: list[str]


def complete_row(row: dict[str, Any]) -> Completed:
    """Give a row options, problem type and answer tags where it has none.

    Options are read from the end of the problem (SpaceR's early file), which then ends before them. A row
    without `problem_type` is multiple choice with options, numerical with a number as answer, free-form
    otherwise; one that says numerical but whose answer is the letter of an option is multiple choice. A
    solution without answer tags is the answer. Nothing else is touched.
    """
    problem, solution = row.get("problem"), row.get("solution")
    if not isinstance(problem, str) or not isinstance(solution, str):
        return Completed(row, [])  # the reader says what is wrong with it
    row, added = dict(row), []
    if not row.get("options") and (options := inline_options(problem)):
        row |= {"options": list(options), "problem": _TAIL.split(problem, maxsplit=1)[0]}
        added.append("options from the problem")
    if not _TAGS.search(solution):
        row["solution"] = f"<answer>{solution.strip()}</answer>"
        added.append("answer tags")
    if kind := _problem_type(row):
        row["problem_type"] = kind
        added.append(f"problem type {kind}")
    return Completed(row, added)


def describe(added: Counter[str]) -> str:
    """The counts of what was added, in words."""
    return ", ".join(f"{what} ({count} rows)" for what, count in sorted(added.items()))


def _problem_type(row: dict[str, Any]) -> str:
    """The type that the row should have and does not say; "" where it says it."""
    said, options = row.get("problem_type"), row.get("options")
    answer = row["solution"].removeprefix("<answer>").removesuffix("</answer>").strip()
    if said is None:
        if options:
            return "multiple choice"
        return "numerical" if read_number(answer).value is not None else "free-form"
    if said == "numerical" and isinstance(options, list) and all(isinstance(one, str) for one in options):
        is_letter = bool(options) and read_letter(answer, tuple(options)).letter is not None
        return "multiple choice" if is_letter else ""
    return ""
