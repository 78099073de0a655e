"""Our own rule beside the official one: reads with care, never guesses.

The answer is the last well-formed `<answer>` after the thought, or, where no tag was opened, all that follows
the thought. A letter must stand for itself; a number may carry its sign, unit and thousands commas
(`tolman.reward`'s "corrected" accuracy, which training uses too). Nothing is drawn at random and no row is
dropped.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tolman.bench.vsibench import NUMERICAL, UNITS, Verdict, task_of
from tolman.questions.question import Question
from tolman.reward.accuracy import accuracy
from tolman.reward.answer import OPEN, final_answer

_GRADE = accuracy(rule="corrected")


def judge(row: Mapping[str, Any]) -> Verdict:
    """The verdict on a row with `question_type`, `ground_truth`, `options` and `prediction` (None: no
    answer).

    The score is NaN where the row's own truth is no letter or no number. Raises ValueError for an unknown
    type.
    """
    kind = row["question_type"]
    completion = tagged("" if row["prediction"] is None else str(row["prediction"]))
    question = Question(
        problem_id=row.get("id", ""),
        problem="",
        data_type="video",
        problem_type="numerical" if task_of(kind) in NUMERICAL else "multiple choice",
        options=tuple(row["options"]) if row.get("options") else None,
        solution=f"<answer>{row['ground_truth']}</answer>",
        path="",
        data_source="",
        question_type=kind,
        answer_unit=UNITS.get(kind, ""),
    )
    graded = _GRADE(completion, question)
    return Verdict(graded.value, final_answer(completion).text or "", graded.reason)


def tagged(prediction: str) -> str:
    """A prediction in which no answer tag was opened, with what follows its thought in one."""
    if OPEN in prediction:
        return prediction
    thought, closed, rest = prediction.rpartition("</think>")
    return f"{thought}{closed}<answer>{rest.strip()}</answer>"
