"""Baselines from the group itself: GRPO, Dr. GRPO, leave-one-out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tolman.learn.advantage.base import Floats, PerGroup, RewardedGroup
from tolman.learn.config import knob


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
    if std + eps == 0:  # equal rewards and no epsilon: nobody is better than anybody
        return centred_G
    scaled_G: Floats = centred_G / (std + eps)
    return scaled_G


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


def leave_one_out(rewards_G: npt.ArrayLike) -> Floats:
    """r - mean of the others (RLOO, arXiv 2402.14740): (r - mean) * G / (G - 1), G counting graded ones.

    rewards_G: (G,). Returns (G,), NaN where the reward is NaN, 0 for a single graded completion. The baseline
    does not depend on the completion's own reward, so the gradient is unbiased.
    Raises ValueError for a shape other than (G,) and for infinite rewards.
    """
    centred_G = group_mean(rewards_G)
    graded = int((~np.isnan(centred_G)).sum())
    return centred_G * (graded / (graded - 1)) if graded > 1 else centred_G


def has_signal(advantages: npt.ArrayLike) -> bool:
    """Whether any completion of the group would be pushed anywhere (some advantage is neither 0 nor NaN).

    Equal rewards whose mean is not exactly representable leave advantages near 1e-13: these count as none.
    """
    return bool((np.abs(np.nan_to_num(np.asarray(advantages, dtype=np.float64))) > 1e-9).any())


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


@dataclass(frozen=True)
class GroupMean(PerGroup):
    """`group_mean`."""

    def of_group(self, group: RewardedGroup) -> Floats:
        """(G,) advantages."""
        return group_mean(group.rewards_G)


@dataclass(frozen=True)
class LeaveOneOut(PerGroup):
    """`leave_one_out`."""

    def of_group(self, group: RewardedGroup) -> Floats:
        """(G,) advantages."""
        return leave_one_out(group.rewards_G)
