"""Route planning: the turns (left, right, back) along waypoints, each walked to in a straight line.

Positions are box centres in the floor plane. One starts at an item, facing another; "Go forward until X"
leads straight to X and leaves one looking along that leg; a blank is the turn from there to the next
waypoint: back from 135° on, else left or right. The official routes were written by hand, mostly along things
that are not in the metadata (4 of the 104 ARKitScenes rows name nothing else); those are reported as not
computable.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

import numpy as np

from tolman.questions.common import Draft, Recomputed, choose, clean, unknown
from tolman.questions.facts import facts_of
from tolman.questions.rel_direction import BACK
from tolman.questions.view import View
from tolman.scenes import Scene

MARGIN = 15.0
"""Turns this close (degrees) to straight on or to the boundary of back are neither asked nor recomputed: a
person does not walk from box centre to box centre that precisely."""

MIN_LEG = 0.8
"""Shortest leg (metres between box centres) that is asked about."""

MAX_BLANKS = 3
MAX_HEIGHT = 1.8
"""Items that begin this high above the lowest one (metres), such as ceiling lights, are no waypoints."""

TRIES = 16
"""Random routes tried per number of blanks."""

CHOICES = 4
TURNS = ("Turn Left", "Turn Right", "Turn Back")
BLANK = "[please fill in]"

_WORDING = re.compile(
    r"^You are a robot beginning at (?P<start>.+?),? (?:and )?facing (?:to |towards? )?(?P<face>.+?)\. "
    r"You want to navigate to .+?\. You will perform the following actions \(Note: .*?\): "
    r"(?P<steps>.+?)\.? You have reached the final destination\.$",
    re.IGNORECASE,
)
_STEP = re.compile(r"(?:^|\s)\d+\.\s+")
_FORWARD = re.compile(r"^Go forward (?:until|to) (.+)$", re.IGNORECASE)
_ARTICLE = re.compile(r"^the\s+", re.IGNORECASE)

Point = tuple[float, float]


class Route(NamedTuple):
    """A parsed route: where one starts, what one faces, then None for a blank or the next waypoint."""

    start: str
    face: str
    steps: list[str | None]


def turn_between(ahead: Point, leg: Point) -> float:
    """Degrees in (−180, 180] from one direction to the other in the floor plane, left positive."""
    cross = ahead[0] * leg[1] - ahead[1] * leg[0]
    return math.degrees(math.atan2(cross, ahead[0] * leg[0] + ahead[1] * leg[1]))


def turn_name(angle: float) -> str | None:
    """The turn of an angle in degrees; None within `MARGIN` of straight on or of the boundary of back."""
    if abs(angle) < MARGIN or abs(abs(angle) - BACK) < MARGIN:
        return None
    if abs(angle) >= BACK:
        return "Turn Back"
    return "Turn Left" if angle > 0 else "Turn Right"


def parse(question: str) -> Route | str:
    """The route in the benchmark's wording, or why it cannot be read."""
    match = _WORDING.match(clean(question))
    if not match:
        return "the question is not worded as a route planning question"
    steps: list[str | None] = []
    for step in _STEP.split(match.group("steps")):
        text = step.strip(" .")
        forward = _FORWARD.match(text)
        if text.lower() == BLANK:
            steps.append(None)
        elif forward:
            steps.append(_ARTICLE.sub("", forward.group(1)))
        elif text:
            return f"step {text!r} is neither a turn nor a way to a waypoint"
    start, face = (_ARTICLE.sub("", match.group(name)) for name in ("start", "face"))
    return Route(start, face, steps)


def recompute(question: str, options: Sequence[str] | None, scene: Scene) -> Recomputed:
    """The turns, when every waypoint is the only item of its category and no turn is borderline."""
    route = parse(question)
    if isinstance(route, str):
        return unknown(route)
    facts = facts_of(scene)
    places: dict[str, Point] = {}
    for text in [route.start, route.face, *(step for step in route.steps if step)]:
        name = facts.name(text)
        if name is None:
            return unknown(f"{text!r} is not in the scene's metadata")
        if facts.count(name) > 1:
            return unknown(f"the scene has {facts.count(name)} items of category {name!r}, not one")
        x, y = facts.place(name)
        places[text] = (float(x), float(y))
    if facts.name(route.start) == facts.name(route.face):
        return unknown(f"where somebody at the {route.start} looks who faces it is not in the metadata")
    angles = turn_angles(route, places)
    if isinstance(angles, str):
        return unknown(angles)
    names = [turn_name(angle) for angle in angles]
    reason = "turns of " + ", ".join(f"{angle:.1f}°" for angle in angles)
    known = [name for name in names if name is not None]
    if len(known) < len(names):
        return unknown(f"{reason}: straight lines between box centres do not decide")
    return choose(options, ", ".join(known), None, reason)


def turn_angles(route: Route, places: dict[str, Point]) -> list[float] | str:
    """Degrees at each blank (left positive) given each waypoint's place, or why they are undefined."""
    at = places[route.start]
    ahead = _leg(at, places[route.face])
    angles: list[float] = []
    pending = False
    for step in route.steps:
        if step is None:
            if pending:
                return "two turns follow each other"
            pending = True
            continue
        leg = _leg(at, places[step])
        if math.hypot(*leg) < 1e-6 or math.hypot(*ahead) < 1e-6:
            return "two waypoints in a row have the same position"
        if pending:
            angles.append(turn_between(ahead, leg))
        at, ahead, pending = places[step], leg, False
    if pending or not angles:
        return "no way leads on from a turn" if pending else "the route has no turn to fill in"
    return angles


def drafts(view: View, rng: np.random.Generator) -> list[Draft]:
    """Random routes of 1 to 3 blanks along categories with a single item; half of them begin with a turn."""
    low = min((item.box.corners[:, 2].min() for item in view.scene.items), default=0.0)
    places: dict[str, Point] = {}
    for name in view.unique:
        if view.facts.the(name).box.corners[:, 2].min() <= low + MAX_HEIGHT:
            x, y = view.facts.place(name)
            places[name] = (float(x), float(y))
    made: dict[str, Draft] = {}
    for blanks in range(1, MAX_BLANKS + 1):
        for turn in range(TRIES):
            route = _wander(places, blanks, turn % 2 == 0, rng)
            if route is not None:
                draft = _draft(route, places, rng)
                made[draft.text] = draft
    return list(made.values())


def _wander(
    places: dict[str, Point], blanks: int, turn_first: bool, rng: np.random.Generator
) -> Route | None:
    """A random route of different waypoints, no borderline turn, no short leg; None when it gets stuck."""
    left = [list(places)[k] for k in rng.permutation(len(places))]
    if len(left) < blanks + 2:
        return None
    start, face = left.pop(), left.pop()
    at, ahead = places[start], _leg(places[start], places[face])
    if math.hypot(*ahead) < MIN_LEG:
        return None
    steps: list[str | None] = []
    if not turn_first:
        steps.append(face)
        at = places[face]
    for _ in range(blanks):
        usable = [name for name in left if _usable(ahead, _leg(at, places[name]))]
        if not usable:
            return None
        name = usable[int(rng.integers(len(usable)))]
        left.remove(name)
        steps += [None, name]
        ahead, at = _leg(at, places[name]), places[name]
    return Route(start, face, steps)


def _usable(ahead: Point, leg: Point) -> bool:
    return math.hypot(*leg) >= MIN_LEG and turn_name(turn_between(ahead, leg)) is not None


def _draft(route: Route, places: dict[str, Point], rng: np.random.Generator) -> Draft:
    angles = turn_angles(route, places)
    assert not isinstance(angles, str)
    answer = ", ".join(turn_name(angle) or "" for angle in angles)
    others = [", ".join(turns) for turns in product(TURNS, repeat=len(angles))]
    others.remove(answer)
    picked = [others[k] for k in rng.permutation(len(others))[: CHOICES - 1]]
    actions = [BLANK if step is None else f"Go forward until the {step}" for step in route.steps]
    listed = " ".join(f"{k}. {action}" for k, action in enumerate(actions, 1))
    text = (
        f"You are a robot beginning at the {route.start} and facing the {route.face}. "
        f"You want to navigate to the {route.steps[-1]}. You will perform the following actions "
        "(Note: for each [please fill in], choose either 'turn back,' 'turn left,' or 'turn right.'): "
        f"{listed}. You have reached the final destination."
    )
    waypoints = [route.start, route.face, *(step for step in route.steps if step)]
    evidence = {
        "turns_deg": [round(angle, 2) for angle in angles],
        "places_m": {name: [round(x, 3) for x in places[name]] for name in waypoints},
    }
    return Draft(text, answer, (answer, *picked), "", evidence)


def _leg(start: Point, end: Point) -> Point:
    return (end[0] - start[0], end[1] - start[1])
