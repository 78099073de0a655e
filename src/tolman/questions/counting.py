"""Counting: how many items of a category there are.

Where the source declares its own counts (VSI-Bench's `object_counts`), these are the official answers; in two
of its 288 scans they differ from the boxes. Such categories are recomputed by the declared count and never
asked about.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from tolman.questions.common import Draft, Recomputed, clean, unknown
from tolman.questions.facts import facts_of
from tolman.questions.view import View
from tolman.scenes import Scene

MIN_COUNT = 2
"""Smallest count asked about: no official question has the answer 1 or 0."""

_WORDING = re.compile(r"^How many (.+?)(?:\(e?s\))? are (?:there )?in this (?:room|scene)\?$", re.IGNORECASE)


def parse(question: str) -> str | None:
    """What is counted, or None where the question is not worded as a counting question."""
    match = _WORDING.match(clean(question))
    return match.group(1) if match else None


def recompute(question: str, options: Sequence[str] | None, scene: Scene) -> Recomputed:
    """Number of items of the category in the scene's metadata; the source's own count goes first."""
    counted = parse(question)
    if counted is None:
        return unknown("the question is not worded as a counting question")
    facts = facts_of(scene)
    category = facts.name(counted)
    if category is None:
        return unknown(f"{counted!r} is not in the scene's metadata")
    boxes, count = facts.count(category), facts.declared(category)
    reason = f"{boxes} items of category {category!r}"
    if count != boxes:
        reason += f", but the source counts {count}"
    return Recomputed(str(count), float(count), reason)


def drafts(view: View, rng: np.random.Generator) -> list[Draft]:
    """One question per category of at least `MIN_COUNT` items, all of them seen."""
    found = []
    for category in view.complete:
        members = view.scene.of(category)
        if len(members) >= MIN_COUNT and len(members) == view.facts.declared(category):
            evidence = {"category": category, "items": [item.id for item in members]}
            text = f"How many {category}(s) are in this room?"
            found.append(Draft(text, str(len(members)), None, "count", evidence))
    return found
