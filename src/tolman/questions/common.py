"""What every task family shares: the two result types, text clean-up, lettered options."""

from __future__ import annotations

import math
import re
import string
from collections.abc import Sequence
from typing import Any, NamedTuple

COUNTING = "object_counting"
ABS_DISTANCE = "object_abs_distance"
SIZE = "object_size_estimation"
ROOM = "room_size_estimation"
REL_DISTANCE = "object_rel_distance"
DIRECTION = "object_rel_direction"
DIRECTION_EASY = "object_rel_direction_easy"
DIRECTION_MEDIUM = "object_rel_direction_medium"
DIRECTION_HARD = "object_rel_direction_hard"
APPEARANCE = "obj_appearance_order"
ROUTE = "route_planning"

FAMILIES = (
    COUNTING, ABS_DISTANCE, SIZE, ROOM, REL_DISTANCE,
    DIRECTION_EASY, DIRECTION_MEDIUM, DIRECTION_HARD, APPEARANCE, ROUTE,
)  # fmt: skip
"""VSI-Bench's task names, directions in their three difficulties."""

LETTERS = string.ascii_uppercase
CHOICES_MARK = "{choices}"
_OPTION = re.compile(r"^\s*\(?([A-Z])[.):]\s*(.*\S)\s*$")
_PREFIX = re.compile(r"^\s*question\s*:\s*", re.IGNORECASE)
_TAIL = re.compile(r"\n\s*options\s*:", re.IGNORECASE)


class Recomputed(NamedTuple):
    """An answer computed from a scene.

    answer: what the benchmark would print (a letter where the question has options, else a text or a number);
    None = not computable. value: the unrounded number behind it (metres, cm, m², count, degrees) or None.
    reason: how the answer follows, or why there is none.
    """

    answer: str | None
    value: float | None
    reason: str


class Draft(NamedTuple):
    """A question before its options are lettered.

    text: the question; `CHOICES_MARK` in it stands for the options, comma-separated in the order they are
    lettered. answer: the right option's text or the number. choices: all options' texts (the right one
    included) or None. evidence: JSON-ready facts from which a person can check the answer.
    """

    text: str
    answer: str
    choices: tuple[str, ...] | None
    unit: str
    evidence: dict[str, Any]


def unknown(reason: str) -> Recomputed:
    """The result for a question that cannot be answered from the scene."""
    return Recomputed(None, None, reason)


def clean(question: str) -> str:
    """The question on one line: no `Question:` prefix, no option list, single spaces."""
    return " ".join(_TAIL.split(_PREFIX.sub("", question), maxsplit=1)[0].split())


def inline_options(question: str) -> tuple[str, ...] | None:
    """Options printed inside the question text (SpaceR's early rows), or None."""
    parts = _TAIL.split(question, maxsplit=1)
    if len(parts) < 2:
        return None
    lines = tuple(line.strip() for line in parts[1].splitlines() if _OPTION.match(line))
    return lines or None


def option_texts(options: Sequence[str]) -> list[tuple[str, str]]:
    """(letter, text) of each option; an option without a letter gets that of its place.

    Raises ValueError for more options than there are letters.
    """
    if len(options) > len(LETTERS):
        raise ValueError(f"{len(options)} options, but only {len(LETTERS)} letters to name them")
    pairs = []
    for place, option in enumerate(options):
        match = _OPTION.match(option)
        pairs.append((match.group(1), match.group(2)) if match else (LETTERS[place], option.strip()))
    return pairs


def fold(text: str) -> str:
    """Spelling used for comparing names and options: lower case, single spaces, no closing full stop."""
    return " ".join(text.split()).rstrip(".").casefold()


def choose(options: Sequence[str] | None, text: str, value: float | None, reason: str) -> Recomputed:
    """The result whose answer is `text`: its letter when there are options, else the text itself."""
    if not options:
        return Recomputed(text, value, reason)
    for letter, option in option_texts(options):
        if fold(option) == fold(text):
            return Recomputed(letter, value, reason)
    return unknown(f"no option says {text!r} ({reason})")


def fixed(value: float, decimals: int) -> str:
    """`value` with that many decimals, as the official answers print it."""
    assert math.isfinite(value)
    return f"{value:.{decimals}f}"
