"""Checks that every factory of a reward makes."""

from __future__ import annotations

import math
from collections.abc import Sequence


def choose(option: str, value: str, choices: Sequence[str]) -> str:
    """`value`, if it is one of `choices`. Raises ValueError naming the option and the choices."""
    if value not in choices:
        raise ValueError(f"{option} must be one of {', '.join(map(repr, choices))}, got {value!r}")
    return value


def within(option: str, value: float, low: float, high: float = math.inf) -> float:
    """`value`, if it is a finite number from low to high. Raises ValueError naming the option and both."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{option} must be a number, got {value!r}")
    if not (math.isfinite(value) and low <= value <= high):
        raise ValueError(f"{option} must be a finite number from {low:g} to {high:g}, got {value:g}")
    return float(value)
