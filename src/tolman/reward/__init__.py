"""Verifiable rewards: pure functions of a completion and its question, and how they are put together.

For other trainers see `adapters`, for rewards that ask a model `judge`, `judge_server` and `consistency`.
"""

from tolman.reward.compose import Composed, Grading, Part
from tolman.reward.graded import Graded, Reward
from tolman.reward.length import length_bonus_G
from tolman.reward.registry import REWARDS

__all__ = ["REWARDS", "Composed", "Graded", "Grading", "Part", "Reward", "length_bonus_G"]
