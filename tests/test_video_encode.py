"""Writing clips."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tolman.video.clip import ClipError, read_clip
from tolman.video.encode import write_clip


def waves(frames: int = 8, height: int = 64, width: int = 96) -> np.ndarray:
    """Smooth moving colours, which survive lossy coding."""
    y, x = np.mgrid[:height, :width]
    return np.stack(
        [
            np.stack(
                [127 + 100 * np.sin((x + 3 * t) / 15), 127 + 100 * np.cos(y / 12), 0 * x + 20 * t], axis=-1
            )
            for t in range(frames)
        ]
    ).astype(np.uint8)


def test_round_trip(tmp_path: Path) -> None:
    rgb = waves()
    write_clip(tmp_path / "c.mp4", rgb, fps=2.5)
    clip = read_clip(tmp_path / "c.mp4")
    assert clip.rgb_THWC.shape == rgb.shape
    assert np.abs(clip.rgb_THWC.astype(int) - rgb).mean() < 3
    np.testing.assert_allclose(clip.times_T, np.arange(8) / 2.5, atol=1e-4)


def test_same_frames_same_bytes(tmp_path: Path) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (12, 64, 96, 3), dtype=np.uint8)
    write_clip(tmp_path / "a.mp4", rgb, fps=4)
    write_clip(tmp_path / "b.mp4", rgb.copy(), fps=4)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_quality_is_not_ignored(tmp_path: Path) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (4, 64, 96, 3), dtype=np.uint8)
    write_clip(tmp_path / "fine.mp4", rgb, fps=4, crf=10)
    write_clip(tmp_path / "coarse.mp4", rgb, fps=4, crf=40)
    assert (tmp_path / "fine.mp4").stat().st_size > 2 * (tmp_path / "coarse.mp4").stat().st_size


def test_nothing_else_is_left(tmp_path: Path) -> None:
    write_clip(tmp_path / "c.mp4", waves(2), fps=1)
    assert [p.name for p in tmp_path.iterdir()] == ["c.mp4"]


def test_unwritable_names_the_path(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ClipError, match=r"file/c\.mp4: cannot be written"):
        write_clip(tmp_path / "file" / "c.mp4", waves(2), fps=1)
    with pytest.raises(ClipError, match=r"none/c\.mp4: cannot be written"):
        write_clip(tmp_path / "none" / "c.mp4", waves(2), fps=1)


def test_a_folder_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "c.mp4").mkdir()
    with pytest.raises(ClipError, match=r"c\.mp4: cannot be written"):
        write_clip(tmp_path / "c.mp4", waves(2), fps=1)
    assert [p.name for p in tmp_path.iterdir()] == ["c.mp4"]


@pytest.mark.parametrize(
    ("shape", "match"),
    [
        ((2, 63, 96, 3), "even height and width, got 63x96"),
        ((2, 64, 95, 3), "even height and width, got 64x95"),
        ((0, 64, 96, 3), "T, H, W ≥ 1"),
        ((64, 96, 3), r"\(T, H, W, 3\)"),
        ((2, 64, 96, 4), r"\(T, H, W, 3\)"),
    ],
)
def test_shapes(tmp_path: Path, shape: tuple[int, ...], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        write_clip(tmp_path / "c.mp4", np.zeros(shape, dtype=np.uint8), fps=1)


@pytest.mark.parametrize(("fps", "crf", "match"), [(0, 23, "fps"), (float("nan"), 23, "fps"), (4, 52, "crf")])
def test_numbers(tmp_path: Path, fps: float, crf: int, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        write_clip(tmp_path / "c.mp4", waves(2), fps=fps, crf=crf)


def test_floats_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="uint8"):
        write_clip(tmp_path / "c.mp4", np.zeros((2, 64, 96, 3)), fps=1)  # type: ignore[arg-type]


def test_a_film_has_the_same_bytes_in_every_process(tmp_path: Path) -> None:
    """x264's macroblock tree does not keep this; it shows on films, not on small made-up frames."""
    import subprocess
    import sys

    code = """
import sys
from tolman.render.film import film
from tolman.scenes import generate_scene
from tolman.video.encode import write_clip
write_clip(sys.argv[1], film(generate_scene(5000, 1), 7, 16, (224, 224), "survey").rgb_THWC, 2.0)
"""
    clips = [tmp_path / f"{k}.mp4" for k in range(3)]
    for clip in clips:
        subprocess.run([sys.executable, "-c", code, str(clip)], check=True)
    assert len({clip.read_bytes() for clip in clips}) == 1
