"""The time table of a video file: when each frame is shown, and where decoding can start."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import av.container
import av.error
import av.stream
import numpy as np
import numpy.typing as npt

from tolman.video.errors import ClipError

MAX_FRAMES = 2_000_000
"""Nine hours at 60 frames a second."""
MAX_PIXELS = 1 << 26
"""Of a frame: 8192 x 8192."""
MAX_SECONDS = 1_000_000
"""Eleven days; time stamps further apart are damaged ones."""

# No playlists, concatenations or numbered images: a clip must not make the reader open anything else.
_DEMUXERS = (
    "3gp,aac,ac3,aiff,amr,apng,asf,av1,avi,avs2,bmp_pipe,caf,dv,flac,flv,gif,h263,h264,hevc,ivf,jpeg_pipe,m4v,"
    "matroska,webm,mjpeg,mov,mp4,m4a,3g2,mj2,mp3,mpeg,mpegts,mpegvideo,mxf,nut,obu,ogg,png_pipe,rm,vc1,wav,"
    "webp_pipe,wtv,yuv4mpegpipe"
)
_OPTIONS = {"protocol_whitelist": "file", "format_whitelist": _DEMUXERS, "max_pixels": str(MAX_PIXELS)}


@dataclass(frozen=True, eq=False)
class Table:
    """pts_N: (N,) increasing presentation time stamps, in units of `tick` seconds, one per frame.

    keys: increasing time stamps of the frames at which decoding can start; empty where the file's packets
    carry no usable time stamps, and frames can only be told by their order.
    """

    pts_N: npt.NDArray[np.int64]
    keys: npt.NDArray[np.int64]
    tick: Fraction

    @property
    def times_N(self) -> npt.NDArray[np.float64]:
        """(N,) seconds after the first frame."""
        return np.asarray((self.pts_N - self.pts_N[0]) * float(self.tick), dtype=np.float64)


@contextmanager
def opened(path: Path) -> Iterator[tuple[av.container.InputContainer, av.VideoStream]]:
    """Open a file and its first video stream (never an attached picture).

    Nothing but the file itself is opened, whatever it says and however it is called. Raises ClipError for a
    path that is missing, a folder, empty, not a video, without a video stream or with frames of more than
    MAX_PIXELS, and for any error of the decoder inside the block.
    """
    try:
        if path.is_dir():
            raise ClipError(path, "is a folder, not a video file")
        if not path.is_file():
            raise ClipError(path, "does not exist")
        if path.stat().st_size == 0:
            raise ClipError(path, "is empty (0 bytes)")
        with av.open(f"file:{path}", options=_OPTIONS, metadata_errors="replace") as container:
            streams = [s for s in container.streams.video if not _attached(s)]
            if not streams:
                kinds = sorted({s.type for s in container.streams})
                raise ClipError(path, f"has no video stream, only {', '.join(kinds) or 'nothing'}")
            _prepare(path, streams[0])
            yield container, streams[0]
    except av.error.InvalidDataError as error:
        raise ClipError(path, "is not a video, or is truncated or damaged") from error
    except av.error.ArgumentError as error:  # what the white list and max_pixels answer with
        reason = f"is in a format that is not read here, or has frames of more than {MAX_PIXELS} pixels"
        raise ClipError(path, reason) from error
    except (av.error.FFmpegError, OSError) as error:
        raise ClipError(path, f"cannot be read: {error.strerror or error}") from error


def _prepare(path: Path, stream: av.VideoStream) -> None:
    """Set up the decoder. Raises ClipError where there is none, or where a frame would be too large."""
    context: av.VideoCodecContext | None = stream.codec_context
    if context is None:
        raise ClipError(path, "is in a format that no decoder here knows")
    if context.width * context.height > MAX_PIXELS:
        size = f"{context.width}x{context.height}"
        raise ClipError(path, f"has frames of {size} pixels; {MAX_PIXELS} in all are the most")
    context.options = {"max_pixels": str(MAX_PIXELS)}  # a stream may change its size as it goes
    context.thread_type = "SLICE"  # frame threads delay frames, which exact seeking cannot use


def read_table(path: Path, container: av.container.InputContainer, stream: av.VideoStream) -> Table:
    """Demux the stream once (nothing is decoded, save where packets carry no usable time stamps).

    Raises ClipError for a file without frames, and for one that was cut short: packets marked corrupt, an
    index that points past the end, or a duration in the header that the packets do not reach.
    """
    tick = stream.time_base
    pts: list[int | None] = []
    keys: list[int] = []
    for packet in container.demux(stream):
        if packet.size == 0 or packet.is_discard:
            continue
        if packet.is_corrupt:
            raise ClipError(path, f"is truncated or damaged after {len(pts)} frames")
        pts.append(packet.pts)
        if packet.is_keyframe and packet.pts is not None:
            keys.append(packet.pts)
        if len(pts) > MAX_FRAMES:
            raise ClipError(path, f"has more than {MAX_FRAMES} frames")
    if not pts:
        raise ClipError(path, "has no frames")
    known = sorted(p for p in pts if p is not None)
    _check_times(path, stream, known)
    if tick is None or not keys or len(set(known)) < len(pts):
        return Table(np.arange(_count(path)), np.array([], dtype=np.int64), _spacing(path, stream))
    return Table(np.array(known, dtype=np.int64), np.array(sorted(keys), dtype=np.int64), tick)


def _attached(stream: av.VideoStream) -> bool:
    """Whether the stream is a cover picture, as audio files have."""
    return bool(stream.disposition & av.stream.Disposition.attached_pic)


def _check_times(path: Path, stream: av.VideoStream, known: list[int]) -> None:
    """Raise ClipError where index or header promise more than the file holds, and for absurd times."""
    size = os.stat(path).st_size
    ends = [entry.pos + entry.size for entry in stream.index_entries]
    if ends and max(ends) > size:
        raise ClipError(path, f"is truncated: its index reaches to byte {max(ends)}, the file ends at {size}")
    if not known or stream.time_base is None:
        return
    there = float((known[-1] - known[0]) * stream.time_base)
    if there > MAX_SECONDS:
        raise ClipError(path, f"is damaged: its frames are {there:.0f} s apart")
    promised = _tagged_seconds(stream.metadata.get("DURATION", ""))
    if promised and there < promised - max(1.0, 2 * promised / len(known)):
        raise ClipError(path, f"is truncated: {there:.1f} s of {promised:.1f} s that its header promises")


def _tagged_seconds(text: str) -> float:
    """Seconds of Matroska's `DURATION` tag, `00:00:22.028000000`; 0 where there is none."""
    parts = text.split(":")
    if len(parts) != 3:
        return 0.0
    try:
        return int(parts[0]) * 3600 + int(parts[1]) * 60 + float(parts[2])
    except (ValueError, OverflowError):
        return 0.0


def _count(path: Path) -> int:
    """Frames that come out of the decoder, all of which are decoded for it."""
    with opened(path) as (container, stream):
        frames = sum(1 for _ in container.decode(stream))
    if not frames:
        raise ClipError(path, "has no frames")
    return frames


def _spacing(path: Path, stream: av.VideoStream) -> Fraction:
    """Seconds between frames where only the stream's rate tells."""
    rate = stream.average_rate or stream.guessed_rate
    if not rate:
        raise ClipError(path, "has neither time stamps nor a frame rate")
    return 1 / Fraction(rate)
