"""From a model's text to a map, or to the reason why not. Total: no text raises, hangs or runs."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

from tolman.cogmap.literal import MAX_CHARS, LiteralError, Pairs, parse_literal
from tolman.cogmap.map import CognitiveMap, Points
from tolman.cogmap.published import read_published

RULES = ("strict", "published")
MAX_POINTS = 500
MAX_CATEGORIES = 200
MAX_NAME = 100
MAX_COORDINATE = 1_000_000


class ParsedMap(NamedTuple):
    """A map, possibly empty, with "" or a remark; or None with the reason why the text is no map."""

    map: CognitiveMap | None
    reason: str


def parse_map(text: str, categories: Iterable[str] | None = None, rule: str = "strict") -> ParsedMap:
    """Read the text between a completion's map tags.

    strict: one dict literal (JSON or Python) of category → list of [x, y] or (x, y), numbers finite and
        within ±MAX_COORDINATE, no category twice (names are lower-cased and their blanks joined before
        comparing). One flaw and there is no map. Decimals and positions off the grid are kept: their worth
        is the scorer's matter. Where `categories` are given, a name that differs from one of them only in
        case or blanks takes its spelling; other names are kept, so that a scorer can see them. At most
        MAX_POINTS positions and MAX_CATEGORIES names of MAX_NAME characters.
    published: as SpaceR's code reads it (see `tolman.cogmap.published`); `categories` are then required,
        others are dropped, and the map is None only where that code raises.

    Both: None for text longer than MAX_CHARS (the published code has no limit); time linear in the text.
    Raises ValueError for another rule and for published without categories.
    """
    if rule not in RULES:
        raise ValueError(f"map rule must be one of {', '.join(RULES)}, got {rule!r}")
    names = None if categories is None else list(categories)
    if rule == "published" and names is None:
        raise ValueError("map rule 'published' needs the categories that count; pass those of the true map")
    if len(text) > MAX_CHARS:
        return ParsedMap(None, f"the map is longer than {MAX_CHARS} characters")
    return _published(text, names or []) if rule == "published" else _strict(text, names or [])


def _published(text: str, names: list[str]) -> ParsedMap:
    try:
        found = read_published(text, names)
    except OverflowError:
        return ParsedMap(
            None, "a coordinate too large for a float: the published parser raises OverflowError"
        )
    positions: dict[str, Points] = {name: tuple(points) for name, points in found.items()}
    return ParsedMap(CognitiveMap(positions), "" if positions else "no listed category with a position")


def _strict(text: str, names: list[str]) -> ParsedMap:
    try:
        value = parse_literal(text.strip())
        if not isinstance(value, Pairs):
            return ParsedMap(None, f"the map is a {type(value).__name__}, not a dict")
        return ParsedMap(CognitiveMap(_positions(value, names)), "")
    except LiteralError as flaw:
        return ParsedMap(None, f"not a map: {flaw}")


def _positions(pairs: Pairs, names: list[str]) -> dict[str, Points]:
    if len(pairs) > MAX_CATEGORIES:
        raise LiteralError(f"more than {MAX_CATEGORIES} categories")
    spelling = {_normal(name): name for name in names}
    positions: dict[str, Points] = {}
    total = 0
    for key, value in pairs:
        if not isinstance(key, str) or len(key) > MAX_NAME:
            raise LiteralError(
                f"a category must be a string of at most {MAX_NAME} characters, got {_short(key)}"
            )
        if not _normal(key) or any("\ud800" <= character <= "\udfff" for character in key):
            raise LiteralError(f"a category without a readable name: {_short(key)}")
        name = spelling.get(_normal(key), _normal(key))
        if name in positions:
            raise LiteralError(f"category {_short(name)} stands twice")
        if not isinstance(value, list) or isinstance(value, Pairs):
            raise LiteralError(f"{_short(name)} needs a list of [x, y], got {_short(value)}")
        total += len(value)
        if total > MAX_POINTS:
            raise LiteralError(f"more than {MAX_POINTS} positions")
        positions[name] = tuple(_strict_point(name, point) for point in value)
    return positions


def _strict_point(name: str, point: object) -> tuple[float, float]:
    if not isinstance(point, list | tuple) or isinstance(point, Pairs) or len(point) != 2:
        raise LiteralError(f"{_short(name)} needs positions [x, y], got {_short(point)}")
    for value in point:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise LiteralError(f"{_short(name)} has coordinate {_short(value)}, not a number")
        if (isinstance(value, float) and not math.isfinite(value)) or abs(value) > MAX_COORDINATE:
            raise LiteralError(f"{_short(name)} has a coordinate beyond ±{MAX_COORDINATE}")
    return point[0], point[1]


def _normal(name: str) -> str:
    return " ".join(name.lower().split())


def _short(value: object) -> str:
    """A value for a reason, at most 40 characters; containers by name, since printing them could be long."""
    if isinstance(value, str):
        return ascii(value[:40])
    if isinstance(value, bool | float | None):
        return str(value)
    return f"a {type(value).__name__}"
