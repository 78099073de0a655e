"""Room size: the floor area in m², one decimal."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tolman.questions.common import Draft, Recomputed, clean, fixed, unknown
from tolman.questions.view import View
from tolman.scenes import Scene

# The space before the line break is the benchmark's own.
TEXT = (
    "What is the size of this room (in square meters)? \n"
    "If multiple rooms are shown, estimate the size of the combined space."
)


def recompute(question: str, options: Sequence[str] | None, scene: Scene) -> Recomputed:
    """The scene's floor area."""
    if not clean(question).lower().startswith("what is the size of this room (in square meters)?"):
        return unknown("the question is not worded as a room size question")
    return Recomputed(fixed(scene.floor_area, 1), scene.floor_area, f"floor area {scene.floor_area:.4f} m²")


def drafts(view: View, rng: np.random.Generator) -> list[Draft]:
    """The one question there is."""
    area = view.scene.floor_area
    return [Draft(TEXT, fixed(area, 1), None, "m²", {"floor_area_m2": round(area, 4)})]
