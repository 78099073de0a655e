"""Read frames of a video: exactly the ones asked for, decoding as little as possible.

The file is demuxed once into a table of time stamps, frames are chosen from it by index or by time, and the
decoder seeks to the key frame before each. Frames are recognised by their own time stamps, never by
counting or by an average rate, so variable frame rate and reordered (B-) frames are exact. Frames that
nothing refers to and nobody asked for are not decoded (H.264 and HEVC).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import av
import av.container
import av.error
import numpy as np
import numpy.typing as npt

from tolman.video.errors import ClipError
from tolman.video.sample import RULES, Indices, rate_indices
from tolman.video.table import Table, opened, read_table

__all__ = [
    "MAX_BYTES",
    "Clip",
    "ClipError",
    "Gathered",
    "Size",
    "Span",
    "check_arguments",
    "decode",
    "read_clip",
]

MAX_BYTES = 4 << 30
Span = tuple[float, float]
Size = tuple[int, int] | Callable[[int, int, int], tuple[int, int]]
"""(height, width) in pixels, or what makes it of the number of frames and their own height and width."""
_SKIPS = frozenset({"h264", "hevc"})


@dataclass(frozen=True, eq=False)
class Clip:
    """Frames of a video. rgb_THWC: (T, H, W, 3) uint8. times_T: (T,) seconds after the file's first frame."""

    rgb_THWC: npt.NDArray[np.uint8]
    times_T: npt.NDArray[np.float64]
    path: Path


def read_clip(
    path: str | Path,
    frames: int | None = None,
    fps: float | None = None,
    size: Size | None = None,
    rule: str = "uniform",
    span: Span | None = None,
) -> Clip:
    """Read frames of the first video stream of a file.

    frames: this many, taken by `rule` of `RULES` (`uniform`: evenly spaced over all frames with both ends);
    a video that has fewer gives all. fps: the frames shown every 1/fps seconds (`rate_indices`), where
    `frames` then is the most to take. Neither: all. span: (start, end) in seconds after the file's first
    frame; only the frames shown at some time between them are there to be taken, and times stay those of the
    file. size: what to resize to, as Qwen's processors would (`resize`), after decoding: the decoder's own
    resizing differs from theirs; a function is asked once, of the first frame. Rotation metadata of 90, 180
    and 270 degrees is applied before. Pixels are taken as stored: sample aspect ratio and interlacing are
    ignored.

    Raises ClipError naming path and reason for a file that is missing, empty, a folder, not a video,
    without video stream, without frames, truncated, damaged where frames were asked for, rotated by another
    angle, of changing frame size, over before the span begins, or whose frames would take more than MAX_BYTES
    of memory; ValueError for arguments out of range.
    """
    path = Path(path)
    check_arguments(frames, fps, size, rule, span)
    gathered = Gathered(path, size)
    decode(path, frames, fps, rule, gathered, span)
    return gathered.clip()


class Receiver(Protocol):
    """Takes what `decode` finds."""

    def begin(self, times_T: npt.NDArray[np.float64]) -> None:
        """Called once, before any frame: when each frame is shown, in seconds after the file's first."""
        ...

    def put(self, place: int, rgb_HWC: npt.NDArray[np.uint8]) -> None:
        """Called once for each place in 0..T - 1, in any order: a frame, upright, at its own size."""
        ...


class Gathered:
    """A receiver that makes a `Clip`, frames resized to `size` where it is given."""

    def __init__(self, path: Path, size: Size | None) -> None:
        self.path, self.size = path, size
        self._times_T = np.zeros(0)
        self._rgb_THWC: npt.NDArray[np.uint8] | None = None

    def begin(self, times_T: npt.NDArray[np.float64]) -> None:
        """The clip's times."""
        self._times_T = times_T

    def put(self, place: int, rgb_HWC: npt.NDArray[np.uint8]) -> None:
        """A frame of it. Raises ClipError where it does not fit those before, all would not fit memory, or no
        size can be made of its own."""
        if callable(self.size):
            try:
                self.size = self.size(len(self._times_T), *rgb_HWC.shape[:2])
            except ValueError as error:
                raise ClipError(self.path, str(error)) from error
        if self.size is not None:
            from tolman.video.resize import resize  # torch only where it is needed

            rgb_HWC = resize(rgb_HWC[None], self.size)[0]
        if self._rgb_THWC is None:
            shape = (len(self._times_T), *rgb_HWC.shape)
            if np.prod(shape, dtype=np.float64) > MAX_BYTES:
                raise ClipError(
                    self.path,
                    f"frames {shape} would take more than {MAX_BYTES} bytes; ask for fewer or smaller",
                )
            self._rgb_THWC = np.empty(shape, dtype=np.uint8)
        if rgb_HWC.shape != self._rgb_THWC.shape[1:]:
            sizes = f"{self._rgb_THWC.shape[1:3]} to {rgb_HWC.shape[:2]}"
            raise ClipError(self.path, f"changes its frame size from {sizes}; give a size to resize to")
        self._rgb_THWC[place] = rgb_HWC

    def clip(self) -> Clip:
        """The clip, once every frame came."""
        assert self._rgb_THWC is not None
        return Clip(self._rgb_THWC, self._times_T, self.path)


def decode(
    path: Path,
    frames: int | None,
    fps: float | None,
    rule: str,
    receiver: Receiver,
    span: Span | None = None,
) -> None:
    """Hand the frames that `read_clip` would return to `receiver` one by one; raises ClipError as it does."""
    with opened(path) as (container, stream):
        table = read_table(path, container, stream)
        chosen = _choose(path, table, frames, fps, rule, span)
        receiver.begin(table.times_N[chosen])
        sink = _Sink(path, len(chosen), receiver)
        if len(table.keys):
            _seek_and_take(container, stream, table, chosen, sink)
    if not sink.full:
        _scan_and_take(path, table, chosen, sink)
    if not sink.full:
        raise ClipError(
            path, f"is damaged: only {sink.taken} of {len(chosen)} frames asked for can be decoded"
        )


def check_arguments(
    frames: int | None,
    fps: float | None,
    size: Size | None,
    rule: str,
    span: Span | None = None,
) -> None:
    """Refuse arguments before a file is opened."""
    if rule not in RULES:
        raise ValueError(f"unknown sampling rule {rule!r}; known: {', '.join(RULES)}")
    if rule != "uniform" and (frames is None or fps is not None):
        raise ValueError(f"sampling rule {rule!r} says which of a number of frames; give frames and no fps")
    if frames is not None and frames < 1:
        raise ValueError(f"frames must be at least 1, got {frames}")
    if fps is not None and not (np.isfinite(fps) and fps > 0):
        raise ValueError(f"fps must be positive and finite, got {fps}")
    if isinstance(size, tuple | list) and (len(size) != 2 or min(size) < 1):
        raise ValueError(f"size must be (height, width) of at least 1 pixel, got {size}")
    if span is not None and not 0 <= span[0] <= span[1] < np.inf:
        raise ValueError(f"span must be (start, end) in seconds, 0 <= start <= end, got {span}")


def _choose(
    path: Path, table: Table, frames: int | None, fps: float | None, rule: str, span: Span | None
) -> Indices:
    """Indices into the table. Raises ClipError where the file is over before the span begins."""
    first, end = 0, len(table.pts_N)
    if span is not None:
        last = float(table.times_N[-1])
        if span[0] > last:
            raise ClipError(path, f"is over after {last:g} s, before the span {span[0]:g} to {span[1]:g} s")
        first, end = (int(np.searchsorted(table.times_N, time, side="right")) for time in span)
        first -= 1  # the frame that is still shown when the span begins
    if fps is not None:
        return first + rate_indices(table.times_N[first:end], fps, frames)
    return first + (np.arange(end - first) if frames is None else RULES[rule](end - first, frames))


class _Sink:
    """Takes decoded frames, turns them upright and hands each on once."""

    def __init__(self, path: Path, count: int, receiver: Receiver) -> None:
        self.path, self.receiver = path, receiver
        self.filled = np.zeros(count, dtype=bool)

    @property
    def taken(self) -> int:
        return int(self.filled.sum())

    @property
    def full(self) -> bool:
        return bool(self.filled.all())

    def take(self, place: int, frame: av.VideoFrame) -> None:
        """Put a frame in its place, first come. Raises ClipError as `read_clip`."""
        if self.filled[place]:
            return
        self.receiver.put(place, self._upright(frame))
        self.filled[place] = True

    def _upright(self, frame: av.VideoFrame) -> npt.NDArray[np.uint8]:
        """(H, W, 3) pixels, turned as the file's display matrix says."""
        if frame.is_corrupt:
            where = f"the frame at {frame.time:.3f} s" if frame.time is not None else "a frame without a time"
            raise ClipError(self.path, f"is damaged: {where} cannot be decoded whole")
        if frame.rotation % 90:
            raise ClipError(self.path, f"is rotated by {frame.rotation} degrees, which is no multiple of 90")
        stored_HWC: npt.NDArray[np.uint8] = frame.to_ndarray(format="rgb24").view(np.uint8)
        return np.rot90(stored_HWC, frame.rotation // 90)  # both count counter-clockwise


def _seek_and_take(
    container: av.container.InputContainer, stream: av.VideoStream, table: Table, chosen: Indices, sink: _Sink
) -> None:
    """Decode from the key frame before each group of chosen frames up to the last of them.

    Frames that a seek lands behind of, or that the decoder does not give, stay missing in `sink`.
    """
    places = {int(table.pts_N[index]): place for place, index in enumerate(chosen)}
    starts = np.maximum(np.searchsorted(table.keys, table.pts_N[chosen], side="right") - 1, 0)
    for start in np.unique(starts):
        wanted = {int(pts) for pts in table.pts_N[chosen[starts == start]]}
        try:
            container.seek(int(table.keys[start]), stream=stream)
        except av.error.FFmpegError:
            return  # a format that cannot seek is scanned from its beginning
        _take_until(container, stream, wanted, places, sink)


def _take_until(
    container: av.container.InputContainer,
    stream: av.VideoStream,
    wanted: set[int],
    places: dict[int, int],
    sink: _Sink,
) -> None:
    """Decode from here until all `wanted` time stamps came, or one after them, or the end."""
    context, last = stream.codec_context, max(wanted)
    skips = context.name in _SKIPS
    for packet in container.demux(stream):
        if skips:
            context.skip_frame = "DEFAULT" if packet.pts in wanted else "NONREF"
        for frame in packet.decode():
            if frame.pts in wanted and not frame.is_corrupt:
                sink.take(places[frame.pts], frame)
                wanted.discard(frame.pts)
            if not wanted or (frame.pts is not None and frame.pts > last):
                return


def _scan_and_take(path: Path, table: Table, chosen: Indices, sink: _Sink) -> None:
    """Decode from the beginning; frames are told by their time stamps where there are any, else by order."""
    names = table.pts_N[chosen] if len(table.keys) else chosen
    places = {int(name): place for place, name in enumerate(names)}
    with opened(path) as (container, stream):
        for order, frame in enumerate(container.decode(stream)):
            place = places.get(order if not len(table.keys) else -1 if frame.pts is None else frame.pts)
            if place is not None:
                sink.take(place, frame)
            if sink.full:
                return
