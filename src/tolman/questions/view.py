"""A scene as a clip shows it: which categories a question may name."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from tolman.questions.facts import Facts, facts_of
from tolman.render.sightings import Sightings
from tolman.scenes import Scene

MIN_SHARE = 0.002
"""An item is seen when it covers this share of a frame once (26 pixels of 112×112, 402 of 448×448)."""


class View:
    """A scene with what was seen of it; without sightings everything counts as seen.

    Raises ValueError when the sightings are not those of the scene (a column per item).
    """

    def __init__(self, scene: Scene, sightings: Sightings | None) -> None:
        if sightings is not None and sightings.pixels_TI.shape[1] != len(scene.items):
            raise ValueError(
                f"scene {scene.id} has {len(scene.items)} items but the sightings have "
                f"{sightings.pixels_TI.shape[1]} columns; pass the sightings filmed in this scene"
            )
        self.scene = scene
        self.sightings = sightings
        self.facts: Facts = facts_of(scene)

    @cached_property
    def _seen(self) -> list[bool]:
        if self.sightings is None:
            return [True] * len(self.scene.items)
        if not len(self.sightings.pixels_TI):
            return [False] * len(self.scene.items)
        least = max(1.0, MIN_SHARE * self.sightings.frame_pixels)
        return [bool(seen) for seen in np.asarray(self.sightings.pixels_TI.max(axis=0) >= least)]

    @cached_property
    def _seen_ids(self) -> set[str]:
        return {item.id for item, seen in zip(self.scene.items, self._seen, strict=True) if seen}

    def seen(self, item_id: str) -> bool:
        """Whether the item with that id was clearly seen."""
        return item_id in self._seen_ids

    @cached_property
    def complete(self) -> list[str]:
        """Categories all of whose items were seen, in the scene's order."""
        by_category = self.facts.by_category
        return [name for name, members in by_category.items() if all(self._seen[k] for k in members)]

    @cached_property
    def categories(self) -> list[str]:
        """Categories of which at least one item was seen, in the scene's order."""
        by_category = self.facts.by_category
        return [name for name, members in by_category.items() if any(self._seen[k] for k in members)]

    @cached_property
    def unique(self) -> list[str]:
        """Categories with exactly one item in the scene, and that one seen."""
        return [name for name in self.complete if self.facts.count(name) == 1]
