"""Bonuses that depend on a whole group: what a completion earns beside its own rewards. Pure.

G completions of one prompt, S completions of the same prompt with the clip's frames shuffled.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from tolman.reward.length import length_bonus_G

Floats = npt.NDArray[np.float64]


class Group(NamedTuple):
    """What a bonus may look at.

    parts: reward name → weighted values (G,). lengths_G: completion tokens, end of turn included.
    shuffled: the same parts for the S completions from shuffled frames; None where nobody asked for them.
    """

    parts: Mapping[str, Floats]
    lengths_G: npt.NDArray[np.int64]
    shuffled: Mapping[str, Floats] | None


class Bonus(Protocol):
    """Added to the rewards of a group before the advantages."""

    @property
    def shuffled(self) -> int:
        """Completions with shuffled frames it needs (S), 0 for none."""
        ...

    def __call__(self, group: Group) -> Floats:
        """(G,) what each completion earns."""
        ...


def _correctness(parts: Mapping[str, Floats], names: tuple[str, ...]) -> Floats:
    if missing := [name for name in names if name not in parts]:
        raise ValueError(f"bonus looks at reward {missing[0]!r}; this recipe has: {', '.join(parts)}")
    total_G: Floats = np.sum([parts[name] for name in names], axis=0, dtype=np.float64)
    return total_G


@dataclass(frozen=True)
class TemporalBonus:
    """T-GRPO (Video-R1, arXiv 2503.21776; SG_RLVR_trainer.py, `temporal`): order must matter.

    When the mean correctness with ordered frames is at least `ratio` times that with shuffled ones, every
    completion whose correctness exceeds `threshold` earns `value`. With binary correctness and everything
    else constant in the group this is undone by the division by the std (methods: an affine map of the
    rewards); it acts where another reward varies. The published form is kept.
    """

    of: tuple[str, ...]
    """Names of the rewards whose sum is the correctness."""
    shuffled: int
    """Completions with shuffled frames (published: G // 2)."""
    value: float = 0.3
    ratio: float = 0.8
    threshold: float = 0.1

    def __post_init__(self) -> None:
        if self.shuffled < 1:
            raise ValueError(f"shuffled must be at least 1, got {self.shuffled}")

    def __call__(self, group: Group) -> Floats:
        """(G,) `value` or 0; nobody earns it when a mean cannot be taken because nothing was graded."""
        assert group.shuffled is not None
        ordered_G = _correctness(group.parts, self.of)
        shuffled_S = _correctness(group.shuffled, self.of)
        if np.isnan(ordered_G).all() or np.isnan(shuffled_S).all():
            return np.zeros(len(ordered_G))
        passes = np.nanmean(ordered_G) >= self.ratio * np.nanmean(shuffled_S)
        return np.where(passes & (ordered_G > self.threshold), self.value, 0.0)


@dataclass(frozen=True)
class LengthBonus:
    """Video-R1's and SpaceR's `len_control`: correct completions of a middling length earn `value`.

    Only when more than one completion of the group has a correctness above `threshold` (before any other
    bonus).
    """

    of: tuple[str, ...]
    """Names of the rewards whose sum is the correctness."""
    low: int = 320
    high: int = 512
    value: float = 0.2
    threshold: float = 0.1

    def __post_init__(self) -> None:
        if not 0 <= self.low <= self.high:
            raise ValueError(f"needs 0 <= low <= high, got low {self.low}, high {self.high}")

    @property
    def shuffled(self) -> int:
        """None needed."""
        return 0

    def __call__(self, group: Group) -> Floats:
        """(G,) `value` or 0."""
        return length_bonus_G(
            _correctness(group.parts, self.of),
            group.lengths_G,
            self.low,
            self.high,
            self.value,
            self.threshold,
        )
