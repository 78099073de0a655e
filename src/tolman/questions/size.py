"""Object size: longest edge of the only box of a category, in whole centimetres (rounded, not cut off)."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from tolman.questions.common import Draft, Recomputed, clean, fixed, unknown
from tolman.questions.facts import facts_of
from tolman.questions.view import View
from tolman.scenes import Scene

MIN_CM = 1.0
"""Shorter longest edges are annotation errors and are not asked about."""

_WORDING = re.compile(
    r"^What is the length of the longest dimension \(length, width, or height\) of the (.+?), "
    r"measured in centimeters\?$",
    re.IGNORECASE,
)


def recompute(question: str, options: Sequence[str] | None, scene: Scene) -> Recomputed:
    """Longest edge in cm; uncomputable when the category has several items (which is meant is not said)."""
    match = _WORDING.match(clean(question))
    if not match:
        return unknown("the question is not worded as an object size question")
    facts = facts_of(scene)
    category = facts.name(match.group(1))
    if category is None:
        return unknown(f"{match.group(1)!r} is not in the scene's metadata")
    if facts.count(category) > 1:
        return unknown(f"the scene has {facts.count(category)} items of category {category!r}, not one")
    item = facts.the(category)
    value = item.box.longest * 100
    return Recomputed(
        fixed(value, 0), value, f"edges of {item.id}: {(item.box.size * 100).round(1).tolist()} cm"
    )


def drafts(view: View, rng: np.random.Generator) -> list[Draft]:
    """One question per category with a single item."""
    found = []
    for category in view.unique:
        item = view.facts.the(category)
        value = item.box.longest * 100
        if value < MIN_CM:
            continue
        text = (
            "What is the length of the longest dimension (length, width, or height) of the "
            f"{category}, measured in centimeters?"
        )
        evidence = {"item": item.id, "edges_cm": (item.box.size * 100).round(2).tolist()}
        found.append(Draft(text, fixed(value, 0), None, "cm", evidence))
    return found
