"""Group bonuses by hand (SG_RLVR_trainer.py's temporal reward and length control)."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tolman.learn.bonus import Group, LengthBonus, TemporalBonus

TEMPORAL = TemporalBonus(of=("accuracy",), shuffled=2)


def group(ordered: list[float], shuffled: list[float], lengths: list[int] | None = None) -> Group:
    lengths = lengths or [1] * len(ordered)
    return Group({"accuracy": np.array(ordered)}, np.array(lengths), {"accuracy": np.array(shuffled)})


def test_temporal_bonus_goes_to_the_correct_ones() -> None:
    # mean 0.5 >= 0.8 * 0.5; 0.1 is not above the threshold
    assert TEMPORAL(group([1.0, 0.1, 0.4], [1.0, 0.0])).tolist() == [0.3, 0.0, 0.3]


def test_temporal_bonus_needs_order_to_help() -> None:
    # mean 0.25 < 0.8 * 0.5 = 0.4
    assert TEMPORAL(group([1.0, 0.0, 0.0, 0.0], [1.0, 0.0])).tolist() == [0, 0, 0, 0]
    # exactly at the border it passes: 0.4 >= 0.8 * 0.5
    assert TEMPORAL(group([0.8, 0.0], [1.0, 0.0])).tolist() == [0.3, 0.0]


def test_temporal_bonus_without_a_mean_is_nothing() -> None:
    assert TEMPORAL(group([1.0, 1.0], [math.nan, math.nan])).tolist() == [0, 0]
    assert TEMPORAL(group([1.0, math.nan], [0.0, math.nan])).tolist() == [0.3, 0.0]


def test_length_bonus_needs_two_correct_ones() -> None:
    bonus = LengthBonus(of=("accuracy",))
    lengths = [320, 512, 319, 513, 400]
    assert bonus(group([1, 1, 1, 1, 0], [0], lengths)).tolist() == [0.2, 0.2, 0, 0, 0]
    assert bonus(group([1, 0, 0, 0, 0], [0], lengths)).tolist() == [0, 0, 0, 0, 0]


def test_correctness_is_the_sum_of_the_named_rewards() -> None:
    both = TemporalBonus(of=("accuracy", "map"), shuffled=1)
    parts = {"accuracy": np.array([0.06, 0.0]), "map": np.array([0.06, 0.0]), "format": np.array([0.0, 1.0])}
    assert both(Group(parts, np.array([1, 1]), {k: v[:1] for k, v in parts.items()})).tolist() == [0.0, 0.0]
    # ordered mean 0.06 against 0.8 * 0.12 = 0.096: not earned; against a shuffled 0 it is
    nothing = {name: np.zeros(1) for name in parts}
    assert both(Group(parts, np.array([1, 1]), nothing)).tolist() == [0.3, 0.0]


def test_bad_options_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        TemporalBonus(of=("accuracy",), shuffled=0)
    with pytest.raises(ValueError, match="low"):
        LengthBonus(of=("accuracy",), low=9, high=3)
    with pytest.raises(ValueError, match="this recipe has: accuracy"):
        LengthBonus(of=("map",))(group([1, 1], [0]))
