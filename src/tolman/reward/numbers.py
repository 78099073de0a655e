"""Which number an answer gives."""

from __future__ import annotations

import math
import re
from typing import NamedTuple

ONES = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
]
"""The numbers 0 to 19 as words."""
TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_WORDS = {word: value for value, word in enumerate(ONES)}
_WORDS |= {word: 10 * (k + 2) for k, word in enumerate(TENS)}
_SPOKEN = re.compile(
    rf"(?<![a-z])(?:({'|'.join(TENS)})[- ]({'|'.join(ONES[1:10])})|({'|'.join(_WORDS)}))(?![a-z])"
)
_CHUNK = re.compile(r"(?<![a-z0-9_^])[+-]?(?:[0-9]|\.[0-9])[0-9.,]*(?:e[+-]?[0-9]+)?")
_WELL_FORMED = re.compile(r"[+-]?(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)?(?:\.[0-9]+)?(?:e[+-]?[0-9]{1,3})?")
_UNIT = re.compile(r"[\s-]*(?P<square>square\s+|sq\.?\s*)?(?P<name>[a-z]+)\s*(?P<power>\^?2|²|squared)?")
_METRES = {"mm": 1e-3, "cm": 1e-2, "dm": 1e-1, "m": 1.0, "km": 1e3, "inch": 0.0254, "ft": 0.3048}
_NAMES = {"inches": "inch", "foot": "ft", "feet": "ft"}
for _prefix, _short in (("milli", "mm"), ("centi", "cm"), ("deci", "dm"), ("", "m"), ("kilo", "km")):
    _NAMES |= {f"{_prefix}{name}": _short for name in ("meter", "meters", "metre", "metres")}
_ASKED = {"m": ("m", 1), "cm": ("cm", 1), "m²": ("m", 2), "m2": ("m", 2)}

# SpaceR's table in its order: a word found anywhere wins over digits and over the words after it.
_PUBLISHED = {word: float(_WORDS[word]) for word in [*ONES[1:], *TENS, "zero"]} | {"a": 1.0, "an": 1.0}


class Number(NamedTuple):
    """A finite number; None with the reason where the text gives no single one."""

    value: float | None
    reason: str


def published_number(text: str) -> float | None:
    """SpaceR's `fuzzy_matching` and `to_float` (SG-RLVR.py): None where it finds no number.

    A number word anywhere wins over digits, in the order of its table ("2 or one" is 1), "a" and "an" count
    as 1 ("a distance of 3 m" is 1), and a minus sign is dropped.
    """
    text = text.strip().lower()
    for word, value in _PUBLISHED.items():
        if re.search(rf"\b{word}\b", text):
            return value
    match = re.search(r"\d+(\.\d+)?", text)
    return float(match.group(0)) if match else None


def read_number(text: str, unit: str = "") -> Number:
    """The one number that an answer gives: sign, decimals, exponent, thousands commas, or a word up to 99.

    unit: what the question asks for (`m`, `cm`, `m²`, `count` or ""). A length or an area stated in another
    unit is converted ("150 cm" is 1.5 where m is asked for); one of the wrong kind ("3 m²" for m) gives no
    number; other words are no units ("4 chairs"). Several different numbers give none, so that listing them
    earns nothing.
    """
    text = text.strip().lower().replace("\u2212", "-")
    found: list[tuple[float, int]] = []
    for match in _CHUNK.finditer(text):
        written = match.group().rstrip(".,")
        if not _WELL_FORMED.fullmatch(written):
            return Number(None, f"{written[:40]!a} is not written as one number")
        found.append((float(written.replace(",", "")), match.end()))
    for match in _SPOKEN.finditer(text):
        words = [word for word in match.groups() if word]
        found.append((float(sum(_WORDS[word] for word in words)), match.end()))
    if not found:
        return Number(None, f"{text[:40]!a} gives no number")
    if len({value for value, _ in found}) > 1:
        return Number(None, f"{text[:40]!a} gives several numbers")
    value, end = found[0]
    if not math.isfinite(value):
        return Number(None, "the number is too large")
    return _converted(value, text[end:], unit)


def _converted(value: float, after: str, unit: str) -> Number:
    """The value in the unit asked for, where a unit is stated right after it."""
    match = _UNIT.match(after)
    stated = _NAMES.get(match["name"], match["name"]) if match else ""
    if match is None or unit not in _ASKED or stated not in _METRES:
        return Number(value, "")
    asked, dimension = _ASKED[unit]
    if dimension != (2 if match["square"] or match["power"] else 1):
        return Number(None, f"the answer is in {match.group().strip()!a}, asked for {unit}")
    return Number(value * (_METRES[stated] / _METRES[asked]) ** dimension, "")
