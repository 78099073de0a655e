"""The mean of the others: RLOO."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tolman.learn.advantage.base import Floats, PerGroup, RewardedGroup
from tolman.learn.advantage.mean import group_mean


def leave_one_out(rewards_G: npt.ArrayLike) -> Floats:
    """r - mean of the others (RLOO, arXiv 2402.14740): (r - mean) * G / (G - 1), G counting graded ones.

    rewards_G: (G,). Returns (G,), NaN where the reward is NaN, 0 for a single graded completion. The baseline
    does not depend on the completion's own reward, so the gradient is unbiased.
    Raises ValueError for a shape other than (G,) and for infinite rewards.
    """
    centred_G = group_mean(rewards_G)
    graded = int((~np.isnan(centred_G)).sum())
    return centred_G * (graded / (graded - 1)) if graded > 1 else centred_G


@dataclass(frozen=True)
class LeaveOneOut(PerGroup):
    """`leave_one_out`."""

    def of_group(self, group: RewardedGroup) -> Floats:
        """(G,) advantages."""
        return leave_one_out(group.rewards_G)
