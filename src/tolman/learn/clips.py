"""Clips as one run reads them: fixed frames and size, decoded once while they fit in memory."""

from __future__ import annotations

from pathlib import Path

from tolman.video.cache import ClipCache
from tolman.video.clip import Clip


class ClipStore:
    """`ClipCache` at fixed frames and size.

    frames: per clip. size: (height, width) in pixels, or None for the file's own. limit_bytes: bound on the
    frames held (uint8). isolate: decode in a worker process.
    """

    def __init__(
        self, frames: int, size: tuple[int, int] | None, limit_bytes: int, isolate: bool = False
    ) -> None:
        self.frames, self.size = frames, size
        self.cache = ClipCache(limit_bytes, isolate=isolate)

    def get(self, file: Path) -> Clip:
        """The clip, decoded now or earlier; read-only. Raises tolman.video's ClipError when unreadable."""
        return self.cache.read(file, frames=self.frames, size=self.size)
