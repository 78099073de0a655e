"""Answer a question somebody else wrote from the scene's metadata, by the benchmark's definitions."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tolman.questions import (
    abs_distance,
    appearance,
    counting,
    rel_direction,
    rel_distance,
    room,
    route,
    size,
)
from tolman.questions.common import (
    ABS_DISTANCE,
    APPEARANCE,
    COUNTING,
    DIRECTION,
    DIRECTION_EASY,
    DIRECTION_HARD,
    DIRECTION_MEDIUM,
    REL_DISTANCE,
    ROOM,
    ROUTE,
    SIZE,
    Recomputed,
    unknown,
)
from tolman.render.sightings import Sightings
from tolman.scenes import Scene

__all__ = ["Recomputed", "recompute"]

_FROM_BOXES: dict[str, Callable[[str, Sequence[str] | None, Scene], Recomputed]] = {
    COUNTING: counting.recompute,
    ABS_DISTANCE: abs_distance.recompute,
    SIZE: size.recompute,
    ROOM: room.recompute,
    REL_DISTANCE: rel_distance.recompute,
    DIRECTION: rel_direction.recompute,
    DIRECTION_EASY: rel_direction.recompute,
    DIRECTION_MEDIUM: rel_direction.recompute,
    DIRECTION_HARD: rel_direction.recompute,
    ROUTE: route.recompute,
}


def recompute(
    question_type: str,
    question: str,
    options: Sequence[str] | None,
    scene: Scene,
    sightings: Sightings | None = None,
) -> Recomputed:
    """The answer to a question in VSI-Bench's wording (also SpaceR's early rows'), computed from the scene.

    question_type: a VSI-Bench task name (`object_rel_direction` stands for all three difficulties). options:
    lettered strings or None. sightings: needed by the appearance order alone. Nothing is guessed: an object
    that is not in the metadata, a wording that is not the benchmark's and a tie give `answer=None` and the
    reason.
    """
    if question_type == APPEARANCE:
        return appearance.recompute(question, options, scene, sightings)
    family = _FROM_BOXES.get(question_type)
    if family is None:
        return unknown(f"no definition for task {question_type!r}")
    return family(question, options, scene)
