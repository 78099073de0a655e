"""Curricula: in which order an epoch comes to its clips. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tolman.questions.question import Question


def difficulty(questions: Sequence[Question]) -> float:
    """Mean of the rows' `difficulty`, a number in any unit that grows with it.

    A selecting stage writes 1 - mean score of the policy's completions. Raises ValueError naming a question
    that has none.
    """
    found = []
    for question in questions:
        value = question.extra.get("difficulty")
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise ValueError(
                f"question {question.problem_id}: data.easy_first needs a number `difficulty`, got {value!r}"
            )
        found.append(float(value))
    return math.fsum(found) / len(found)


def by_level(order_N: npt.NDArray[np.int64], levels_N: Sequence[float]) -> npt.NDArray[np.int64]:
    """An epoch's order of clips, (N,) indices, sorted from low level to high; equals keep their order."""
    if not any(levels_N):
        return order_N
    levels = np.asarray(levels_N, dtype=np.float64)
    sorted_N: npt.NDArray[np.int64] = order_N[np.argsort(levels[order_N], kind="stable")]
    return sorted_N
