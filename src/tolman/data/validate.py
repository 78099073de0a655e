"""Check questions against a reward before anything is trained on them.

Every gold answer must earn full marks, and a wrong one must not: a row that fails would teach a policy that
the truth does not pay.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from tolman.data.gold import gold_completion
from tolman.questions.common import option_texts
from tolman.questions.question import Question
from tolman.reward.compose import Composed
from tolman.reward.graded import Reward
from tolman.reward.registry import REWARDS

_SLACK = 1e-6  # the published regression takes a billionth over the truth off the truth itself
_TEXT = "none of what this question is about"
_LETTER = re.compile(r"(?<![A-Za-z])[A-Za-z](?![A-Za-z])")
ANSWER_REWARDS = frozenset({
    "accuracy", "box_iou", "free_form", "ocr", "regression", "soft_choice", "spacer_accuracy",
    "spatio_temporal_iou", "temporal_iou", "tracking",
})  # fmt: skip
"""Rewards that give full marks, at least 1, to the right answer and to no wrong one."""


class Failure(NamedTuple):
    """A row that failed: its id, what the offending completion earned (NaN = cannot be graded), and why."""

    problem_id: int | str
    value: float
    reason: str


@dataclass(frozen=True)
class ValidationReport:
    """total: rows checked. passed: rows without a failure. failures: one per row that failed, in order."""

    total: int
    passed: int
    failures: list[Failure] = field(default_factory=list)

    def __str__(self) -> str:
        """A line of totals, and one per failure."""
        lines = [f"{self.passed} of {self.total} questions pass"]
        return "\n".join(lines + [f"{f.problem_id}: {f.value:.3f}: {f.reason}" for f in self.failures])


def validate(
    questions: Iterable[Question], reward: Reward, full: float = 1.0, catches_wrong: bool = True
) -> ValidationReport:
    """Grade each question's gold completion (with its true map, where it has one) and the same with a wrong
    answer.

    reward: of `tolman.reward.registry.REWARDS`, or a composition's total. full: what full marks are under it.
    A row fails when the gold completion earns less than `full` (1e-6 allowed) or cannot be graded, when the
    wrong one earns as much or there is none, and when its own fields are broken (a ValueError of the reward).
    catches_wrong: False leaves the check of the wrong answer out, for rewards that do not look at the answer
    (format, length, map).
    """
    failures = []
    total = 0
    for question in questions:
        total += 1
        failure = _check(question, reward, full, catches_wrong)
        if failure is not None:
            failures.append(failure)
    return ValidationReport(total, total - len(failures), failures)


def answer_rewards(rewards: Composed | None, question: Question) -> list[Reward]:
    """Those of a composition that judge this question's answer; accuracy where none does."""
    parts = rewards.parts if rewards else ()
    found = [part.reward for part in parts if part.name in ANSWER_REWARDS and part.is_for(question)]
    return found or [REWARDS["accuracy"]()]


def wrong_answer(question: Question) -> str:
    """An answer that is certainly wrong: another option's letter, a number far off, or an unrelated text.

    A number g becomes 3g + 7 away from zero: a relative error above 2, beyond every tolerance in use. Raises
    ValueError for multiple choice of which no option is wrong.
    """
    answer = question.answer
    if question.options:
        right = {letter.upper() for letter in _LETTER.findall(answer)}
        for letter, text in option_texts(question.options):
            if letter not in right and text.casefold() != answer.casefold():
                return letter
        raise ValueError(f"no option is wrong: {question.options}")
    try:
        number = float(answer.replace(",", ""))
    except ValueError:
        return _TEXT
    return f"{3 * number + (7 if number >= 0 else -7):g}"


def _check(question: Question, reward: Reward, full: float, catches_wrong: bool) -> Failure | None:
    """The failure of one row, or None."""
    try:
        return _compare(question, reward, full, catches_wrong)
    except ValueError as error:
        return Failure(question.problem_id, math.nan, str(error))


def _compare(question: Question, reward: Reward, full: float, catches_wrong: bool) -> Failure | None:
    """The same, raising ValueError for broken fields of the row's own and where no answer is wrong."""
    value, reason = reward(gold_completion(question), question)
    if not value >= full - _SLACK:  # NaN included
        return Failure(
            question.problem_id, value, f"the gold answer {question.answer!r} falls short: {reason}"
        )
    if not catches_wrong:
        return None
    wrong = wrong_answer(question)
    mistaken = gold_completion(replace(question, solution=f"<answer>{wrong}</answer>"))
    value, reason = reward(mistaken, question)
    if value >= full - _SLACK:
        return Failure(question.problem_id, value, f"the wrong answer {wrong!r} earns full marks: {reason}")
    return None
