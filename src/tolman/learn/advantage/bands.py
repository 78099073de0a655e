"""Rewards stretched over a band of their task, before they are compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from tolman.learn.advantage.base import Floats, PerGroup, RewardedGroup
from tolman.learn.advantage.group import group_mean_std
from tolman.learn.config import knob


def stretch(values: npt.ArrayLike, low: float, high: float) -> Floats:
    """clamp((v - low) / (high - low), 0, 1): up to `low` worth nothing, from `high` on perfect. NaN stays."""
    stretched: Floats = np.clip((np.asarray(values, dtype=np.float64) - low) / (high - low), 0.0, 1.0)
    return stretched


@dataclass(frozen=True)
class TaskBands(PerGroup):
    """After VITAL's DGRPO (arXiv 2508.04416): a graded reward is stretched over a band of its task, so that
    an easy task must do better for the same reward; then GRPO.

    Unverified: VITAL's own constants and any weighting of samples were not found. The form is that of a
    re-implementation (DynFrame's rewards.py, scaled IoU), whose bands by duration are .6-.95 (below 5 s),
    .5-.9, .4-.85 and .3-.8. Only the clamp acts: a line through the rewards is undone by the std.
    """

    of: str = knob()
    """The graded reward, with weight 1."""
    bands: dict[str, Any] = field(default_factory=dict)
    """question_type → [low, high]; a type without a band keeps its rewards."""
    eps: float = knob(1e-4, low=0)
    """Added to the std."""

    def __post_init__(self) -> None:
        if not self.bands:
            raise ValueError("bands is missing; give a table of question_type = [low, high]")
        for task, band in self.bands.items():
            fits = isinstance(band, list | tuple) and len(band) == 2
            if not fits or not all(isinstance(v, int | float) for v in band) or not band[0] < band[1]:
                raise ValueError(f"bands.{task} must be [low, high] with low < high, got {band!r}")

    @property
    def names(self) -> tuple[str, ...]:
        """The stretched reward."""
        return (self.of,)

    def of_group(self, group: RewardedGroup) -> Floats:
        """(G,) advantages."""
        rewards_G = group.rewards_G
        if (band := self._band(group.question_type)) is not None:
            part_G = group.parts[self.of]
            rewards_G = rewards_G - part_G + stretch(part_G, *band)
        return group_mean_std(rewards_G, self.eps)

    def _band(self, task: str) -> tuple[float, float] | None:
        bands: Mapping[str, tuple[float, float]] = self.bands
        return bands.get(task)
