"""Temporal contrast that survives the division by the group's std.

T-GRPO as published adds its bonus to the rewards (`tolman.learn.bonus.TemporalBonus`). With 0/1 correctness
and nothing else varying in the group this is an affine map of the rewards, which (r - mean) / std undoes, so
the shuffled completions buy no gradient. Here the contrast acts after the division.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tolman.learn.advantage.base import Floats, PerGroup, RewardedGroup
from tolman.learn.advantage.group import group_mean_std
from tolman.learn.config import knob


def order_gap(ordered_G: Floats, shuffled_S: Floats) -> float:
    """Mean correctness with ordered frames minus that with shuffled ones; 0 where either graded nothing."""
    if np.isnan(ordered_G).all() or np.isnan(shuffled_S).all():
        return 0.0
    return float(np.nanmean(ordered_G) - np.nanmean(shuffled_S))


@dataclass(frozen=True)
class TemporalContrast(PerGroup):
    """GRPO's advantages, plus `value` for correct completions of a group in which order helps.

    The condition is T-GRPO's: mean correctness at least `ratio` times that from shuffled frames, correctness
    above `threshold`. Unlike there, the sum of the advantages is not 0: a group that is all correct is pushed
    up, too. Ours, no paper's.
    """

    of: tuple[str, ...] = knob()
    """Names of the rewards whose sum is the correctness."""
    shuffled: int = knob(low=1)
    """Completions with shuffled frames."""
    value: float = knob(0.3, above=0)
    """Added to the advantage."""
    ratio: float = knob(0.8, low=0)
    """How much of the shuffled correctness the ordered one must reach."""
    threshold: float = knob(0.1)
    """Correctness above which a completion earns it."""
    eps: float = knob(1e-4, low=0)
    """Added to the std."""

    @property
    def names(self) -> tuple[str, ...]:
        """The correctness."""
        return self.of

    def of_group(self, group: RewardedGroup) -> Floats:
        """(G,) advantages."""
        assert group.shuffled is not None
        ordered_G = group.total(self.of)
        shuffled_S = np.sum([group.shuffled[name] for name in self.of], axis=0)
        advantages_G = group_mean_std(group.rewards_G, self.eps)
        if np.isnan(ordered_G).all() or np.isnan(shuffled_S).all():
            return advantages_G
        if np.nanmean(ordered_G) < self.ratio * np.nanmean(shuffled_S):
            return advantages_G
        return advantages_G + np.where(ordered_G > self.threshold, self.value, 0.0)


@dataclass(frozen=True)
class OrderWeighted(PerGroup):
    """GRPO's advantages times max(0, 1 + strength * gap), gap as in `order_gap`.

    Prompts that shuffled frames answer as well teach at the plain rate, those that need the order more, those
    that shuffling helps less. Advantages keep their mean of 0 and groups without a preference stay without.
    Ours, no paper's.
    """

    of: tuple[str, ...] = knob()
    """Names of the rewards whose sum is the correctness."""
    shuffled: int = knob(low=1)
    """Completions with shuffled frames."""
    strength: float = knob(1.0, above=0)
    """Factor of the gap."""
    eps: float = knob(1e-4, low=0)
    """Added to the std."""

    @property
    def names(self) -> tuple[str, ...]:
        """The correctness."""
        return self.of

    def of_group(self, group: RewardedGroup) -> Floats:
        """(G,) advantages."""
        assert group.shuffled is not None
        shuffled_S = np.sum([group.shuffled[name] for name in self.of], axis=0)
        weight = max(0.0, 1 + self.strength * order_gap(group.total(self.of), shuffled_S))
        return weight * group_mean_std(group.rewards_G, self.eps)
