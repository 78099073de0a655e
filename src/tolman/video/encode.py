"""Write a clip as H.264 in an MP4, the same bytes for the same frames."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path

import av
import av.error
import numpy as np
import numpy.typing as npt

from tolman.video.errors import ClipError

PRESET = "veryfast"


def write_clip(path: str | Path, rgb_THWC: npt.NDArray[np.uint8], fps: float, crf: int = 23) -> None:
    """Encode frames with libx264 (`veryfast`, yuv420p) into an MP4 at `path`, replacing what is there.

    rgb_THWC: (T ≥ 1, H, W, 3) uint8 with even H and W (yuv420p halves both). fps: frames per second,
    positive. crf: x264's quality, 0 (lossless luma) to 51. One thread and no time stamps in the metadata,
    so the same input and the same ffmpeg give the same bytes. The file appears whole or not at all: it is
    written under a temporary name beside `path` and renamed.

    Raises ValueError for frames, rate or crf that cannot be encoded, ClipError (a ValueError) naming `path`
    where it cannot be written.
    """
    path = Path(path)
    _check(rgb_THWC, fps, crf)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        _encode(temporary, rgb_THWC, Fraction(fps).limit_denominator(60_000), crf)
        temporary.replace(path)
    except OSError as error:  # av.error.FFmpegError included, where it stands for an errno
        raise ClipError(path, f"cannot be written: {error.strerror or error}") from error
    except av.error.FFmpegError as error:
        raise ClipError(path, f"cannot be encoded: {error}") from error
    finally:
        if temporary.is_file():
            temporary.unlink()


def _check(rgb_THWC: npt.NDArray[np.uint8], fps: float, crf: int) -> None:
    """Refuse what the encoder would refuse less clearly, or silently change."""
    if rgb_THWC.ndim != 4 or rgb_THWC.shape[3] != 3 or 0 in rgb_THWC.shape:
        raise ValueError(f"a clip needs frames (T, H, W, 3) with T, H, W ≥ 1, got shape {rgb_THWC.shape}")
    if rgb_THWC.dtype != np.uint8:
        raise ValueError(f"a clip needs uint8 frames in 0..255, got {rgb_THWC.dtype}")
    height, width = rgb_THWC.shape[1:3]
    if height % 2 or width % 2:
        raise ValueError(
            f"yuv420p video needs an even height and width, got {height}x{width}; crop or pad by one pixel"
        )
    if not (np.isfinite(fps) and 0 < fps <= 1000):
        raise ValueError(f"fps must be in (0, 1000], got {fps}")
    if not 0 <= crf <= 51:
        raise ValueError(f"crf must be in 0..51, got {crf}")


def _encode(path: Path, rgb_THWC: npt.NDArray[np.uint8], rate: Fraction, crf: int) -> None:
    """Encode into `path` with one thread and no metadata of ours."""
    with av.open(str(path), mode="w", format="mp4", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("libx264", rate=rate)
        stream.height, stream.width = rgb_THWC.shape[1:3]
        stream.pix_fmt = "yuv420p"
        # x264's macroblock tree gives other bytes from process to process
        stream.options = {"preset": PRESET, "crf": str(crf), "x264-params": "no-mbtree=1"}
        stream.codec_context.thread_count = 1
        stream.codec_context.time_base = 1 / rate
        for k, rgb_HWC in enumerate(rgb_THWC):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb_HWC), format="rgb24")
            frame.pts, frame.time_base = k, 1 / rate
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
