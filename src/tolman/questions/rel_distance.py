"""Relative distance: which of four categories is closest to an object (smallest distance over instances)."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from tolman.questions.common import (
    CHOICES_MARK,
    Draft,
    Recomputed,
    choose,
    clean,
    inline_options,
    option_texts,
    unknown,
)
from tolman.questions.facts import facts_of
from tolman.questions.view import View
from tolman.scenes import Scene

MIN_GAP = 0.15
"""Metres by which the closest object must be closer than the next (as in 93 % of the official ones)."""

TIE = 1e-6
"""Two distances that differ by less (metres) have no closest."""

CHOICES = 4

_TEXT = (
    "Measuring from the closest point of each object, which of these objects "
    f"({CHOICES_MARK}) is the closest to the "
)
_WORDING = re.compile(
    r"^Measuring from the closest point of each object, which of (?:these|the following) objects"
    r"(?: \((.+)\))? is the closest to the (.+)\?$",
    re.IGNORECASE,
)


def parse(question: str, options: Sequence[str] | None) -> tuple[str, ...] | None:
    """The named object and the candidates, or None where the question is not one of relative distance."""
    match = _WORDING.match(clean(question))
    if not match:
        return None
    options = options or inline_options(question)
    listed = [text for _, text in option_texts(options)] if options else (match.group(1) or "").split(", ")
    return (match.group(2), *listed)


def recompute(question: str, options: Sequence[str] | None, scene: Scene) -> Recomputed:
    """The option whose nearest instance is closest to the nearest instance of the named object."""
    asked = parse(question, options)
    if asked is None:
        return unknown("the question is not worded as a relative distance question")
    options = options or inline_options(question)
    facts = facts_of(scene)
    names = [facts.name(text) for text in asked]
    target, *candidates = [name for name in names if name is not None] or [""]
    if None in names:
        missing = [text for text, name in zip(asked, names, strict=True) if name is None]
        return unknown(f"not in the scene's metadata: {', '.join(map(repr, missing))}")
    if target in candidates:
        return unknown(f"{target!r} is asked about and an option at once")
    distances = {name: facts.closest(target, name).distance for name in candidates}
    order = sorted(distances, key=distances.__getitem__)
    reason = ", ".join(f"{name} {distances[name]:.3f} m" for name in order)
    if len(order) > 1 and distances[order[1]] - distances[order[0]] < TIE:
        return unknown(f"tie: {reason}")
    return choose(options, order[0], distances[order[0]], reason)


def drafts(view: View, rng: np.random.Generator) -> list[Draft]:
    """For every object with a single item and every category that can be closest to it: one set of four
    options.

    Options may have several items (as in the benchmark), all of which must have been seen.
    """
    found = []
    for target in view.unique:
        close = {name: view.facts.closest(target, name) for name in view.complete if name != target}
        for best in close:
            farther = [name for name in close if close[name].distance >= close[best].distance + MIN_GAP]
            if len(farther) < CHOICES - 1:
                continue
            picked = [best, *(farther[k] for k in rng.permutation(len(farther))[: CHOICES - 1])]
            choices = tuple(picked[k] for k in rng.permutation(CHOICES))
            evidence = {
                "target": target,
                "distances_m": {name: round(close[name].distance, 4) for name in choices},
                "instances": {name: close[name].second for name in choices},
            }
            found.append(Draft(_TEXT + f"{target}?", best, choices, "", evidence))
    return found
