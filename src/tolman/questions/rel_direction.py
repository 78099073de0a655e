"""Relative direction: where an object lies for somebody who stands at one item and faces another.

Positions are box centres in the floor plane. The angle is that from (stand → face) to (stand → target), in
degrees, positive to the left. Easy: left or right. Medium: back from 135° on, else left or right. Hard:
quadrant.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tolman.questions.common import (
    DIRECTION_EASY,
    DIRECTION_HARD,
    DIRECTION_MEDIUM,
    Draft,
    Recomputed,
    choose,
    clean,
    unknown,
)
from tolman.questions.facts import facts_of
from tolman.questions.view import View
from tolman.scenes import Scene
from tolman.scenes.types import Floats

BACK = 135.0
"""From this turn on (degrees) something is behind."""

MARGIN = 10.0
"""A question is asked only when the angle is this far (degrees) from every boundary between its answers."""

MIN_LEG = 0.5
"""The three items' centres must be this far apart in the floor plane (metres): one does not stand at one of
two items that lie over each other and face the other."""

TIE = 1e-6
"""An angle this close to a boundary (degrees), or a shorter leg (metres), has no answer."""

MAX_DRAFTS = 200
"""Triples drawn per scene and difficulty."""

CHOICES = {
    DIRECTION_EASY: ("left", "right"),
    DIRECTION_MEDIUM: ("left", "right", "back"),
    DIRECTION_HARD: ("front-left", "front-right", "back-left", "back-right"),
}
BOUNDARIES = {
    DIRECTION_EASY: (0.0, 180.0),
    DIRECTION_MEDIUM: (0.0, BACK),
    DIRECTION_HARD: (0.0, 90.0, 180.0),
}
"""Absolute angles at which the answer changes."""

_ENDINGS = {
    "to the left or the right of": DIRECTION_EASY,
    "to my left, right, or back?": DIRECTION_MEDIUM,
    "to my front-left, front-right, back-left, or back-right?": DIRECTION_HARD,
}
_WORDING = re.compile(
    r"^If I am standing by the (?P<stand>.+?) and facing the (?P<face>.+?), is the (?P<target>.+?) "
    rf"(?P<ending>{'|'.join(map(re.escape, _ENDINGS))})",
    re.IGNORECASE,
)


def signed_angle(stand: Floats, face: Floats, target: Floats) -> float:
    """Degrees in (−180, 180] from (stand → face) to (stand → target), left positive; points (2,), metres."""
    ahead, aside = face - stand, target - stand
    cross = ahead[0] * aside[1] - ahead[1] * aside[0]
    return float(np.degrees(np.arctan2(cross, ahead @ aside)))


def answer_of(family: str, angle: float) -> str:
    """The answer of the family for an angle in degrees."""
    side = "left" if angle > 0 else "right"
    if family == DIRECTION_EASY:
        return side
    if family == DIRECTION_MEDIUM:
        return "back" if abs(angle) >= BACK else side
    return f"{'front' if abs(angle) < 90 else 'back'}-{side}"


def parse(question: str) -> tuple[str, str, str] | None:
    """Where one stands, what one faces and the target, or None where it is no relative direction question."""
    match = _WORDING.match(clean(question))
    return (match.group("stand"), match.group("face"), match.group("target")) if match else None


def recompute(question: str, options: Sequence[str] | None, scene: Scene) -> Recomputed:
    """The direction, its difficulty read from the wording; each object must be the only one of its kind."""
    match = _WORDING.match(clean(question))
    if not match:
        return unknown("the question is not worded as a relative direction question")
    family = _ENDINGS[match.group("ending").lower()]
    facts = facts_of(scene)
    names = []
    for text in match.group("stand", "face", "target"):
        name = facts.name(text)
        if name is None:
            return unknown(f"{text!r} is not in the scene's metadata")
        if facts.count(name) > 1:
            return unknown(f"the scene has {facts.count(name)} items of category {name!r}, not one")
        names.append(name)
    if len(set(names)) < 3:
        return unknown(f"the three objects are not different: {', '.join(names)}")
    stand, face, target = (facts.place(name) for name in names)
    if min(np.linalg.norm(face - stand), np.linalg.norm(target - stand)) < TIE:
        return unknown("two of the objects have the same position in the floor plane")
    angle = signed_angle(stand, face, target)
    if family != DIRECTION_MEDIUM and any(abs(abs(angle) - edge) < TIE for edge in BOUNDARIES[family]):
        return unknown(f"tie: the angle is {angle:.6f}°")
    return choose(options, answer_of(family, angle), angle, f"{angle:.2f}° (left positive)")


def drafts_easy(view: View, rng: np.random.Generator) -> list[Draft]:
    """Left or right of the faced object; targets behind (≥ 135°) are not asked about, as in the benchmark."""
    return _drafts(DIRECTION_EASY, view, rng)


def drafts_medium(view: View, rng: np.random.Generator) -> list[Draft]:
    """Left, right or back."""
    return _drafts(DIRECTION_MEDIUM, view, rng)


def drafts_hard(view: View, rng: np.random.Generator) -> list[Draft]:
    """Quadrant."""
    return _drafts(DIRECTION_HARD, view, rng)


def _drafts(family: str, view: View, rng: np.random.Generator) -> list[Draft]:
    names = view.unique
    if len(names) < 3:
        return []
    places = np.array([view.facts.place(name) for name in names])
    angles, asked = angle_table(places, family)
    triples = np.argwhere(asked)
    drawn = triples[rng.permutation(len(triples))[:MAX_DRAFTS]]
    return [_draft(family, [names[k] for k in triple], float(angles[tuple(triple)])) for triple in drawn]


def angle_table(places: Floats, family: str) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Angles (n, n, n) in degrees by stand, face, target of places (n, 2); True where one may ask."""
    legs = places[None, :] - places[:, None]
    cross = legs[:, :, None, 0] * legs[:, None, :, 1] - legs[:, :, None, 1] * legs[:, None, :, 0]
    angles = np.degrees(np.arctan2(cross, np.einsum("sfx,stx->sft", legs, legs)))
    apart = np.linalg.norm(legs, axis=-1) >= MIN_LEG
    asked = apart[:, :, None] & apart[:, None, :] & apart[None, :, :]
    for edge in BOUNDARIES[family]:
        asked &= np.abs(np.abs(angles) - edge) >= MARGIN
    if family == DIRECTION_EASY:
        asked &= np.abs(angles) < BACK
    return angles, asked


def _draft(family: str, names: Sequence[str], angle: float) -> Draft:
    stand, face, target = names
    text = f"If I am standing by the {stand} and facing the {face}, is the {target} "
    if family == DIRECTION_EASY:
        text += f"to the left or the right of the {face}?"
    elif family == DIRECTION_MEDIUM:
        text += (
            "to my left, right, or back?\n"
            "An object is to my back if I would have to turn at least 135 degrees in order to face it."
        )
    else:
        text += (
            "to my front-left, front-right, back-left, or back-right?\n"
            "The directions refer to the quadrants of a Cartesian plane "
            "(if I am standing at the origin and facing along the positive y-axis)."
        )
    evidence = {"stand": stand, "face": face, "target": target, "angle_deg": round(angle, 2)}
    return Draft(text, answer_of(family, angle), CHOICES[family], "", evidence)
