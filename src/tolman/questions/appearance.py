"""Appearance order: in which order four categories come into view for the first time."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import combinations, pairwise
from typing import NamedTuple

import numpy as np

from tolman.questions.common import Draft, Recomputed, choose, clean, unknown
from tolman.questions.facts import facts_of
from tolman.questions.view import MIN_SHARE, View
from tolman.render.sightings import Sightings
from tolman.scenes import Scene

CATEGORIES = 4
CHOICES = 4

MIN_FRAMES = 2
"""Frames between two first sightings in one question."""

HINT_SHARE = MIN_SHARE / 4
"""A category that covers this share of a frame may have been noticed: its first clear sighting must still
come after the clear sighting of the one before it in the order."""

POOL = 14
"""Categories drawn per clip, among which all sets of four are tried (at most 1,001)."""

MAX_DRAFTS = 24
"""Sets kept per clip."""

_WORDING = re.compile(
    r"^What will be the first-time appearance order of the following categories in the video: (.+?)\?$",
    re.IGNORECASE,
)


class Entry(NamedTuple):
    """When a category comes into view: first frame with a hint of it, first frame in which it is clear."""

    category: str
    hint: int
    clear: int


def recompute(
    question: str, options: Sequence[str] | None, scene: Scene, sightings: Sightings | None = None
) -> Recomputed:
    """The categories sorted by first clear sighting; uncomputable without sightings (boxes do not tell)."""
    match = _WORDING.match(clean(question))
    if not match:
        return unknown("the question is not worded as an appearance order question")
    if sightings is None:
        return unknown("appearance order follows from sightings, not from the boxes")
    facts = facts_of(scene)
    frames: dict[str, int] = {}
    for text in match.group(1).split(", "):
        name = facts.name(text)
        if name is None:
            return unknown(f"{text!r} is not in the scene's metadata")
        frame = sightings.first_frame(scene, name, MIN_SHARE)
        if frame is None:
            return unknown(f"{text!r} is never seen")
        frames[name] = frame
    order = sorted(frames, key=frames.__getitem__)
    reason = "first seen in frame " + ", ".join(f"{frames[name]} ({name})" for name in order)
    if len(set(frames.values())) < len(frames):
        return unknown(f"tie: {reason}")
    return choose(options, ", ".join(order), None, reason)


def entries(view: View) -> list[Entry]:
    """The categories that were clearly seen, by first clear sighting."""
    if view.sightings is None:
        return []
    found = []
    for category in view.categories:
        clear = view.sightings.first_frame(view.scene, category, MIN_SHARE)
        hint = view.sightings.first_frame(view.scene, category, HINT_SHARE)
        if clear is not None and hint is not None:
            found.append(Entry(category, hint, clear))
    return sorted(found, key=lambda entry: (entry.clear, entry.category))


def drafts(view: View, rng: np.random.Generator) -> list[Draft]:
    """Sets of four categories whose order of coming into view is plain; none without sightings."""
    seen = entries(view)
    pool = sorted(rng.permutation(len(seen))[:POOL].tolist())
    plain = [
        chain
        for chain in combinations([seen[k] for k in pool], CATEGORIES)
        if all(_apart(one, two) for one, two in pairwise(chain))
    ]
    return [_draft(plain[k], view, rng) for k in rng.permutation(len(plain))[:MAX_DRAFTS]]


def _apart(early: Entry, late: Entry) -> bool:
    """Whether `late` plainly comes after `early` (and so after everything that `early` comes after)."""
    return late.clear - early.clear >= MIN_FRAMES and late.hint > early.clear


def _draft(chain: Sequence[Entry], view: View, rng: np.random.Generator) -> Draft:
    assert view.sightings is not None
    names = [entry.category for entry in chain]
    orders = [tuple(names)]
    while len(orders) < CHOICES:
        order = tuple(names[k] for k in rng.permutation(len(names)))
        if order not in orders:
            orders.append(order)
    shown = ", ".join(names[k] for k in rng.permutation(len(names)))
    text = f"What will be the first-time appearance order of the following categories in the video: {shown}?"
    times = view.sightings.times_T
    evidence = {
        "first_frames": {entry.category: entry.clear for entry in chain},
        "first_seconds": {entry.category: round(float(times[entry.clear]), 3) for entry in chain},
    }
    choices = tuple(", ".join(order) for order in orders)
    return Draft(text, choices[0], choices, "", evidence)
