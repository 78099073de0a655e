"""How other trainers' code reads grounding answers, quirks included, in linear time."""

from __future__ import annotations

import json
import re

from tolman.reward.answer import CLOSE, OPEN
from tolman.reward.overlap import Span

_SEPARATOR = re.compile(r" (?:to|and)(?= )", re.IGNORECASE)
_NUMBER = re.compile(r"\d+\.?\d*")
_BESIDE = re.compile(r"([<>/])")


def time_r1_span(completion: str) -> Span | None:
    """The last match of `(\\d+\\.?\\d*) (to|and) (\\d+\\.?\\d*)` in the last answer tag, in seconds.

    Time-R1's `parse_timestamp_output` (www-Ye/Time-R1 at bb6eac5): a minus sign is not seen, nor is the order
    checked.
    """
    text = _last_answer(completion)
    found, start = None, 0
    for separator in _SEPARATOR.finditer(text):
        left = _number_start(text, start, separator.start()) if separator.start() > start else None
        right = _NUMBER.match(text, separator.end() + 1)
        if left is not None and right:
            found = (float(text[left : separator.start()]), float(right.group()))
            start = right.end()
    return found


def onethinker_fields(completion: str) -> dict[str, object] | None:
    """The JSON object that OneThinker takes for the answer: in the first answer tag, or else the whole text.

    Blanks beside <, > and / are dropped first (`compute_score`, tulerfeng/OneThinker at 768b20f).
    """
    pieces = _BESIDE.split(completion)
    last = len(pieces) - 1
    for k in range(0, len(pieces), 2):
        pieces[k] = pieces[k].lstrip() if k == last else pieces[k].rstrip() if k == 0 else pieces[k].strip()
    text = "".join(pieces)
    start = text.find(OPEN)
    end = text.find(CLOSE, start + len(OPEN)) if start >= 0 else -1
    inside = text[start + len(OPEN) : end].strip() if end >= 0 else ""
    try:
        value = json.loads(inside or text.strip())
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def floats(value: object, count: int) -> list[float] | None:
    """A list of `count` entries that `float` takes, texts and infinities too; None for anything else."""
    if not isinstance(value, list) or len(value) != count:
        return None
    try:
        return [float(entry) for entry in value]
    except (TypeError, ValueError, OverflowError):
        return None


def _last_answer(completion: str) -> str:
    """The last of all `<answer>…</answer>`, "" without one."""
    text, start = "", completion.find(OPEN)
    while start >= 0:
        end = completion.find(CLOSE, start + len(OPEN))
        if end < 0:
            break
        text, start = completion[start + len(OPEN) : end], completion.find(OPEN, end)
    return text


def _number_start(text: str, low: int, end: int) -> int | None:
    """Where the number that ends at `end` starts, not before `low`; None where none does."""
    whole = _digits_start(text, low, end)
    if whole > low and text[whole - 1] == ".":
        before = _digits_start(text, low, whole - 1)
        if before < whole - 1:
            return before
    return whole if whole < end else None


def _digits_start(text: str, low: int, end: int) -> int:
    while end > low and text[end - 1].isdecimal():
        end -= 1
    return end
