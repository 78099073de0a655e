"""Absolute distance: smallest distance between two boxes as solids, metres, one decimal.

The official answers come from points sampled on the boxes, so they lie 0.04 m above the exact distance on
average (median over the 277 ARKitScenes questions; at most 0.23 m).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import combinations

import numpy as np

from tolman.questions.common import Draft, Recomputed, clean, fixed, unknown
from tolman.questions.facts import facts_of
from tolman.questions.view import View
from tolman.scenes import Scene

MIN_DISTANCE = 0.2
"""Pairs closer than this (metres), touching and overlapping ones among them, are not asked about: the
rounding and the annotation's own error would decide (the smallest official answer is 0.4)."""

_WORDING = re.compile(
    r"^Measuring from the closest point of each object, what is the (?:direct )?distance between the (.+?)"
    r" and the (.+) \(in meters\)\?$",
    re.IGNORECASE,
)


def parse(question: str) -> tuple[str, str] | None:
    """The two objects, or None where the question is not worded as an absolute distance question."""
    match = _WORDING.match(clean(question))
    return (match.group(1), match.group(2)) if match else None


def recompute(question: str, options: Sequence[str] | None, scene: Scene) -> Recomputed:
    """Smallest distance over all pairs of items of the two categories."""
    asked = parse(question)
    if asked is None:
        return unknown("the question is not worded as an absolute distance question")
    facts = facts_of(scene)
    names = [facts.name(text) for text in asked]
    if names[0] is None or names[1] is None:
        missing = [text for text, name in zip(asked, names, strict=True) if name is None]
        return unknown(f"not in the scene's metadata: {', '.join(map(repr, missing))}")
    if names[0] == names[1]:
        return unknown(f"both objects are of category {names[0]!r}")
    close = facts.closest(names[0], names[1])
    reason = f"{close.distance:.4f} m between {close.first} and {close.second}"
    return Recomputed(fixed(close.distance, 1), close.distance, reason)


def drafts(view: View, rng: np.random.Generator) -> list[Draft]:
    """One question per pair of categories with a single item each (as the benchmark), far enough apart."""
    found = []
    for pair in combinations(view.unique, 2):
        first, second = pair if rng.integers(2) else pair[::-1]
        close = view.facts.closest(first, second)
        if close.distance < MIN_DISTANCE:
            continue
        text = (
            f"Measuring from the closest point of each object, what is the distance between the {first} "
            f"and the {second} (in meters)?"
        )
        evidence = {"items": [close.first, close.second], "distance_m": round(close.distance, 4)}
        found.append(Draft(text, fixed(close.distance, 1), None, "m", evidence))
    return found
