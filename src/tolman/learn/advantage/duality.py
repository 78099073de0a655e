"""Answers to a question and to its dual that must fit together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tolman.learn.advantage.base import Advantage, Floats, RewardedGroup
from tolman.learn.advantage.group import group_mean_std
from tolman.learn.config import knob


def agreement(answers: Sequence[str | None], others: Sequence[str | None]) -> Floats:
    """(G,) share of the other view's answers that equal each answer; 0 without one or nothing to compare."""
    said = [answer for answer in others if answer is not None]
    return np.array([said.count(answer) / len(said) if answer and said else 0.0 for answer in answers])


@dataclass(frozen=True)
class Duality(Advantage):
    """Duality consistency after SAGE (arXiv 2605.18162): the rewards plus `weight` * `agreement` with the
    dual question's completions, then GRPO in each group.

    Only the abstract was read: it names an auxiliary reward within GRPO and a pool of operations; the formula
    is ours, and the one operation is mirroring, under which an option keeps its letter and a number its
    value. Agreement needs no truth, so a policy that is wrong alike in both views earns it: keep the weight
    below that of the accuracy.
    """

    mirrored: ClassVar[bool] = True
    weight: float = knob(above=0)
    """What full agreement earns."""
    eps: float = knob(1e-4, low=0)
    """Added to the std."""

    def __call__(self, groups: Sequence[RewardedGroup]) -> list[Floats]:
        """(G,) per group."""
        advantages = []
        for group in groups:
            assert group.pair is not None
            bonus_G = self.weight * agreement(group.answers, groups[group.pair].answers)
            advantages.append(group_mean_std(group.rewards_G + bonus_G, self.eps))
        return advantages
