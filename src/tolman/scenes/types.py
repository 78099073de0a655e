"""A scene: a place with its items. Metres, z up, right-handed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Box:
    """An oriented box.

    center: (3,) metres. size: (3,) full edge lengths in metres, along `axes`. axes: (3, 3), rows are
    orthonormal directions; they need not be right-handed nor sorted (real annotations are neither).
    Raises ValueError for values that are not finite, negative sizes and axes that are not orthonormal.
    """

    center: Floats
    size: Floats
    axes: Floats

    def __post_init__(self) -> None:
        for name, shape in (("center", (3,)), ("size", (3,)), ("axes", (3, 3))):
            value = np.array(getattr(self, name), dtype=np.float64)
            if value.shape != shape:
                raise ValueError(f"box {name} must have shape {shape}, got {value.shape}")
            if not np.isfinite(value).all():
                raise ValueError(f"box {name} must be finite, got {value.tolist()}")
            value.setflags(write=False)
            object.__setattr__(self, name, value)
        if (self.size < 0).any():
            raise ValueError(f"box size must not be negative, got {self.size.tolist()}")
        if not np.allclose(self.axes @ self.axes.T, np.eye(3), atol=1e-3):
            raise ValueError(f"box axes must be orthonormal rows, got {self.axes.tolist()}")

    @cached_property
    def corners(self) -> Floats:
        """(8, 3) corner points in metres; corner k takes the + side of axis j where bit j of k is set."""
        signs = np.array([[(k >> j & 1) - 0.5 for j in range(3)] for k in range(8)])
        return self.center + (signs * self.size) @ self.axes

    @property
    def longest(self) -> float:
        """The longest edge in metres."""
        return float(self.size.max())


@dataclass(frozen=True, eq=False)
class Item:
    """One object: its category, its box and the source's own id."""

    category: str
    box: Box
    id: str


@dataclass(frozen=True, eq=False)
class Scene:
    """A place with its items.

    floor_area in m². floor: (n, 2) polygon of the walls' inside in metres, counter-clockwise, or None where
    the source has none (the renderer then builds walls around the items). height: ceiling over the floor in
    metres or None. source: data set the scene comes from (`scannet`, `procedural`, …).
    """

    id: str
    items: tuple[Item, ...]
    floor_area: float
    floor: Floats | None = None
    height: float | None = None
    source: str = "unknown"
    meta: dict[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not np.isfinite(self.floor_area) or self.floor_area <= 0:
            raise ValueError(
                f"scene {self.id}: floor_area must be positive and finite, got {self.floor_area}"
            )

    @cached_property
    def categories(self) -> tuple[str, ...]:
        """Sorted distinct categories."""
        return tuple(sorted({item.category for item in self.items}))

    def of(self, category: str) -> tuple[Item, ...]:
        """The items of a category, in the scene's order (empty when there are none)."""
        return tuple(item for item in self.items if item.category == category)

    def counts(self) -> dict[str, int]:
        """Number of items per category, sorted by category."""
        return {category: len(self.of(category)) for category in self.categories}


def unique_ids(items: Iterable[Item]) -> bool:
    """Whether no two items share an id."""
    ids = [item.id for item in items]
    return len(ids) == len(set(ids))
