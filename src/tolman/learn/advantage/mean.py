"""The group's mean alone: Dr. GRPO."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tolman.learn.advantage.base import Floats, PerGroup, RewardedGroup


def group_mean(rewards_G: npt.ArrayLike) -> Floats:
    """r - mean over one group, without division by the spread (Dr. GRPO, arXiv 2503.20783).

    rewards_G: (G,). Returns (G,), NaN where the reward is NaN.
    Raises ValueError for a shape other than (G,) and for infinite rewards.
    """
    rewards_G = np.array(rewards_G, dtype=np.float64)
    if rewards_G.ndim != 1 or rewards_G.size == 0:
        raise ValueError(f"rewards of one group must have shape (G,), got {rewards_G.shape}")
    if np.isinf(rewards_G).any():
        raise ValueError(f"rewards must be finite or NaN (not graded), got {rewards_G.tolist()}")
    graded_mask_G = ~np.isnan(rewards_G)
    if not graded_mask_G.any():
        return rewards_G
    centred_G: Floats = rewards_G - rewards_G[graded_mask_G].mean()
    return centred_G


@dataclass(frozen=True)
class GroupMean(PerGroup):
    """`group_mean`."""

    def of_group(self, group: RewardedGroup) -> Floats:
        """(G,) advantages."""
        return group_mean(group.rewards_G)
