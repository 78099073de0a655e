"""Figures over several seeds of one experiment: what moves when rooms or training are drawn anew.

Rows of one seed share the policy that it trained, rows about one clip share its difficulty, wherever the clip
was shown to several policies. Both count: errors are clustered by seed and by clip. N rows, S seeds, C clips.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.stats import t

from tolman.bench.stats import clustered_mean


class Interval(NamedTuple):
    """A mean over `rows` rows with its 95 % interval [low, high]; both ends are NaN where it has none."""

    mean: float
    low: float
    high: float
    rows: int
    seeds: int
    clips: int

    def percent(self) -> Interval:
        """The same in percent."""
        return self._replace(mean=100 * self.mean, low=100 * self.low, high=100 * self.high)

    @property
    def side(self) -> int:
        """1 where the interval lies above 0, -1 where it lies below, 0 where it does not tell."""
        return int(self.low > 0) - int(self.high < 0)


def seeded_mean(
    values_N: npt.ArrayLike,
    seeds_N: Sequence[Hashable],
    clips_N: Sequence[Hashable],
    groups_N: Sequence[Hashable] | None = None,
    shares_N: npt.ArrayLike | None = None,
) -> Interval:
    """Mean of values with an interval that is clustered by seed and by clip.

    values_N: scores, or differences of paired scores. groups_N, shares_N: as in `clustered_mean`. The
    variance is that by seed, plus that by clip, minus that by both together (Cameron, Gelbach & Miller 2011),
    but no less than either of the first two: with few clusters the sum can fall below them, even below 0
    (arXiv 2406.08880 on what to do about that). Where every seed has clips of its own this is clustering by
    seed. The interval takes Student's t with min(S, C) - 1 degrees of freedom. With a single seed or clip
    there is none. Raises ValueError as `clustered_mean` does.
    """
    both_N = list(zip(seeds_N, clips_N, strict=True))
    by_seed, by_clip, by_both = (
        clustered_mean(values_N, keys, groups_N, shares_N) for keys in (seeds_N, clips_N, both_N)
    )
    seeds, clips = by_seed.clusters, by_clip.clusters
    half = math.nan
    if min(seeds, clips) > 1:
        variance = by_seed.stderr**2 + by_clip.stderr**2 - by_both.stderr**2
        stderr = math.sqrt(max(variance, by_seed.stderr**2, by_clip.stderr**2))
        half = float(t.ppf(0.975, min(seeds, clips) - 1)) * stderr
    mean = by_seed.mean
    return Interval(mean, mean - half, mean + half, len(np.atleast_1d(values_N)), seeds, clips)
