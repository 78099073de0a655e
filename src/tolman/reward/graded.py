"""What a reward returns."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from tolman.questions.question import Question


class Graded(NamedTuple):
    """A verdict: value and the reason for it.

    value is in [0, 1] unless the reward documents otherwise; NaN = cannot be graded.
    """

    value: float
    reason: str

    @property
    def ungraded(self) -> bool:
        """Whether the completion could not be graded at all (never the same as 0)."""
        return math.isnan(self.value)


Reward = Callable[[str, Question], Graded]
