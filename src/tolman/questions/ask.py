"""Make questions about a scene (and what a clip shows of it), in the benchmark's wording."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any
from zlib import crc32

import numpy as np

from tolman.cogmap.build import build_map
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
    CHOICES_MARK,
    COUNTING,
    DIRECTION_EASY,
    DIRECTION_HARD,
    DIRECTION_MEDIUM,
    FAMILIES,
    LETTERS,
    REL_DISTANCE,
    ROOM,
    ROUTE,
    SIZE,
    Draft,
)
from tolman.questions.question import GridMap, Question
from tolman.questions.view import View
from tolman.render.sightings import Sightings
from tolman.scenes import Scene

__all__ = ["FAMILIES", "ask"]

DATA_SOURCE = "tolman"

_DRAFTS: dict[str, Callable[[View, np.random.Generator], list[Draft]]] = {
    COUNTING: counting.drafts,
    ABS_DISTANCE: abs_distance.drafts,
    SIZE: size.drafts,
    ROOM: room.drafts,
    REL_DISTANCE: rel_distance.drafts,
    DIRECTION_EASY: rel_direction.drafts_easy,
    DIRECTION_MEDIUM: rel_direction.drafts_medium,
    DIRECTION_HARD: rel_direction.drafts_hard,
    APPEARANCE: appearance.drafts,
    ROUTE: route.drafts,
}


def ask(
    scene: Scene,
    sightings: Sightings | None,
    seed: int,
    path: str = "",
    per_family: int | Mapping[str, int] = 4,
    families: Iterable[str] = FAMILIES,
) -> list[Question]:
    """Up to `per_family` questions of each family, the same ones for the same scene, sightings and seed.

    sightings: limits the questions to what was clearly seen, and makes the appearance order askable; None =
    ask about everything in the scene. path: the clip, written into the rows. per_family: one number, or one
    per family (a family that is not in the mapping is not asked). A family for which the scene offers fewer
    unambiguous questions yields fewer. Every question carries the true map of the seen categories and its
    evidence. Raises ValueError for an unknown family, a negative number and sightings of another scene.
    """
    families = list(families)
    wanted = _wanted(per_family, families)
    view = View(scene, sightings)
    shared: dict[str, Any] = {
        "data_type": "video",
        "path": path,
        "data_source": DATA_SOURCE,
        "scene_id": scene.id,
        "cognitive_map": _grid_map(view),
    }
    return [
        question for family in families for question in _family(view, family, wanted[family], seed, shared)
    ]


def _family(view: View, family: str, number: int, seed: int, shared: dict[str, Any]) -> Iterator[Question]:
    """Up to `number` questions of one family; its random numbers depend on seed, scene and family alone."""
    if not number:
        return
    rng = np.random.default_rng([seed % 2**63, crc32(view.scene.id.encode()), crc32(family.encode())])
    picked = pick(_DRAFTS[family](view, rng), number, rng)
    start = int(rng.integers(1 << 16))
    for k, draft in enumerate(picked):
        text, options, answer = letter(draft, start + k, rng)
        yield Question(
            problem_id=f"{view.scene.id}/{family}/{k}",
            problem=text,
            problem_type="multiple choice" if options else "numerical",
            options=options,
            solution=f"<answer>{answer}</answer>",
            question_type=family,
            answer_unit=draft.unit,
            evidence=draft.evidence,
            **shared,
        )


def pick(drafts: Sequence[Draft], number: int, rng: np.random.Generator) -> list[Draft]:
    """At most `number` drafts in random order, taking turns among the answers so that none prevails."""
    turns: dict[str, int] = defaultdict(int)
    keyed: list[tuple[int, int, int]] = []
    for k in rng.permutation(len(drafts)):
        keyed.append((turns[drafts[k].answer], len(keyed), int(k)))
        turns[drafts[k].answer] += 1
    return [drafts[k] for _, _, k in sorted(keyed)[:number]]


def letter(draft: Draft, turn: int, rng: np.random.Generator) -> tuple[str, tuple[str, ...] | None, str]:
    """Question text, lettered options and answer letter; (text, None, number) for a draft without choices.

    The right option stands at place `turn` modulo their number: callers count it up, so that every letter is
    right equally often. The others are shuffled.
    """
    if draft.choices is None:
        return draft.text, None, draft.answer
    texts = [text for text in draft.choices if text != draft.answer]
    texts = [texts[k] for k in rng.permutation(len(texts))]
    place = turn % len(draft.choices)
    texts.insert(place, draft.answer)
    options = tuple(f"{LETTERS[k]}. {text}" for k, text in enumerate(texts))
    return draft.text.replace(CHOICES_MARK, ", ".join(texts)), options, LETTERS[place]


def _wanted(per_family: int | Mapping[str, int], families: Sequence[str]) -> dict[str, int]:
    numbers = dict.fromkeys(families, per_family) if isinstance(per_family, int) else dict(per_family)
    for name in [*families, *numbers]:
        if name not in _DRAFTS:
            raise ValueError(f"unknown question family {name!r}; choose from {', '.join(_DRAFTS)}")
    for name, number in numbers.items():
        if number < 0:
            raise ValueError(f"per_family[{name!r}] must not be negative, got {number}")
    return {family: numbers.get(family, 0) for family in families}


def _grid_map(view: View) -> GridMap:
    drawn = build_map(view.scene, categories=view.categories)
    return {name: [list(point) for point in points] for name, points in drawn.positions.items()}
