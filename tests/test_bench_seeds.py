"""Intervals over seeds: by hand where both clusterings matter, and SciPy's t where only the seeds do."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ttest_1samp

from tolman.bench.seeds import Interval, seeded_mean

T1 = 12.706204736174694  # 97.5 % quantile of Student's t with one degree of freedom


def half(found: Interval) -> float:
    assert found.high - found.mean == pytest.approx(found.mean - found.low)
    return found.high - found.mean


def test_two_seeds_on_the_same_two_clips() -> None:
    # values 4 0 / 2 2, mean 2, pulls (value - mean) / 4: .5 -.5 / 0 0
    # seeds: sums 0, 0 -> 0. clips: sums .5, -.5 -> 2/1 · (.25 + .25) = 1. both: 4/3 · (.25 + .25) = 2/3
    # 0 + 1 - 2/3 = 1/3 is less than 1, which is taken
    found = seeded_mean([4, 0, 2, 2], [0, 0, 1, 1], ["a", "b", "a", "b"])
    assert (found.mean, found.rows, found.seeds, found.clips) == (2, 4, 2, 2)
    assert half(found) == pytest.approx(T1 * 1.0)


def test_both_clusterings_add_up() -> None:
    # values 3 1 / 1 -5, mean 0, pulls .75 .25 / .25 -1.25
    # seeds: 1, -1 -> 2 · 2 = 4. clips: 1, -1 -> 4. both: 4/3 · (.5625 + .0625 + .0625 + 1.5625) = 3
    found = seeded_mean([3, 1, 1, -5], [0, 0, 1, 1], ["a", "b", "a", "b"])
    assert half(found) == pytest.approx(T1 * math.sqrt(4 + 4 - 3))


def test_groups_weigh_as_their_shares_say() -> None:
    # two tasks of share 1/2: means 1 and 10; deviations -1 1 (task x) and 0 0 (task y) times shares 1/4
    # seeds: -.25, .25 -> 2 · .125 = .25; every clip its own: 4/3 · .125 = 1/6 = both
    found = seeded_mean([0, 10, 2, 10], [0, 0, 1, 1], ["a", "b", "c", "d"], "xyxy", [0.25] * 4)
    assert found.mean == 5.5
    assert half(found) == pytest.approx(T1 * 0.5)


def test_clips_of_their_own_make_it_a_t_interval_of_the_seeds_means() -> None:
    values = np.array([[0.2, 0.4], [0.5, 0.5], [0.1, 0.2], [0.9, 0.4], [0.6, 0.3]])
    expected = ttest_1samp(values.mean(axis=1), 0).confidence_interval(0.95)
    found = seeded_mean(values.ravel(), np.repeat(range(5), 2).tolist(), list(range(10)))
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


@given(st.lists(st.floats(-10, 10), min_size=6, max_size=6))
def test_a_policy_that_no_seed_changes_has_the_error_of_its_clips(values: list[float]) -> None:
    # three seeds that repeat the same six rows: t of 2 degrees of freedom times the error by clip
    seeds = np.repeat(range(3), 6).tolist()
    pulls = (np.array(values) - np.mean(values)) / 6
    found = seeded_mean(values * 3, seeds, list(range(6)) * 3)
    assert half(found) == pytest.approx(4.302652729911275 * math.sqrt(6 / 5 * (pulls**2).sum()), abs=1e-9)


@pytest.mark.parametrize(("seeds", "clips"), [([0, 0], ["a", "b"]), ([0, 1], ["a", "a"])])
def test_one_seed_or_one_clip_gives_no_interval(seeds: Sequence[Hashable], clips: Sequence[Hashable]) -> None:
    found = seeded_mean([0.0, 1.0], seeds, clips)
    assert found.mean == 0.5
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    assert found.side == 0


@pytest.mark.parametrize(("low", "high", "side"), [(0.1, 1, 1), (-2, -0.1, -1), (-1, 1, 0), (0, 1, 0)])
def test_an_interval_that_touches_zero_tells_nothing(low: float, high: float, side: int) -> None:
    assert Interval(0.5, low, high, 4, 2, 2).side == side
    assert Interval(0.5, low, high, 4, 2, 2).percent()[:3] == (50, 100 * low, 100 * high)
