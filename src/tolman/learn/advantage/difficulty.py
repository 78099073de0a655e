"""Groups weighted by how hard they are."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tolman.learn.advantage.base import Floats, PerGroup, RewardedGroup
from tolman.learn.advantage.group import group_mean_std
from tolman.learn.config import knob

_WEIGHTS: dict[str, Callable[[float, float], float]] = {
    "exp": lambda mean, power: math.exp(1 - mean),
    "power": lambda mean, power: (1.05 - mean) ** power,
    "log": lambda mean, power: -math.log(0.02 + mean),
}


def difficulty_weight(mean: float, rule: str = "exp", power: float = 1.0) -> float:
    """What a group with this mean accuracy, in [0, 1], is weighted with: harder groups count more.

    `exp`: exp(1 - m), UniVG-R1's default; `power`: (1.05 - m)^power; `log`: -log(0.02 + m), which is -0.02 at
    m = 1. UniVG-R1 @ 44868ea has all three. Raises ValueError for an unknown rule or a mean outside [0, 1].
    """
    if rule not in _WEIGHTS:
        raise ValueError(f"rule is {rule!r}; valid choices: {', '.join(_WEIGHTS)}")
    if not 0 <= mean <= 1:
        raise ValueError(
            f"the mean accuracy must be in [0, 1], got {mean:g}; name a reward in [0, 1] and give it weight 1"
        )
    return _WEIGHTS[rule](mean, power)


@dataclass(frozen=True)
class DifficultyWeighted(PerGroup):
    """UniVG-R1: GRPO's advantages times `difficulty_weight` of the group's mean accuracy; the KL term is not
    weighted.

    A group where the named reward graded nothing keeps weight 1.
    """

    of: str = knob()
    """The reward that is the accuracy."""
    rule: str = knob("exp", choices=_WEIGHTS)
    """Shape of the weight."""
    power: float = knob(1.0, above=0)
    """Exponent of `power`; must stay 1 elsewhere."""
    eps: float = knob(1e-4, low=0)
    """Added to the std."""

    def __post_init__(self) -> None:
        if self.power != 1.0 and self.rule != "power":
            raise ValueError(f"power is {self.power:g}, but rule {self.rule!r} has none; remove it")

    @property
    def names(self) -> tuple[str, ...]:
        """The accuracy."""
        return (self.of,)

    def of_group(self, group: RewardedGroup) -> Floats:
        """(G,) advantages."""
        advantages_G = group_mean_std(group.rewards_G, self.eps)
        accuracy_G = group.parts[self.of]
        if np.isnan(accuracy_G).all():
            return advantages_G
        return advantages_G * difficulty_weight(float(np.nanmean(accuracy_G)), self.rule, self.power)
