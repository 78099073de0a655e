"""What the answers need to know about a scene, each fact computed once per scene.

Names are matched without regard to case and spacing, never by resemblance: an object that is not in the
metadata makes a question uncomputable.
"""

from __future__ import annotations

from itertools import product
from typing import NamedTuple
from weakref import WeakKeyDictionary

import numpy as np

from tolman.questions.common import fold
from tolman.scenes import Item, Scene
from tolman.scenes.geometry import box_distances
from tolman.scenes.types import Floats


class Closest(NamedTuple):
    """The closest pair of items of two categories: distance in metres between the solids, and the two ids."""

    distance: float
    first: str
    second: str


class Facts:
    """Look-ups of one scene: items by category, box centres, distances between categories."""

    def __init__(self, scene: Scene) -> None:
        self.by_category: dict[str, list[int]] = {}
        for index, item in enumerate(scene.items):
            self.by_category.setdefault(item.category, []).append(index)
        self._items: tuple[Item, ...] = scene.items
        self._names = {fold(category): category for category in self.by_category}
        self._closest: dict[tuple[str, str], Closest] = {}
        self._declared = _declared_counts(scene)
        self._centers = np.array([item.box.center for item in scene.items]).reshape(-1, 3)
        self._radii = np.array([np.linalg.norm(item.box.size) / 2 for item in scene.items])

    def name(self, text: str) -> str | None:
        """The scene's own spelling of a category, or None when it has none of that name."""
        return self._names.get(fold(text))

    def count(self, category: str) -> int:
        """Number of items of the category."""
        return len(self.by_category.get(category, ()))

    def declared(self, category: str) -> int:
        """The number the source's own counts give (`object_counts` in VSI-Bench's files), else `count`."""
        return self._declared.get(category, self.count(category))

    def unique(self) -> list[str]:
        """Categories with exactly one item, in the scene's order."""
        return [category for category, members in self.by_category.items() if len(members) == 1]

    def the(self, category: str) -> Item:
        """The only item of a category that has exactly one."""
        (index,) = self.by_category[category]
        return self._items[index]

    def place(self, category: str) -> Floats:
        """(2,) box centre of the only item of the category in the floor plane, metres."""
        (index,) = self.by_category[category]
        return self._centers[index, :2]

    def closest(self, first: str, second: str) -> Closest:
        """The closest pair of items of two categories; 0 m when two boxes touch or overlap."""
        key = (first, second)
        if key not in self._closest:
            found = self._search(first, second)
            self._closest[key] = found
            self._closest[second, first] = Closest(found.distance, found.second, found.first)
        return self._closest[key]

    def _search(self, first: str, second: str) -> Closest:
        """Measure the pairs whose bounding spheres are no farther apart than the closest two centres."""
        assert first != second
        pairs = list(product(self.by_category[first], self.by_category[second]))
        one, two = np.array(pairs).T
        reach = np.linalg.norm(self._centers[one] - self._centers[two], axis=1)
        near = np.flatnonzero(reach - self._radii[one] - self._radii[two] <= reach.min())
        firsts = [self._items[k] for k in one[near]]
        seconds = [self._items[k] for k in two[near]]
        distances = box_distances([item.box for item in firsts], [item.box for item in seconds])
        best = int(distances.argmin())
        return Closest(float(distances[best]), firsts[best].id, seconds[best].id)


def _declared_counts(scene: Scene) -> dict[str, int]:
    counts = scene.meta.get("object_counts")
    return {k: v for k, v in counts.items() if isinstance(v, int)} if isinstance(counts, dict) else {}


_FACTS: WeakKeyDictionary[Scene, Facts] = WeakKeyDictionary()


def facts_of(scene: Scene) -> Facts:
    """The scene's facts; made at the first call and kept as long as the scene lives."""
    facts = _FACTS.get(scene)
    if facts is None:
        facts = _FACTS[scene] = Facts(scene)
    return facts
