"""Spans, boxes and tracks in an answer: what grounding questions ask for."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import NamedTuple

from tolman.cogmap.literal import LiteralError, Pairs, parse_literal
from tolman.reward.overlap import Box, Span

MAX_VALUE = 1e6  # seconds or pixels; nothing asked for is larger
MAX_STRUCTURE = 8_000  # characters; a track of 150 boxes
_TIME = re.compile(
    r"(?<![\w.:])(?:[0-9]{1,3}:){0,2}[0-9]{1,7}(?:\.[0-9]{1,18})?(?![0-9:]|\.[0-9]|[eE][-+0-9])"
)
_NUMBER = re.compile(r"(?<![\w.:])[0-9]")
_DASH = re.compile(r"\s*(?:s|secs?|seconds?)?\s*[-\u2212\u2013\u2014]\s*")


class SpanText(NamedTuple):
    """A span in seconds; None with the reason where the text gives no single one."""

    span: Span | None
    reason: str


class Fields(NamedTuple):
    """The entries of a dict literal with string keys; None with the reason where the text is none."""

    fields: dict[str, object] | None
    reason: str


def read_span(text: str) -> SpanText:
    """The one span that an answer gives: exactly two times, the earlier one first.

    `{"time": [3.5, 7]}`, `[3.5, 7]`, `3.5 to 7`, `from 3.5s to 7s`, `3.5-7`, `starts at 0:03.5 and ends at
    0:07` (minutes:seconds, hours:minutes:seconds). A negative time, a third number, also one that is no time
    ("1e3"), or two equal times give none, so that listing spans earns nothing. Linear time.
    """
    matches = list(_TIME.finditer(text))
    numbers = len(_NUMBER.findall(text))
    if len(matches) != 2 or numbers != 2:
        return SpanText(None, f"a span has two times, the answer has {len(matches)} and {numbers} numbers")
    first, second = matches
    between = text[first.end() : second.start()]
    if _signed(text[: first.start()]) or (_signed(between) and not _DASH.fullmatch(between)):
        return SpanText(None, "a negative time")
    start, end = _seconds(first.group()), _seconds(second.group())
    if not start < end <= MAX_VALUE:
        return SpanText(None, f"{start:g} to {end:g} s is no span")
    return SpanText((start, end), "")


def read_fields(text: str) -> Fields:
    """The dict literal (JSON or Python) that an answer is, its keys strings and each there once."""
    if len(text) > MAX_STRUCTURE:
        return Fields(None, f"the answer is longer than {MAX_STRUCTURE} characters")
    try:
        value = parse_literal(text.strip())
    except LiteralError as flaw:
        return Fields(None, f"not a dict: {flaw}")
    fields = as_dict(value)
    return Fields(fields, "" if fields is not None else "not a dict with different names")


def read_literal(text: str) -> object:
    """The literal that a text is, None where it is none."""
    try:
        return parse_literal(text.strip())
    except LiteralError:
        return None


def as_dict(value: object) -> dict[str, object] | None:
    """Pairs of a literal, or a dict, as a dict; None for anything else and for a name that comes twice."""
    pairs = list(value.items()) if isinstance(value, dict) else value
    if not isinstance(value, dict) and not isinstance(value, Pairs):
        return None
    assert isinstance(pairs, list)
    found = {key: entry for key, entry in pairs if isinstance(key, str)}
    return found if len(found) == len(pairs) else None


def as_span(value: object) -> Span | None:
    """[start, end] with 0 ≤ start < end."""
    numbers = _numbers(value, 2)
    return (numbers[0], numbers[1]) if numbers and 0 <= numbers[0] < numbers[1] else None


def as_box(value: object) -> Box | None:
    """[x1, y1, x2, y2] with x1 < x2 and y1 < y2."""
    numbers = _numbers(value, 4)
    if numbers is None or not (numbers[0] < numbers[2] and numbers[1] < numbers[3]):
        return None
    return numbers[0], numbers[1], numbers[2], numbers[3]


def as_track(value: object) -> dict[str, Box] | None:
    """Frame → box, at least one; None if any of them is no box."""
    fields = as_dict(value)
    boxes = {frame: as_box(entry) for frame, entry in (fields or {}).items()}
    track = {frame: box for frame, box in boxes.items() if box is not None}
    return track if track and len(track) == len(boxes) else None


def as_many(value: object, read: Callable[[object], Box | None]) -> list[Box] | None:
    """A list, every entry of it readable; None otherwise."""
    if not isinstance(value, list | tuple):
        return None
    entries = [read(entry) for entry in value]
    found = [entry for entry in entries if entry is not None]
    return found if len(found) == len(entries) else None


def as_number(value: object) -> float | None:
    """A finite number within ±MAX_VALUE, no bool."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) <= MAX_VALUE else None


def _numbers(value: object, count: int) -> list[float] | None:
    if not isinstance(value, list | tuple) or len(value) != count:
        return None
    numbers = [as_number(entry) for entry in value]
    found = [number for number in numbers if number is not None]
    return found if len(found) == count else None


def _signed(before: str) -> bool:
    return before[-1:] in ("-", "\u2212")


def _seconds(clock: str) -> float:
    return math.fsum(float(part) * 60**k for k, part in enumerate(reversed(clock.split(":"))))
