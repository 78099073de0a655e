"""Clips read once: kept in memory up to a bound, and on disk where a folder is given."""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tolman.video.clip import Clip, Span, read_clip
from tolman.video.errors import ClipError
from tolman.video.isolation import IsolatedReader

DEFAULT_BYTES = 2 << 30


class ClipKey(NamedTuple):
    """What a cached clip depends on. A file that is replaced has another size or time of change."""

    path: str
    bytes: int
    mtime_ns: int
    frames: int | None
    fps: float | None
    size: tuple[int, int] | None
    span: Span | None = None


class ClipCache:
    """`read_clip` with a memory.

    max_bytes: bound on the frames held in memory; the least recently used clips go first, and a clip larger
    than the bound is not held. folder: where read clips are also stored, uncompressed, without a bound, or
    None; it is made where it is missing. isolate: decode in a worker process (`IsolatedReader`). Clips come
    back read-only, since they are shared. Not for several threads at once; several processes may share a
    folder.
    """

    def __init__(
        self, max_bytes: int = DEFAULT_BYTES, folder: str | Path | None = None, isolate: bool = False
    ) -> None:
        if max_bytes < 0:
            raise ValueError(f"max_bytes must not be negative, got {max_bytes}")
        self.max_bytes = max_bytes
        self._read = IsolatedReader().read if isolate else read_clip
        self.held_bytes = 0
        self.hits = self.misses = 0
        self._clips: OrderedDict[ClipKey, Clip] = OrderedDict()
        self._folder = None if folder is None else Path(folder)
        if self._folder is not None:
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise ValueError(f"{folder}: cannot be made: {error.strerror or error}") from error

    def read(
        self,
        path: str | Path,
        frames: int | None = None,
        fps: float | None = None,
        size: tuple[int, int] | None = None,
        span: Span | None = None,
    ) -> Clip:
        """The same clip as `read_clip` gives, and the same errors; errors are not remembered."""
        key = clip_key(Path(path), frames, fps, size, span)
        clip = self._clips.get(key)
        if clip is not None:
            self._clips.move_to_end(key)
            self.hits += 1
            return clip
        clip = self._load(key, Path(path))
        if clip is None:
            self.misses += 1
            clip = self._read(path, frames, fps, size, span=span)
            self._store(key, clip)
        else:
            self.hits += 1
        clip.rgb_THWC.setflags(write=False)
        clip.times_T.setflags(write=False)
        self._hold(key, clip)
        return clip

    def _hold(self, key: ClipKey, clip: Clip) -> None:
        """Keep in memory, dropping the least recently used."""
        if clip.rgb_THWC.nbytes > self.max_bytes:
            return
        self._clips[key] = clip
        self.held_bytes += clip.rgb_THWC.nbytes
        while self.held_bytes > self.max_bytes:
            _, oldest = self._clips.popitem(last=False)
            self.held_bytes -= oldest.rgb_THWC.nbytes

    def _file(self, key: ClipKey) -> Path | None:
        """Where a clip is stored, or None without a folder."""
        if self._folder is None:
            return None
        return self._folder / f"{hashlib.sha256(repr(tuple(key)).encode()).hexdigest()[:32]}.npz"

    def _load(self, key: ClipKey, path: Path) -> Clip | None:
        """The stored clip; None where there is none, or where it is damaged and must be read again."""
        file = self._file(key)
        if file is None or not file.is_file():
            return None
        try:
            with np.load(file, allow_pickle=False) as arrays:
                return Clip(arrays["rgb_THWC"], arrays["times_T"], path)
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None

    def _store(self, key: ClipKey, clip: Clip) -> None:
        """Store whole or not at all. Raises ValueError naming a folder that cannot be written."""
        file = self._file(key)
        if file is None:
            return
        temporary = file.with_name(f".{file.name}.{os.getpid()}.tmp")
        try:
            with temporary.open("wb") as stream:
                np.savez(stream, rgb_THWC=clip.rgb_THWC, times_T=clip.times_T)
            temporary.replace(file)
        except OSError as error:
            raise ValueError(f"{file.parent}: cannot be written: {error.strerror or error}") from error
        finally:
            if temporary.is_file():
                temporary.unlink()


def clip_key(
    path: Path,
    frames: int | None,
    fps: float | None,
    size: tuple[int, int] | None,
    span: Span | None = None,
) -> ClipKey:
    """The key of a clip; raises ClipError where the file is missing."""
    try:
        stat = path.stat()
    except (OSError, ValueError) as error:  # ValueError: a name with a null byte
        raise ClipError(
            path, "does not exist" if isinstance(error, FileNotFoundError) else str(error)
        ) from error
    pixels = None if size is None else (size[0], size[1])
    return ClipKey(str(path.absolute()), stat.st_size, stat.st_mtime_ns, frames, fps, pixels, span)
