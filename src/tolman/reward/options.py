"""Checks that every factory of a reward makes."""

from __future__ import annotations

from collections.abc import Sequence


def choose(option: str, value: str, choices: Sequence[str]) -> str:
    """`value`, if it is one of `choices`. Raises ValueError naming the option and the choices."""
    if value not in choices:
        raise ValueError(f"{option} must be one of {', '.join(map(repr, choices))}, got {value!r}")
    return value
