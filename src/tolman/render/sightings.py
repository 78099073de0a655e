"""Which item was seen in which frame, and how large."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tolman.scenes import Scene


@dataclass(frozen=True, eq=False)
class Sightings:
    """Visible pixels per frame and item.

    pixels_TI: (frames, items) int64, item order is that of `Scene.items`. times_T: (frames,) seconds.
    frame_pixels: pixels in a frame.
    """

    pixels_TI: npt.NDArray[np.int64]
    times_T: npt.NDArray[np.float64]
    frame_pixels: int

    def __post_init__(self) -> None:
        if self.pixels_TI.ndim != 2 or self.times_T.shape != self.pixels_TI.shape[:1]:
            raise ValueError(
                "sightings need pixels (T, I) and times (T,), "
                f"got {self.pixels_TI.shape} and {self.times_T.shape}"
            )

    def first_frame(self, scene: Scene, category: str, min_share: float = 0.002) -> int | None:
        """First frame in which one item of `category` covers `min_share` of the frame; None if never."""
        columns = [k for k, item in enumerate(scene.items) if item.category == category]
        if not columns:
            return None
        seen_T = (self.pixels_TI[:, columns] >= max(1.0, min_share * self.frame_pixels)).any(axis=1)
        return int(seen_T.argmax()) if seen_T.any() else None
