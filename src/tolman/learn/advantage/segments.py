"""Different advantages for different parts of a completion."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tolman.learn.advantage.base import Floats, PerGroup, RewardedGroup
from tolman.learn.advantage.group import group_mean_std
from tolman.learn.config import knob


@dataclass(frozen=True)
class PerSegment(PerGroup):
    """Tokens up to and including the mark get GRPO's advantage of some rewards, the rest that of others.

    After DynFrame's SD-GRPO (@ d9c0113), which splits at `</fps>`: frame choice earns overlap and frame-rate
    rewards, reasoning earns answer and format. Its README says so; its trainer uses one number per
    completion. A completion without the mark is all first segment. A reward may count in both lists; one that
    is in none, like a group bonus, counts nowhere.
    """

    mark: str = knob()
    """The text that ends the first segment, such as `</think>`."""
    first: tuple[str, ...] = knob()
    """Rewards of the first segment."""
    second: tuple[str, ...] = knob()
    """Rewards of the second segment."""
    eps: float = knob(1e-4, low=0)
    """Added to the std."""

    def __post_init__(self) -> None:
        for key in ("mark", "first", "second"):
            if not getattr(self, key):
                raise ValueError(f"{key} is empty; a segment needs a mark and rewards")

    @property
    def names(self) -> tuple[str, ...]:
        """Of both segments."""
        return (*self.first, *self.second)

    def of_group(self, group: RewardedGroup) -> Floats:
        """(G, 2) advantages; NaN in both where the completion could not be graded."""
        columns = [group_mean_std(group.total(names), self.eps) for names in (self.first, self.second)]
        advantages_G2: Floats = np.stack(columns, axis=1)
        advantages_G2[np.isnan(group.rewards_G) | np.isnan(advantages_G2).any(axis=1)] = np.nan
        return advantages_G2
