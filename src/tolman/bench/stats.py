"""How sure a figure is, and what it is worth: clustered errors, chance, best constant answers, paired
differences.

Questions about one clip share its difficulty, so the clip, not the question, is what was sampled. N rows, G
clusters. Sources: cluster-robust variance of a linear statistic with the G/(G-1) small-sample factor (Liang &
Zeger 1986); pairs cluster bootstrap (Cameron, Gelbach & Miller 2008).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tolman.bench.vsibench import relative_accuracy
from tolman.reward.accuracy import THRESHOLDS

Floats = npt.NDArray[np.float64]


class Estimate(NamedTuple):
    """A mean with its standard error (NaN with fewer than two clusters), over `rows` rows in `clusters`
    clusters.
    """

    mean: float
    stderr: float
    rows: int
    clusters: int


class Constant(NamedTuple):
    """The constant answer that scores best on a task's rows, and its mean score (it has seen the truths)."""

    answer: str
    score: float


class Difference(NamedTuple):
    """after - before: the difference itself, its bootstrap standard error, 95 % percentile interval, and p.

    p: two-sided, that of the interval: twice the smaller share of draws at or beyond 0, one draw at 0 added
    (Davison & Hinkley 1997, 4.2), so never below 2 / (draws + 1).
    """

    difference: float
    stderr: float
    low: float
    high: float
    p: float

    def percent(self) -> Difference:
        """The same in percent points."""
        difference, stderr, low, high = (100 * value for value in self[:4])
        return Difference(difference, stderr, low, high, self.p)


def cluster_numbers(clusters_N: Sequence[Hashable]) -> tuple[npt.NDArray[np.intp], int]:
    """(N,) the number of each row's cluster in order of appearance, and how many there are."""
    numbers: dict[Hashable, int] = {}
    rows = [numbers.setdefault(cluster, len(numbers)) for cluster in clusters_N]
    return np.array(rows, dtype=np.intp), len(numbers)


def clustered_mean(
    scores_N: npt.ArrayLike,
    clusters_N: Sequence[Hashable],
    groups_N: Sequence[Hashable] | None = None,
    shares_N: npt.ArrayLike | None = None,
) -> Estimate:
    """Mean of scores with the standard error clustered by `clusters_N`.

    groups_N and shares_N (together) make it a mean of group means (the macro average over tasks): a row
    counts `shares_N` (their sum is 1) and deviates from the mean of its own group. Without them the mean is
    plain. Variance: G/(G-1) · Σ_clusters (Σ_rows share · (score - group mean))². Raises ValueError for no
    rows, unequal lengths and scores that are not finite.
    """
    scores = np.asarray(scores_N, dtype=np.float64)
    shares = (
        np.full(len(scores), 1 / max(1, len(scores))) if shares_N is None else np.asarray(shares_N, float)
    )
    if len(scores) == 0:
        raise ValueError("no rows: there is nothing to average")
    if not len(scores) == len(shares) == len(clusters_N):
        raise ValueError(
            f"{len(scores)} scores, {len(shares)} shares, {len(clusters_N)} clusters: must be as many"
        )
    if not np.isfinite(scores).all():
        raise ValueError("scores must be finite; leave out the rows that could not be graded")
    groups, count = cluster_numbers([0] * len(scores) if groups_N is None else groups_N)
    means = np.bincount(groups, scores, count) / np.bincount(groups, minlength=count)
    clusters, total = cluster_numbers(clusters_N)
    pulls_G = np.bincount(clusters, shares * (scores - means[groups]), total)
    stderr = float(np.sqrt(total / (total - 1) * (pulls_G**2).sum())) if total > 1 else float("nan")
    return Estimate(float(shares @ scores), stderr, len(scores), total)


def chance_level(options_N: Sequence[Sequence[str] | None]) -> float | None:
    """Mean of 1 / number of options over the multiple-choice rows; None (not applicable) where there are
    none.
    """
    shares = [1 / len(options) for options in options_N if options]
    return float(np.mean(shares)) if shares else None


def best_letter(truths_N: Sequence[str]) -> Constant:
    """The letter that is right most often (the first of the alphabet where several are)."""
    counts = Counter(truth.strip().upper() for truth in truths_N)
    letter = min(counts, key=lambda key: (-counts[key], key))
    return Constant(letter, counts[letter] / len(truths_N))


def best_number(truths_N: Sequence[float]) -> Constant:
    """The single number with the highest mean relative accuracy over the truths, searched exactly.

    A truth g counts a constant c at threshold t where c lies in a closed interval of floats around g. The
    best c lies in the most intervals, and among such points one is the lower end of an interval: only those
    are tried, rounding included. Of the points that do equally well the roundest is returned. Truths must be
    positive.
    """
    truths = np.asarray(truths_N, dtype=np.float64)
    if not (np.isfinite(truths) & (truths > 0)).all():
        raise ValueError("the best constant number is defined for positive, finite truths")
    lows, highs = _interval_ends(truths)
    inside = np.searchsorted(lows, lows, "right") - np.searchsorted(highs, lows, "left")
    low = lows[int(inside.argmax())]
    high = highs[np.searchsorted(highs, low, "left")]
    number = _roundest(float(low), float(high))
    return Constant(f"{number:g}", float(relative_accuracy(number, truths).mean()))


def _interval_ends(truths_N: Floats) -> tuple[Floats, Floats]:
    """Sorted smallest and largest floats that count, over all truths and thresholds (10·N each)."""
    truths = np.repeat(truths_N, len(THRESHOLDS))
    slack = np.tile(1 - THRESHOLDS, len(truths_N))
    ends = []
    for sign in (-1.0, 1.0):
        end = truths + sign * truths * slack
        for _ in range(4):
            end = np.nextafter(end, sign * np.inf)
        for _ in range(12):
            outside = np.abs(end - truths) / truths > slack
            end = np.where(outside, np.nextafter(end, truths), end)
        assert not (np.abs(end - truths) / truths > slack).any()
        ends.append(np.sort(end))
    return ends[0], ends[1]


def _roundest(low: float, high: float) -> float:
    """The number with the fewest decimals in [low, high]."""
    for digits in range(13):
        number = round((low + high) / 2, digits)
        if low <= number <= high and number > 0:
            return number
    return low


def paired_bootstrap(
    before_N: npt.ArrayLike,
    after_N: npt.ArrayLike,
    clusters_N: Sequence[Hashable],
    rng: np.random.Generator,
    *,
    groups_N: Sequence[Hashable] | None = None,
    group_weights: dict[Hashable, float] | None = None,
    draws: int = 4000,
) -> Difference:
    """Difference after - before of the same questions, with whole clusters drawn anew.

    groups_N with group_weights (sum 1) compares weighted means of group means, such as the macro average over
    tasks; in a draw without any row of a group the other groups' weights are scaled up to 1. Without them:
    plain means. Raises ValueError for unequal lengths and fewer than two clusters.
    """
    gains = np.asarray(after_N, dtype=np.float64) - np.asarray(before_N, dtype=np.float64)
    clusters, total = cluster_numbers(clusters_N)
    if len(gains) != len(clusters) or total < 2:
        raise ValueError(
            f"a paired bootstrap needs two clusters and as many scores, got {total}, {len(gains)} scores"
        )
    names = [0] * len(gains) if groups_N is None else list(groups_N)
    groups, count = cluster_numbers(names)
    weights = (
        np.ones(1)
        if group_weights is None
        else np.array([group_weights[key] for key in dict.fromkeys(names)])
    )
    sums = np.zeros((total, count))
    sizes = np.zeros((total, count))
    np.add.at(sums, (clusters, groups), gains)
    np.add.at(sizes, (clusters, groups), 1.0)

    def overall(times_DG: Floats) -> Floats:
        rows = times_DG @ sizes
        means = np.divide(times_DG @ sums, rows, out=np.zeros_like(rows), where=rows > 0)
        present = (rows > 0) * weights
        return np.asarray((means * present).sum(axis=1) / present.sum(axis=1))

    drawn = overall(rng.multinomial(total, np.full(total, 1 / total), size=draws).astype(np.float64))
    low, high = np.quantile(drawn, [0.025, 0.975])
    whole = overall(np.ones((1, total)))[0]
    beyond = 1 + min(int((drawn <= 0).sum()), int((drawn >= 0).sum()))
    p = min(1.0, 2 * beyond / (draws + 1))
    return Difference(float(whole), float(drawn.std(ddof=1)), float(low), float(high), p)
