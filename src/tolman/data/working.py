"""What follows from a cognitive map for a question, worked out in words and numbers.

The text between a gold completion's map and its answer, made of steps small enough to learn. Things are
introduced in the question's own phrases (what follows a phrase there follows it again), their places copied
from the map; then come offsets in cells, bearings in degrees counted from +x against the clock, turns (left
positive), lengths. Last, the options are read out up to the right one, so that the answer's letter is the one
just said. The conclusion is the true answer, which the cells of a coarse map need not bear out exactly.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from tolman.questions import abs_distance, counting, rel_direction, rel_distance, route
from tolman.questions.common import LETTERS
from tolman.questions.question import GridMap, Question

STEP = 10
"""Bearings are rounded to this many degrees: what ten cells a side can tell."""

Cell = Sequence[float]


def working(question: Question) -> str:
    """How the answer follows from the question's cognitive map; "" where it does not (sizes, order of sight).

    Directions: ` by the washer 8 6; facing the refrigerator 6 9: -2 3, 120; is the bathtub 6 0: -2 -6, 250;
    turn 250-120=130, left: A. right, B. left`. Absolute distances: ` between the washer 8 6 and the
    refrigerator 6 9: 2 3, 3.6`, an offset without signs and its length. Relative ones with the shortest
    length before and the nearest so far: ` closest to the toilet 1 9; A. chair 1 2: 0 7, 7.0 A; B. sofa 6 9:
    5 0, 5.0 < 7.0 B: B`. Counts: ` many chair(s): 1 2; 7 8`. Routes: an entry for each walk, with the turn
    that leads to it.
    """
    places = question.cognitive_map or {}
    for worked_out in (_direction, _route, _absolute, _relative, _count):
        if said := worked_out(question, places):
            return f" {said}"
    return ""


def _direction(question: Question, places: GridMap) -> str:
    names = rel_direction.parse(question.problem)
    cells = _only(names, places) if names else None
    if names is None or cells is None:
        return ""
    stand, face, target = cells
    turn = _turn(stand, face, stand, target)
    return (
        f"by the {names[0]} {_numbers(stand)}; facing the {_leg(names[1], stand, face)}; "
        f"is the {_leg(names[2], stand, target)}; turn {turn}, {_right_option(question)}{_read_out(question)}"
    )


def _route(question: Question, places: GridMap) -> str:
    way = route.parse(question.problem)
    if isinstance(way, str):
        return ""
    walked = [step for step in way.steps if step]
    cells = _only((way.start, way.face, *walked), places)
    if cells is None:
        return ""
    where = dict(zip((way.start, way.face, *walked), cells, strict=True))
    at, ahead = where[way.start], (where[way.start], where[way.face])
    said = [f"at the {way.start} {_numbers(at)}; facing the {_leg(way.face, at, where[way.face])}"]
    turns = iter(_right_option(question).split(", "))
    for number, step in enumerate(way.steps, 1):
        if step is None:
            continue
        entry = f"{number}. Go forward until the {_leg(step, at, where[step])}"
        if number > 1 and way.steps[number - 2] is None:
            entry += f"; turn {_turn(*ahead, at, where[step])}, {next(turns, '')}"
        said.append(entry)
        at, ahead = where[step], (at, where[step])
    return "; ".join(said) + _read_out(question)


def _absolute(question: Question, places: GridMap) -> str:
    names = abs_distance.parse(question.problem)
    cells = _only(names, places) if names else None
    if names is None or cells is None:
        return ""
    return f"between the {names[0]} {_numbers(cells[0])} and the {_apart(names[1], *cells)}"


def _relative(question: Question, places: GridMap) -> str:
    names = rel_distance.parse(question.problem, question.options)
    start = _only(names[:1], places) if names else None
    if names is None or start is None or not all(name in places for name in names[1:]):
        return ""
    said, best = [f"closest to the {names[0]} {_numbers(start[0])}"], (math.inf, "")
    for letter, name in zip(LETTERS, names[1:], strict=False):
        for cell in sorted(places[name]):
            length, before = math.dist(start[0], cell), best[0]
            best = min(best, (length, letter))
            compared = "" if before == math.inf else f" {'<' if length < before else '>'} {before:.1f}"
            said.append(f"{letter}. {_apart(name, start[0], cell)}{compared} {best[1]}")
    return f"{'; '.join(said)}: {question.answer}"


def _count(question: Question, places: GridMap) -> str:
    name = counting.parse(question.problem)
    cells = sorted(places.get(name or "", ()))
    return f"many {name}(s): {'; '.join(map(_numbers, cells))}" if cells else ""


def _only(names: Iterable[str], places: GridMap) -> list[Cell] | None:
    """Where each of the named things is; None unless each is on the map just once."""
    found = [places.get(name, []) for name in names]
    return [cells[0] for cells in found] if found and all(len(cells) == 1 for cells in found) else None


def _right_option(question: Question) -> str:
    """The right option's words, "" where there are no options."""
    for option in question.options or ():
        letter, _, words = option.partition(". ")
        if letter == question.answer:
            return words
    return ""


def _read_out(question: Question) -> str:
    """`: A. right, B. left`: the options in order up to the right one."""
    letters = [option.partition(". ")[0] for option in question.options or ()]
    if question.answer not in letters:
        return ""
    return f": {', '.join((question.options or ())[: letters.index(question.answer) + 1])}"


def _leg(name: str, start: Cell, end: Cell) -> str:
    offset = (end[0] - start[0], end[1] - start[1])
    return f"{name} {_numbers(end)}: {_numbers(offset)}, {_bearing(start, end)}"


def _apart(name: str, start: Cell, end: Cell) -> str:
    offset = (abs(end[0] - start[0]), abs(end[1] - start[1]))
    return f"{name} {_numbers(end)}: {_numbers(offset)}, {math.dist(start, end):.1f}"


def _turn(start: Cell, faced: Cell, at: Cell, end: Cell) -> str:
    """`20-300=-280=80`: from the bearing start → faced to at → end; within (−180, 180], left positive."""
    ahead, bearing = _bearing(start, faced), _bearing(at, end)
    turn = bearing - ahead
    within = 180 - (180 - turn) % 360
    return f"{bearing}-{ahead}={turn}" + (f"={within}" if within != turn else "")


def _bearing(start: Cell, end: Cell) -> int:
    degrees = math.degrees(math.atan2(end[1] - start[1], end[0] - start[0]))
    return round(degrees / STEP) * STEP % 360


def _numbers(values: Iterable[float]) -> str:
    return " ".join(f"{value:g}" for value in values)
