"""A question about a room as its mirror image asks it."""

from __future__ import annotations

import re
from dataclasses import replace

from tolman.questions.question import GridMap, Question

_SIDE = re.compile(r"(?<![^\W_])(left|right)(?=(?:most|ward|wards|hand)?(?![^\W_]))", re.IGNORECASE)
_OTHER = {
    "left": "right",
    "right": "left",
    "Left": "Right",
    "Right": "Left",
    "LEFT": "RIGHT",
    "RIGHT": "LEFT",
}
_GRID = 10


def mirror_question(question: Question) -> Question:
    """The question about the clip with every frame flipped left to right.

    Left and right change places in the problem, in the options and, where there are none, in the solution; an
    option keeps its letter, so the right letter stays right. The map is turned over along x, one of the
    equally good ways to draw a mirrored room. Counts, sizes, distances and order stay. Evidence, which speaks
    of the room as it was, is dropped. "right" in the sense of correct is exchanged too: a problem should not
    use it.
    """
    options = None if question.options is None else tuple(swap_sides(option) for option in question.options)
    return replace(
        question,
        problem=swap_sides(question.problem),
        options=options,
        solution=swap_sides(question.solution) if options is None else question.solution,
        cognitive_map=None if question.cognitive_map is None else _mirror_map(question.cognitive_map),
        evidence={},
    )


def swap_sides(text: str) -> str:
    """Exchange the words left and right (also in front-left, leftmost, rightward), their capitals kept."""
    return _SIDE.sub(lambda match: _OTHER.get(match[1], _OTHER[match[1].lower()]), text)


def _mirror_map(drawn: GridMap) -> GridMap:
    return {
        category: [[_GRID - 1 - place[0], *place[1:]] for place in places]
        for category, places in drawn.items()
    }
