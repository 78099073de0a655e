"""Advantages: from the rewards of a step's groups to what each completion's tokens are weighted with. Pure.

G: completions of one prompt. A reward that is NaN means "could not be graded": that completion leaves the
group (it neither moves the mean nor is trained on) and its advantage is NaN, so the caller can count and mask
it. One method family per file; a recipe names one of `tolman.learn.registry.ADVANTAGES`.
"""

from tolman.learn.advantage.base import Advantage, Floats, PerGroup, RewardedGroup
from tolman.learn.advantage.group import (
    GroupMean,
    GroupMeanStd,
    LeaveOneOut,
    group_mean,
    group_mean_std,
    has_signal,
    leave_one_out,
)

__all__ = [
    "Advantage", "Floats", "GroupMean", "GroupMeanStd", "LeaveOneOut", "PerGroup", "RewardedGroup",
    "group_mean", "group_mean_std", "has_signal", "leave_one_out",
]  # fmt: skip
