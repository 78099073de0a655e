"""The group's mean and spread: GRPO."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tolman.learn.advantage.base import Floats, PerGroup, RewardedGroup
from tolman.learn.advantage.mean import group_mean
from tolman.learn.config import knob

_ROUNDING = 1e-12  # of the largest reward: no spread, but what the mean leaves over


def group_mean_std(rewards_G: npt.ArrayLike, eps: float = 1e-4, ddof: int = 1) -> Floats:
    """(r - mean) / (std + eps) over one group (GRPO, arXiv 2402.03300).

    rewards_G: (G,). ddof: 1 divides the squares by G - 1, 0 by G. Returns (G,), NaN where the reward is NaN,
    0 for a group with a single graded completion. SpaceR and Video-R1 run eps 1e-4 and torch's std, ddof 1
    (SG_RLVR_trainer.py). Raises ValueError for a shape other than (G,) and for infinite rewards.
    """
    centred_G = group_mean(rewards_G)
    graded = centred_G[~np.isnan(centred_G)]
    if graded.size < 2:
        return centred_G
    std = float(np.sqrt(np.square(graded).sum() / (graded.size - ddof)))
    largest = float(np.nanmax(np.abs(np.asarray(rewards_G, dtype=np.float64))))
    if (
        std <= _ROUNDING * largest
    ):  # equal rewards: nobody is better than anybody, whatever the mean's last bit
        return centred_G * 0.0
    scaled_G: Floats = centred_G / (std + eps)
    return scaled_G


@dataclass(frozen=True)
class GroupMeanStd(PerGroup):
    """`group_mean_std`."""

    eps: float = knob(1e-4, low=0)
    """Added to the std."""
    ddof: int = knob(1, low=0, high=1)
    """1: unbiased std (torch's default); 0: population std."""

    def of_group(self, group: RewardedGroup) -> Floats:
        """(G,) advantages."""
        return group_mean_std(group.rewards_G, self.eps, self.ddof)
