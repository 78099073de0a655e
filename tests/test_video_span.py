"""Reading a part of a clip: the frames shown between two times, at the times that they have in the whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tolman.video.cache import ClipCache
from tolman.video.clip import ClipError, Span, read_clip
from tolman.video.encode import write_clip
from tolman.video.isolation import IsolatedReader


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten frames, two a second: 0, 0.5, …, 4.5 s; frame k has grey level 20 k."""
    file = tmp_path_factory.mktemp("film") / "ten.mp4"
    write_clip(
        file,
        np.arange(0, 200, 20, dtype=np.uint8)[:, None, None, None].repeat(32, 1).repeat(32, 2).repeat(3, 3),
        2,
    )
    return file


@pytest.mark.parametrize(
    ("span", "frames", "fps", "expected"),
    [
        ((1.0, 2.0), None, None, [2, 3, 4]),  # both ends
        ((1.1, 1.9), None, None, [2, 3]),  # frame 2 is still shown at 1.1
        ((1.1, 1.2), None, None, [2]),  # nothing begins in it
        ((0.0, 99.0), None, None, list(range(10))),
        ((4.5, 99.0), None, None, [9]),
        ((1.0, 4.0), 3, None, [2, 5, 8]),  # uniform over the seven frames of the part
        ((1.0, 4.0), 99, None, [2, 3, 4, 5, 6, 7, 8]),
        ((1.0, 3.0), None, 1.0, [2, 4, 6]),  # 1/fps apart from the part's first frame on
    ],
)
def test_frames_and_times(
    film: Path, span: Span, frames: int | None, fps: float | None, expected: list[int]
) -> None:
    part = read_clip(film, frames, fps, span=span)
    assert part.times_T.tolist() == pytest.approx([0.5 * k for k in expected])
    assert (part.rgb_THWC.mean(axis=(1, 2, 3)) / 20).round().tolist() == expected


def test_a_part_behind_the_end_is_no_clip(film: Path) -> None:
    with pytest.raises(ClipError, match=r"over after 4.5 s, before the span 5 to 6 s"):
        read_clip(film, 4, span=(5.0, 6.0))


@pytest.mark.parametrize("span", [(2.0, 1.0), (-1.0, 2.0), (0.0, float("inf")), (float("nan"), 1.0)])
def test_spans_that_are_none(film: Path, span: Span) -> None:
    with pytest.raises(ValueError, match="span must be"):
        read_clip(film, 4, span=span)


def test_the_cache_and_the_worker_know_parts(film: Path) -> None:
    cache = ClipCache()
    whole, part = cache.read(film, 3), cache.read(film, 3, span=(1.0, 2.0))
    assert whole.times_T.tolist() == [0.0, 2.0, 4.5]
    assert part.times_T.tolist() == [1.0, 1.5, 2.0]
    assert cache.read(film, 3, span=(1.0, 2.0)) is part
    reader = IsolatedReader()
    try:
        isolated = reader.read(film, 3, span=(1.0, 2.0))
        with pytest.raises(ClipError, match="is over after"):
            reader.read(film, 3, span=(5.0, 6.0))
    finally:
        reader.close()
    assert np.array_equal(isolated.rgb_THWC, part.rgb_THWC)
    assert isolated.times_T.tolist() == part.times_T.tolist()
