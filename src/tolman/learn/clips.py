"""Decoded clips, kept in memory up to a bound so that later epochs decode nothing."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

from tolman.video.clip import Clip, read_clip


class ClipStore:
    """Reads clips at a fixed number of frames and size; remembers the most recently used ones.

    frames: per clip. size: (height, width) in pixels, or None for the file's own. limit_bytes: bound on the
    frames held (uint8); a clip larger than the bound is not held at all.
    """

    def __init__(self, frames: int, size: tuple[int, int] | None, limit_bytes: int) -> None:
        self.frames, self.size, self.limit_bytes = frames, size, limit_bytes
        self.held_bytes = 0
        self._clips: OrderedDict[Path, Clip] = OrderedDict()

    def get(self, file: Path) -> Clip:
        """The clip, decoded now or earlier. Raises tolman.video's ClipError when it cannot be read."""
        if file in self._clips:
            self._clips.move_to_end(file)
            return self._clips[file]
        clip = read_clip(file, frames=self.frames, size=self.size)
        if clip.rgb_THWC.nbytes <= self.limit_bytes:
            self._clips[file] = clip
            self.held_bytes += clip.rgb_THWC.nbytes
        while self.held_bytes > self.limit_bytes:
            _, oldest = self._clips.popitem(last=False)
            self.held_bytes -= oldest.rgb_THWC.nbytes
        return clip
