"""A cognitive map: which categories are where, seen from above. x to the right, y up."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

Points = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class CognitiveMap:
    """Positions of the items of each category.

    positions: category → ((x, y), …), one pair per item; cells (0..grid−1, may be outside when a model drew
    it) of a grid×grid map, or metres where grid is None. Python integers are kept as they are, however large.
    Raises ValueError for a position that is not two finite numbers and for a grid below 1.
    """

    positions: dict[str, Points]
    grid: int | None = 10

    def __post_init__(self) -> None:
        if self.grid is not None and self.grid < 1:
            raise ValueError(f"a map's grid must be at least 1 (or None for metres), got {self.grid}")
        for category, points in self.positions.items():
            for point in points:
                if len(point) != 2 or not all(_finite(value) for value in point):
                    raise ValueError(f"map: {category!r} has position {point!r}; give two finite numbers")

    @classmethod
    def of(cls, positions: Mapping[str, Iterable[Sequence[float]]], grid: int | None = 10) -> CognitiveMap:
        """A map from JSON-like lists, e.g. `Question.cognitive_map`. Raises ValueError as the class does."""
        pairs: dict[str, Points] = {}
        for category, points in positions.items():
            for point in points:
                if not isinstance(point, list | tuple) or len(point) != 2:
                    raise ValueError(f"map: {category!r} has position {point!r}; give two finite numbers")
            pairs[category] = tuple((point[0], point[1]) for point in points)
        return cls(pairs, grid)

    @property
    def categories(self) -> tuple[str, ...]:
        """Sorted categories, also those without any position."""
        return tuple(sorted(self.positions))

    @property
    def size(self) -> int:
        """Number of positions over all categories."""
        return sum(len(points) for points in self.positions.values())

    def to_dict(self) -> dict[str, list[list[float]]]:
        """JSON-ready lists, categories in the map's own order."""
        return {category: [[x, y] for x, y in points] for category, points in self.positions.items()}


def _finite(value: object) -> bool:
    if isinstance(value, bool):
        return False
    return isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))
