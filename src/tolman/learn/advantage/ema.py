"""Advantages divided by a task's own, slowly moving spread (EMA-GRPO)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tolman.learn.advantage.base import Advantage, Floats, RewardedGroup
from tolman.learn.advantage.group import group_mean_std
from tolman.learn.advantage.mean import group_mean
from tolman.learn.config import knob


@dataclass(frozen=True)
class EmaPerTask(Advantage):
    """OneThinker's EMA-GRPO (core_algos.py l. 222-470 at 768b20f): (r - group mean) / (sigma of the task).

    Each step first moves every task's moments, m <- decay * m + (1 - decay) * mean over the step's graded
    rewards of r and of r^2 (a task's first step sets them), then uses sigma = sqrt(max(m2 - m1^2, floor^2));
    eps is added to it. A group with an advantage beyond `limit` is divided by its own std instead (unbiased,
    same eps; the published choice of std is not known to us).

    Departure: the published tracker lives in the process and starts afresh on resume; here it is saved.
    """

    task: str = knob("problem_type", choices=("problem_type", "question_type"))
    """What tells tasks apart."""
    decay: float = knob(0.99, low=0, high=0.999999)
    """Weight of the old moments."""
    floor: float = knob(1e-3, above=0)
    """Smallest sigma."""
    eps: float = knob(1e-6, low=0)
    """Added to sigma."""
    limit: float = knob(5.0, above=0)
    """Largest absolute advantage a group may have before its own std takes over."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "_moments", {})

    @property
    def state(self) -> dict[str, Any]:
        """Task → [mean of r, mean of r^2]."""
        moments: dict[str, Any] = self._moments  # type: ignore[attr-defined]
        return moments

    def __call__(self, groups: Sequence[RewardedGroup]) -> list[Floats]:
        """(G,) per group; moves the state."""
        by_task: dict[str, list[Floats]] = {}
        for group in groups:
            by_task.setdefault(getattr(group, self.task), []).append(group.rewards_G)
        for task, rewards in by_task.items():
            self._move(task, np.concatenate(rewards))
        return [self._of_group(group) for group in groups]

    def _move(self, task: str, rewards: Floats) -> None:
        graded = rewards[~np.isnan(rewards)]
        if not graded.size:
            return
        now = [float(graded.mean()), float(np.square(graded).mean())]
        before = self.state.get(task, now)
        self.state[task] = [self.decay * m + (1 - self.decay) * n for m, n in zip(before, now, strict=True)]

    def _of_group(self, group: RewardedGroup) -> Floats:
        centred_G = group_mean(group.rewards_G)
        if np.isnan(centred_G).all():
            return centred_G
        first, second = self.state[getattr(group, self.task)]
        sigma = math.sqrt(max(second - first**2, self.floor**2))
        scaled_G: Floats = centred_G / (sigma + self.eps)
        if np.nanmax(np.abs(scaled_G)) > self.limit:
            return group_mean_std(group.rewards_G, self.eps)
        return scaled_G
