"""Advantages: from the rewards of a step's groups to what each completion's tokens are weighted with. Pure.

G: completions of one prompt. A reward that is NaN means "could not be graded": that completion leaves the
group (it neither moves the mean nor is trained on) and its advantage is NaN, so the caller can count and mask
it. One method per file; a recipe names one of `tolman.learn.registry.ADVANTAGES`.
"""

from tolman.learn.advantage.base import Advantage, Floats, PerGroup, RewardedGroup, has_signal
from tolman.learn.advantage.group import GroupMeanStd, group_mean_std
from tolman.learn.advantage.leave_one_out import LeaveOneOut, leave_one_out
from tolman.learn.advantage.mean import GroupMean, group_mean

__all__ = [
    "Advantage", "Floats", "GroupMean", "GroupMeanStd", "LeaveOneOut", "PerGroup", "RewardedGroup",
    "group_mean", "group_mean_std", "has_signal", "leave_one_out",
]  # fmt: skip
