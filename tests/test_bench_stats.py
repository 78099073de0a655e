"""Errors clustered by clip, chance, constants and paired differences, by hand and by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tolman.bench.stats import (
    best_letter,
    best_number,
    chance_level,
    clustered_mean,
    paired_bootstrap,
)
from tolman.bench.vsibench import relative_accuracy


def test_clustered_error_by_hand() -> None:
    # mean 3/4. Cluster a: deviations 1/4 + 1/4 = 1/2; b: 1/4 - 3/4 = -1/2. Pulls /4: ±1/8.
    # variance 2/(2-1) · (1/64 + 1/64) = 1/16, error 1/4
    found = clustered_mean([1, 1, 1, 0], ["a", "a", "b", "b"])
    assert found == pytest.approx((0.75, 0.25, 4, 2))


def test_without_sharing_it_is_the_usual_error() -> None:
    scores = np.array([0.2, 0.4, 0.9, 0.5, 0.1])
    found = clustered_mean(scores, range(5))
    assert found.stderr == pytest.approx(scores.std(ddof=1) / math.sqrt(5))


def test_rows_repeated_within_clips_leave_the_error_alone() -> None:
    scores = np.array([0.2, 0.4, 0.9, 0.5, 0.1])
    once = clustered_mean(scores, range(5))
    thrice = clustered_mean(np.repeat(scores, 3), np.repeat(np.arange(5), 3).tolist())
    assert thrice.mean == pytest.approx(once.mean)
    assert thrice.stderr == pytest.approx(once.stderr)


def test_macro_error_by_hand() -> None:
    # tasks x = (1, 0), y = (1, 1, 0, 0): means 1/2, 1/2. shares 1/4 each of x, 1/8 each of y.
    # clip 1: x row 1 → 1/4 · 1/2 = 1/8; y rows 1, 1 → 2 · 1/8 · 1/2 = 1/8; together 1/4. clip 2: -1/4.
    # variance 2 · (1/16 + 1/16) = 1/4, error 1/2: both tasks move together because they share clips.
    found = clustered_mean(
        [1, 0, 1, 1, 0, 0],
        [1, 2, 1, 1, 2, 2],
        groups_N=["x", "x", "y", "y", "y", "y"],
        shares_N=[0.25, 0.25, 0.125, 0.125, 0.125, 0.125],
    )
    assert found == pytest.approx((0.5, 0.5, 6, 2))


def test_one_cluster_has_no_error() -> None:
    assert math.isnan(clustered_mean([1, 0], ["a", "a"]).stderr)


def test_simulation_the_clustered_error_is_the_spread_of_the_mean() -> None:
    # 60 clips of 8 questions; a clip's share of right answers is drawn once for all its questions. Over 400
    # repeats the reported error must match the spread of the mean; one that ignores clips is < 2/3 of it.
    rng = np.random.default_rng(0)
    clips = np.repeat(np.arange(60), 8).tolist()
    means, errors, naive = [], [], []
    for _ in range(400):
        scores = (rng.random(480) < np.repeat(rng.beta(0.8, 0.8, 60), 8)).astype(float)
        found = clustered_mean(scores, clips)
        means.append(found.mean)
        errors.append(found.stderr)
        naive.append(scores.std(ddof=1) / math.sqrt(480))
    spread = float(np.std(means, ddof=1))
    assert float(np.mean(errors)) == pytest.approx(spread, rel=0.08)
    assert float(np.mean(naive)) < 0.67 * spread


@pytest.mark.parametrize(
    ("scores", "clusters", "message"),
    [
        ([], [], "no rows"),
        ([1.0], ["a", "b"], "must be as many"),
        ([float("nan"), 1.0], ["a", "b"], "must be finite"),
    ],
)
def test_bad_input(scores: list[float], clusters: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        clustered_mean(scores, clusters)


def test_chance() -> None:
    # 1/2, 1/4 and a numerical row that does not count
    assert chance_level([("A", "B"), None, ("A", "B", "C", "D")]) == pytest.approx(0.375)
    assert chance_level([None, None]) is None


def test_best_letter() -> None:
    assert best_letter(["B", "A", "b", "C"]) == ("B", 0.5)
    assert best_letter(["C", "A"]) == ("A", 0.5)


def test_best_number_by_hand() -> None:
    # truths 2 and 4. Always 2: 10 thresholds of ten and (off by 1/2) 1 of ten → .55. Always 3: off by 1/2 and
    # by 1/4 → 1 and 6 → .35. Always 4: off by 1 and by 0 → 0 and 10 → .5.
    found = best_number([2, 4])
    assert found.score == pytest.approx(0.55)
    assert found.answer == "2"


def test_the_roundest_number_may_be_an_end() -> None:
    # truths 2, 3, 3, 3. From 2.85 on 3 is met at all ten thresholds, up to 2.9 (off by .45) 2 at two of them:
    # 32 of 40. In [2.85, 2.9] one decimal is enough, at the end itself.
    found = best_number([2, 3, 3, 3])
    assert found.score == pytest.approx(0.8)
    assert found.answer == "2.9"


def test_best_number_uses_the_closed_ends_of_floats() -> None:
    # the one point that both truths accept at some threshold is an end of both: 3 = 2 · 1.5 = 6 · 0.5
    assert best_number([2, 2, 6, 6, 6, 6]).score == pytest.approx(
        4 / 6
    )  # 6 alone: four of six, two get nothing
    assert float(relative_accuracy(3, np.array([2, 6])).mean()) == pytest.approx(0.1)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from([1, 2, 3, 4, 5, 7, 11, 0.3, 0.7, 2.9, 26.4]), min_size=1, max_size=12))
def test_no_number_beats_the_best(truths: list[float]) -> None:
    best = best_number(truths)
    ends = [g * t for g in truths for t in (*np.linspace(0.5, 1.5, 21),)]
    tried = np.array([*ends, *np.linspace(0.1, 45, 400)])
    scores = relative_accuracy(tried[:, None], np.array(truths)[None]).mean(axis=1)
    assert best.score >= scores.max() - 1e-12


def test_best_number_refuses_truths_it_cannot_divide_by() -> None:
    with pytest.raises(ValueError, match="positive"):
        best_number([1.0, 0.0])


def test_bootstrap_by_hand() -> None:
    # two clips with gains +1 and 0: a draw holds each 0, 1 or 2 times, so the mean gain is 0, 1/2 or 1 with
    # probability 1/4, 1/2, 1/4: standard deviation sqrt(1/8), interval [0, 1]
    found = paired_bootstrap([0, 0], [1, 0], ["a", "b"], np.random.default_rng(0), draws=20000)
    assert found.difference == 0.5
    assert found.stderr == pytest.approx(math.sqrt(1 / 8), rel=0.02)
    assert (found.low, found.high) == (0.0, 1.0)


def test_bootstrap_of_a_macro_average() -> None:
    # task x gains 1 on its one row, y gains 0 on three: the macro gain is 1/2, not 1/4
    before, after = [0, 0, 0, 0], [1, 0, 0, 0]
    found = paired_bootstrap(
        before,
        after,
        [1, 1, 2, 2],
        np.random.default_rng(0),
        groups_N=["x", "y", "y", "y"],
        group_weights={"x": 0.5, "y": 0.5},
    )
    # in a draw of clip 2 twice (1/4) x has no row: the gain is y's alone, 0; otherwise 1/2
    assert found.difference == pytest.approx(0.5)
    assert found.stderr == pytest.approx(0.5 * math.sqrt(3 / 16), rel=0.05)


def test_a_draw_without_a_group_counts_the_others_alone() -> None:
    # x gains 1 on a row of clip 1, y gains 1/2 on a row of each clip. Clip 2 twice: no x, so 1/2; otherwise
    # (1 + 1/2) / 2.
    found = paired_bootstrap(
        [0, 0, 0],
        [1, 0.5, 0.5],
        [1, 1, 2],
        np.random.default_rng(0),
        groups_N=["x", "y", "y"],
        group_weights={"x": 0.5, "y": 0.5},
    )
    assert (found.low, found.high) == (0.5, 0.75)


def test_the_bootstraps_error_is_that_of_a_sample() -> None:
    # two draws a < b: the quantiles are 0.95 · (b - a) apart, the error is (b - a) / sqrt(2)
    seeds = map(np.random.default_rng, range(20))
    pairs = [paired_bootstrap([0, 0], [1, 0], ["a", "b"], rng, draws=2) for rng in seeds]
    assert any(found.stderr for found in pairs)
    for found in pairs:
        assert found.stderr == pytest.approx((found.high - found.low) / 0.95 / math.sqrt(2))


def test_bootstrap_agrees_with_the_clustered_error() -> None:
    rng = np.random.default_rng(1)
    clips = np.repeat(np.arange(80), 5)
    before = rng.random(400)
    after = before + np.repeat(rng.normal(0.1, 0.2, 80), 5) + rng.normal(0, 0.05, 400)
    found = paired_bootstrap(before, after, clips.tolist(), np.random.default_rng(2))
    assert found.stderr == pytest.approx(clustered_mean(after - before, clips.tolist()).stderr, rel=0.05)
    assert found.low < found.difference < found.high


def test_bootstrap_needs_two_clips() -> None:
    with pytest.raises(ValueError, match="two clusters"):
        paired_bootstrap([0], [1], ["a"], np.random.default_rng(0))
