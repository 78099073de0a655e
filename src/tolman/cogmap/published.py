"""SpaceR's own reading of a map, in our words: lenient, and exact to its quirks.

Agrees with `extract_map_data` of OuyangKun10/SpaceR (extract_map.py at b623af5; arXiv 2504.01805). What it
does that we would not: categories outside the given ones are dropped (so inventing some is free),
coordinates are cut to whole numbers and never checked against the grid, and any text in which a category is
followed by two numbers is a map ("the chair costs 5 or 6" puts a chair at (5, 6)).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from tolman.cogmap.literal import LiteralError, Pairs, parse_literal

WholePoints = list[tuple[int, int]]
_KEY = re.compile(r"^[^\w\s]*([\w\s]+)[^\w\s]*$")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_WRAPPED = re.compile(r"^[<\[(]*(-?\d+(?:\.\d+)?)[>\])]*$")


def read_published(text: str, categories: Sequence[str]) -> dict[str, WholePoints]:
    """Lower-cased category → whole positions, as SpaceR's parser finds them in the text between the map tags.

    Raises OverflowError where the published parser does (a coordinate too large for a float, met by its
    fallback).
    """
    names = [name for name in categories if name]
    text = text.strip()
    if not text or not names:
        return {}
    wanted = {name.lower() for name in names}
    literal = text
    if text.startswith("str{") and text.endswith("}"):
        inside = text[4:-1].strip()
        literal = inside if inside.startswith("{") and inside.endswith("}") else text
    if literal.startswith("{") and literal.endswith("}"):
        try:
            value = parse_literal(literal)
            if isinstance(value, Pairs):
                return _from_dict(dict(value), wanted)
        except (LiteralError, OverflowError, ValueError):  # ValueError: a key too long to print
            pass  # the published code, too, goes on to search the text
    return _from_prose(text, names)


def _from_dict(value: dict[object, object], wanted: set[str]) -> dict[str, WholePoints]:
    found: dict[str, WholePoints] = {}
    for key, entry in value.items():
        name = str(key).lower().strip()
        match = _KEY.match(name)
        name = match.group(1).strip() if match else name
        if name in wanted:
            candidates = entry if isinstance(entry, list) and not isinstance(entry, Pairs) else [entry]
            points = [point for point in map(_point, candidates) if point is not None]
            if points:
                found.setdefault(name, []).extend(points)
    return found


def _point(value: object) -> tuple[int, int] | None:
    """A position from [x, y], (x, y), [[x, y]] or a string with two numbers; x and y may be strings."""
    if isinstance(value, str):
        numbers = _NUMBER.findall(value)
        return _whole(numbers[:2]) if len(numbers) >= 2 else None
    if not _is_sequence(value):
        return None
    assert isinstance(value, list | tuple)
    if len(value) == 1 and _is_sequence(value[0]):
        value = value[0]
        assert isinstance(value, list | tuple)
    return _whole(value) if len(value) == 2 else None


def _is_sequence(value: object) -> bool:
    return isinstance(value, list | tuple) and not isinstance(value, Pairs)


def _whole(pair: Sequence[object]) -> tuple[int, int] | None:
    """Two coordinates cut to whole numbers (3.7 → 3, −0.5 → 0). Raises OverflowError for an infinite one."""
    whole: list[int] = []
    values: list[float] = []
    for value in pair:
        if isinstance(value, str):
            match = _WRAPPED.match(value.strip())
            try:
                values.append(float(match.group(1) if match else value.strip()))
            except ValueError:
                return None
        elif isinstance(value, int | float):
            values.append(value)
        else:
            return None
    for number in values:
        if number != number:  # NaN is no position
            return None
        whole.append(int(number))
    return whole[0], whole[1]


def _from_prose(text: str, names: Sequence[str]) -> dict[str, WholePoints]:
    """The numbers after each category's name, up to the next name, two by two."""
    spans = _name_spans(text, names)
    found: dict[str, WholePoints] = {}
    for k, (_, end, name) in enumerate(spans):
        region = text[end : spans[k + 1][0] if k + 1 < len(spans) else len(text)]
        numbers = _NUMBER.findall(region)
        pairs = (_whole(numbers[j : j + 2]) for j in range(0, len(numbers) - 1, 2))
        points = [point for point in pairs if point is not None]
        if points:
            found.setdefault(name, []).extend(points)
    return found


def _name_spans(text: str, names: Sequence[str]) -> list[tuple[int, int, str]]:
    """Where categories are named as whole words, any case: (start, end, lower-cased name), without overlaps.

    Of two that overlap the one that reaches further is kept; the published filter compares only with the
    last one.
    """
    spans = [
        (match.start(), match.end(), name.lower())
        for name in names
        for match in re.finditer(rf"(?<![a-zA-Z]){re.escape(name)}(?![a-zA-Z])", text, re.IGNORECASE)
    ]
    spans.sort(key=lambda span: (span[0], -span[1]))
    kept: list[tuple[int, int, str]] = []
    for span in spans:
        if kept and span[0] < kept[-1][1]:
            if span[1] > kept[-1][1]:
                kept[-1] = span
        else:
            kept.append(span)
    return kept
