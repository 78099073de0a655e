"""Pieces that several peers' rules share: relative accuracy, the text in an answer tag, the first letter."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from tolman.reward.accuracy import THRESHOLDS

BOUNDS = tuple(float(bound) for bound in 1 - THRESHOLDS)  # .50, .45, …, .05 in float64
_OPEN, _CLOSE = "<answer>", "</answer>"
_PREFIXES = ("The best answer is", "The correct answer is", "The answer is", "The answer")


def share_within(error: float, strict: bool = False) -> float:
    """Share of the ten bounds .50, .45, …, .05 that a relative error keeps; strict: stays below.

    Not a number keeps none.
    """
    return sum(error < bound if strict else error <= bound for bound in BOUNDS) / len(BOUNDS)


def relative_error(said: float, truth: float) -> float:
    """|said - truth| / truth as the published code divides: by the signed truth, NaN for a truth of 0."""
    return abs(said - truth) / truth if truth else float("nan")


def guarded_error(said: float, truth: float) -> float:
    """|said - truth| / |truth|, and |said| for a truth of 0 (SPAR-Bench, VLMEvalKit)."""
    return abs(said - truth) if truth == 0 else abs((said - truth) / truth)


def to_number(text: object) -> float | None:
    """Python's `float` of a text, None where it has none (units, words, commas)."""
    try:
        return float(str(text))
    except ValueError:
        return None


def shown(number: float | None) -> float | str | None:
    """A number as it stands in JSON, which has no infinities and no NaN: those as text."""
    return number if number is None or math.isfinite(number) else str(number)


def first_tagged(text: str) -> str | None:
    """The text of the first `<answer>…</answer>`, stripped; None without one."""
    start = text.find(_OPEN)
    end = text.find(_CLOSE, start + len(_OPEN)) if start >= 0 else -1
    return text[start + len(_OPEN) : end].strip() if end >= 0 else None


def last_tagged(text: str) -> str | None:
    """The text of the last of the `<answer>…</answer>` that follow each other, stripped; None without one."""
    found, at = None, 0
    while (start := text.find(_OPEN, at)) >= 0:
        end = text.find(_CLOSE, start + len(_OPEN))
        if end < 0:
            break
        found, at = text[start + len(_OPEN) : end].strip(), end + len(_CLOSE)
    return found


def first_letter(text: str, letters: str, prefixes: Sequence[str]) -> str:
    """Video-MME's `extract_characters_regex`: the first capital among `letters` once every prefix is taken
    out.

    It may stand inside a word ("Actually" is A); "" without one.
    """
    text = text.strip()
    for prefix in prefixes:
        text = text.replace(prefix, "")
    match = re.search(f"[{letters}]", text)
    return match.group() if match else ""


def choice_prefixes(*more: str) -> tuple[str, ...]:
    """The phrases every copy of `extract_characters_regex` takes out, then a copy's own.

    In most copies two commas are missing, which joins four phrases into two that never occur.
    """
    return (*_PREFIXES, *more)


def between(text: str, opening: str, closing: str) -> str | None:
    """The text between the first `opening` that has a `closing` after it and that `closing`."""
    start = text.find(opening)
    end = text.find(closing, start + len(opening)) if start >= 0 else -1
    return text[start + len(opening) : end] if end >= 0 else None
