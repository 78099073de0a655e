"""Options of single losses, beside those every loss may have (`tolman.learn.sections.Loss`). No torch."""

from __future__ import annotations

from dataclasses import dataclass

from tolman.learn.config import knob


@dataclass(frozen=True)
class NoOptions:
    """The loss has none."""


@dataclass(frozen=True)
class TokenWeights:
    """Of `tw_grpo`."""

    alpha: float = knob(1.4, low=1)
    """Weight of the position where the group's distributions are furthest apart."""


@dataclass(frozen=True)
class Regression:
    """Of `reg_grpo`."""

    eps: float = knob(1e-4, above=0)
    """Keeps the spread of the log-ratios from 0."""


@dataclass(frozen=True)
class Pairs:
    """Of `dpo`."""

    smoothing: float = knob(0.0, low=0, high=0.5)
    """Probability that a pair is labelled the wrong way round."""


@dataclass(frozen=True)
class Verdicts:
    """Of `kto`."""

    desirable_weight: float = knob(1.0, above=0)
    """Weight of desirable completions."""
    undesirable_weight: float = knob(1.0, above=0)
    """Weight of undesirable completions."""
