"""A recipe's rewards as one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tolman.questions.question import Question
from tolman.reward.graded import Graded, Reward


@dataclass(frozen=True)
class Part:
    """One reward with its name in logs, its weight and the rows it is for.

    only: field of a row → values it may have; rows with others earn 0. Raises ValueError for a weight that is
    not finite and for a field without a list of values.
    """

    name: str
    reward: Reward
    weight: float = 1.0
    only: Mapping[str, Sequence[object]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not math.isfinite(self.weight):
            raise ValueError(f"reward {self.name!r}: the weight must be finite, got {self.weight}")
        for key, values in self.only.items():
            if not isinstance(values, list | tuple) or not values:
                raise ValueError(f"reward {self.name!r}: only.{key} must be a list of values, got {values!r}")

    def is_for(self, question: Question) -> bool:
        """Whether the question's row has one of the wanted values in every field of `only`."""
        if not self.only:
            return True
        row = question.to_row()
        return all(row.get(key) in values for key, values in self.only.items())

    def grade(self, completion: str, question: Question) -> Graded:
        """The reward's verdict, 0 for a row that it is not for."""
        if not self.is_for(question):
            return Graded(0.0, "not for rows like this one")
        return self.reward(completion, question)


@dataclass(frozen=True)
class Grading:
    """total: Σ weight·value, NaN if any part could not be graded. parts: every verdict by name."""

    total: float
    parts: dict[str, Graded]

    @property
    def ungraded(self) -> bool:
        """Whether the completion could not be graded (never the same as 0)."""
        return math.isnan(self.total)


@dataclass(frozen=True)
class Composed:
    """A weighted sum of rewards. Raises ValueError for no parts and for two of the same name."""

    parts: Sequence[Part]

    def __post_init__(self) -> None:
        names = [part.name for part in self.parts]
        if not names or len(names) != len(set(names)):
            raise ValueError(f"rewards need different names, at least one; got {names}")

    def grade(self, completion: str, question: Question) -> Grading:
        """Every part's verdict on a completion and their sum; a part of weight 0 is graded all the same."""
        verdicts = {part.name: part.grade(completion, question) for part in self.parts}
        total = math.fsum(part.weight * verdicts[part.name].value for part in self.parts)
        return Grading(total, verdicts)
