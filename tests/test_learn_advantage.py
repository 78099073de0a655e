"""Advantages against numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tolman.learn.advantage import group_mean, group_mean_std, has_signal, leave_one_out


def test_group_mean_std_by_hand() -> None:
    # mean of 1, 0, 0, 1 is 1/2; squared deviations sum to 4 * 1/4 = 1; unbiased variance 1/3,
    # std 0.5773503; (1 - 0.5) / (0.5773503 + 0.0001) = 0.8658754
    expected = 0.5 / (math.sqrt(1 / 3) + 1e-4)
    assert expected == pytest.approx(0.8658754, abs=1e-7)
    assert group_mean_std([1.0, 0.0, 0.0, 1.0]) == pytest.approx([expected, -expected, -expected, expected])


def test_std_is_the_unbiased_one() -> None:
    # two rewards 0 and 2: unbiased std is sqrt(2), the biased one would be 1
    assert group_mean_std([0.0, 2.0], eps=0.0) == pytest.approx([-1 / math.sqrt(2), 1 / math.sqrt(2)])


def test_population_std() -> None:
    # 0 and 2 again, squares divided by G: std 1
    assert group_mean_std([0.0, 2.0], eps=0.0, ddof=0).tolist() == [-1.0, 1.0]


def test_leave_one_out_by_hand() -> None:
    # the others of 3 are 1 and 2, mean 1.5; of 1: 2.5; of 2: 2; an ungraded one is nobody's other
    assert leave_one_out([3.0, 1.0, 2.0]) == pytest.approx([1.5, -1.5, 0.0])
    assert leave_one_out([4.0, math.nan, 1.0])[[0, 2]].tolist() == [3.0, -3.0]
    assert leave_one_out([math.nan, 4.0])[1] == 0.0


@given(st.lists(st.floats(-10, 10), min_size=2, max_size=9))
def test_leave_one_out_is_the_mean_of_the_others(rewards: list[float]) -> None:
    others = [np.mean(rewards[:g] + rewards[g + 1 :]) for g in range(len(rewards))]
    assert leave_one_out(rewards) == pytest.approx(np.array(rewards) - others, abs=1e-9)


def test_equal_rewards_without_an_epsilon_are_no_division_by_zero() -> None:
    assert group_mean_std([0.5, 0.5], eps=0.0).tolist() == [0.0, 0.0]
    assert group_mean_std([0.0, 0.0], eps=0.0).tolist() == [0.0, 0.0]
    # the mean of seven times 1.1 is not 1.1, and neither is the spread of what is left over
    assert group_mean_std([1.1] * 7, eps=0.0).tolist() == [0.0] * 7
    assert group_mean_std([math.nan, *[2.7] * 3], eps=0.0)[1:].tolist() == [0.0] * 3


def test_temporal_bonus_is_undone_by_the_std() -> None:
    # methods, section 2: 3 of 8 right gives 1.2074 / -0.7244, and +0.3 for the right ones changes nothing
    plain = group_mean_std([1, 1, 1, 0, 0, 0, 0, 0])
    raised = group_mean_std([1.3, 1.3, 1.3, 0, 0, 0, 0, 0])
    assert plain[0] == pytest.approx(1.2074, abs=5e-5)
    assert plain[-1] == pytest.approx(-0.7244, abs=5e-5)
    assert raised == pytest.approx(plain, abs=1e-4)


def test_group_mean_by_hand() -> None:
    # mean of 3, 1, 2 is 2
    assert group_mean([3.0, 1.0, 2.0]).tolist() == [1.0, -1.0, 0.0]


def test_ungraded_completions_leave_the_group() -> None:
    # without the NaN: 1, 0 with mean 1/2 and unbiased std 0.7071068
    advantages = group_mean_std([1.0, math.nan, 0.0], eps=0.0)
    assert math.isnan(advantages[1])
    assert advantages[[0, 2]] == pytest.approx([0.7071068, -0.7071068])
    assert np.isnan(group_mean([math.nan, math.nan])).all()
    assert group_mean_std([math.nan, 4.0])[1] == 0.0


def test_equal_rewards_are_no_signal() -> None:
    assert group_mean_std([0.7, 0.7, 0.7]) == pytest.approx([0, 0, 0], abs=1e-9)
    assert not has_signal(group_mean_std([0.1 + 0.2] * 7))
    assert not has_signal([math.nan, 0.0])
    assert has_signal(group_mean_std([0.7, 0.7, 0.8]))


@pytest.mark.parametrize("bad", [[], [[1.0, 2.0]], [math.inf, 0.0]])
def test_bad_groups_are_refused(bad: list[float]) -> None:
    with pytest.raises(ValueError, match="rewards"):
        group_mean_std(bad)


@given(st.lists(st.floats(-10, 10), min_size=2, max_size=9), st.floats(-5, 5))
def test_adding_a_constant_changes_nothing(rewards: list[float], constant: float) -> None:
    plain = group_mean(rewards)
    assert group_mean(np.array(rewards) + constant) == pytest.approx(plain, abs=1e-9)
    assert plain.sum() == pytest.approx(0, abs=1e-9)


def test_input_is_left_alone() -> None:
    rewards = np.array([1.0, math.nan, 0.0])
    group_mean_std(rewards)
    assert rewards[0] == 1.0
