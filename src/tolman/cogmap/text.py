"""A map as text, the way a model is asked to write it, and the map's text in a completion."""

from __future__ import annotations

import json
from typing import NamedTuple

from tolman.cogmap.map import CognitiveMap

OPEN, CLOSE = "<map>", "</map>"


def map_text(drawn: CognitiveMap) -> str:
    """`{"chair": [[1, 2]], …}`: JSON on one line, categories and their positions sorted (a map says what is
    where, in no order of its own; one text for one map is easier to learn), whole numbers without a point.

    Metres are rounded to the centimetre. Both parse rules read it back.
    """
    digits = 2 if drawn.grid is None else 3
    return json.dumps(
        {
            category: [[_plain(x, digits), _plain(y, digits)] for x, y in sorted(drawn.positions[category])]
            for category in drawn.categories
        },
        ensure_ascii=False,
    )


class MapText(NamedTuple):
    """The text between the map tags of a completion; None with the reason where there is none."""

    text: str | None
    reason: str


def has_map_tags(completion: str) -> bool:
    """Whether both tags occur anywhere, in any order: what SpaceR's reward (SG-RLVR.py) tests."""
    return OPEN in completion and CLOSE in completion


def extract_map_text(completion: str, rule: str = "strict") -> MapText:
    """The text of a completion's map.

    published: after the first `<map>` up to the next `</map>`, wherever they are, stripped (SG-RLVR.py,
        `extract_map`; a map in the answer or after a wrong close tag therefore counts).
    strict: the last `<map>…</map>` inside `<think>…</think>`.

    Linear time. Raises ValueError for another rule.
    """
    if rule == "published":
        return _between(completion, completion.find(OPEN))
    if rule != "strict":
        raise ValueError(f"map text rule must be 'strict' or 'published', got {rule!r}")
    start = completion.find("<think>")
    end = completion.find("</think>", max(start, 0))
    if start < 0 or end < 0:
        return MapText(None, "no <think>…</think>")
    thought = completion[start + len("<think>") : end]
    close = thought.rfind(CLOSE)
    return _between(thought, thought.rfind(OPEN, 0, close) if close >= 0 else -1)


def _between(text: str, opened: int) -> MapText:
    close = text.find(CLOSE, opened + len(OPEN)) if opened >= 0 else -1
    if close < 0:
        return MapText(None, "no <map>…</map>")
    return MapText(text[opened + len(OPEN) : close].strip(), "")


def _plain(value: float, digits: int) -> float:
    if isinstance(value, int):
        return value
    rounded = round(value, digits)
    return int(rounded) if rounded.is_integer() else rounded
