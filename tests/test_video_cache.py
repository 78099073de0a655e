"""The cache of clips: what it keeps, drops and notices."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from tolman.video.cache import ClipCache
from tolman.video.clip import ClipError
from tolman.video.encode import write_clip

FRAME = 32 * 32 * 3


@pytest.fixture
def clips(tmp_path: Path) -> list[Path]:
    """Three files of four frames."""
    paths = [tmp_path / f"{k}.mp4" for k in range(3)]
    for k, path in enumerate(paths):
        write_clip(path, np.full((4, 32, 32, 3), 80 * k, dtype=np.uint8), fps=2)
    return paths


def test_second_read_is_the_same_clip(clips: list[Path]) -> None:
    cache = ClipCache()
    first = cache.read(clips[1], frames=2)
    assert cache.read(clips[1], frames=2) is first
    assert (cache.hits, cache.misses) == (1, 1)


@pytest.mark.parametrize("other", [{"frames": 3}, {"fps": 1.0}, {"frames": 2, "size": (28, 28)}])
def test_sampling_and_size_are_part_of_the_key(clips: list[Path], other: dict[str, object]) -> None:
    cache = ClipCache()
    cache.read(clips[1], frames=2)
    cache.read(clips[1], **other)  # type: ignore[arg-type]
    assert cache.misses == 2


def test_a_replaced_file_is_read_again(clips: list[Path]) -> None:
    cache = ClipCache()
    cache.read(clips[0], frames=2)
    before = clips[0].stat()
    write_clip(clips[0], np.full((4, 32, 32, 3), 200, dtype=np.uint8), fps=2)
    os.utime(clips[0], ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert cache.read(clips[0], frames=2).rgb_THWC.mean() > 190


def test_the_least_recently_used_goes(clips: list[Path]) -> None:
    cache = ClipCache(max_bytes=4 * FRAME)  # two clips of two frames
    first = cache.read(clips[0], frames=2)
    cache.read(clips[1], frames=2)
    cache.read(clips[0], frames=2)
    cache.read(clips[2], frames=2)  # drops clip 1, not 0
    assert cache.held_bytes == 4 * FRAME
    assert cache.read(clips[0], frames=2) is first
    misses = cache.misses
    cache.read(clips[1], frames=2)
    assert cache.misses == misses + 1


def test_a_clip_above_the_bound_is_not_held(clips: list[Path]) -> None:
    cache = ClipCache(max_bytes=FRAME)
    assert len(cache.read(clips[0], frames=2).rgb_THWC) == 2
    assert cache.held_bytes == 0


def test_shared_clips_are_read_only(clips: list[Path]) -> None:
    clip = ClipCache().read(clips[0], frames=2)
    with pytest.raises(ValueError, match="read-only"):
        clip.rgb_THWC[0] = 0


def test_the_folder_outlives_the_cache(clips: list[Path], tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    first = ClipCache(folder=folder).read(clips[1], frames=3, size=(28, 28))
    again = ClipCache(folder=folder)
    clip = again.read(clips[1], frames=3, size=(28, 28))
    assert (again.hits, again.misses) == (1, 0)
    np.testing.assert_array_equal(clip.rgb_THWC, first.rgb_THWC)
    np.testing.assert_array_equal(clip.times_T, first.times_T)
    assert clip.path == first.path == clips[1]


def test_a_damaged_store_is_read_again(clips: list[Path], tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    ClipCache(folder=folder).read(clips[1], frames=2)
    (stored,) = folder.iterdir()
    stored.write_bytes(stored.read_bytes()[:100])
    again = ClipCache(folder=folder)
    again.read(clips[1], frames=2)
    assert again.misses == 1
    assert ClipCache(folder=folder).read(clips[1], frames=2).rgb_THWC.shape == (2, 32, 32, 3)


def test_errors(tmp_path: Path) -> None:
    with pytest.raises(ClipError, match="does not exist"):
        ClipCache().read(tmp_path / "none.mp4")
    with pytest.raises(ValueError, match="not be negative"):
        ClipCache(max_bytes=-1)
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="file/cache: cannot be made"):
        ClipCache(folder=tmp_path / "file" / "cache")
