"""Frames as a chat message carries them: JPEG images, or one MP4, in base64."""

from __future__ import annotations

import base64
import tempfile
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt

from tolman.bench.frames import Images, Shown
from tolman.video.encode import write_clip

FORMS = ("images", "video")
_ALONE = 1.0  # frames a second of a clip of one frame, which has no rate


def jpeg(rgb_HWC: npt.NDArray[np.uint8]) -> bytes:
    """A frame as JPEG, without chroma subsampling, at quantiser 2 of 31 (the finest but one)."""
    height, width = rgb_HWC.shape[:2]
    codec: Any = av.CodecContext.create("mjpeg", "w")
    codec.width, codec.height, codec.time_base = width, height, Fraction(1)
    codec.pix_fmt, codec.options = "yuvj444p", {"qmin": "2", "qmax": "2"}
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb_HWC), format="rgb24")
    return b"".join(bytes(packet) for packet in [*codec.encode(frame), *codec.encode(None)])


def clip_parts(shown: Shown | Images, form: str) -> list[dict[str, Any]]:
    """Parts of a user's message, as OpenAI's chat API and vLLM's server take them.

    form: `images`: each frame, exactly those that are shown. `video`: an MP4 of these frames at their mean
    rate, of which the server takes frames by a rule of its own. Images go as images whatever the form. Raises
    ValueError for other forms and, for `video`, frames of odd height or width.
    """
    if isinstance(shown, Images):
        return [_part("image_url", "image/jpeg", jpeg(rgb)) for rgb in shown.rgb]
    if form == "images":
        return [_part("image_url", "image/jpeg", jpeg(rgb)) for rgb in shown.rgb_THWC]
    if form != "video":
        raise ValueError(f"clips are sent as one of {', '.join(FORMS)}, got {form!r}")
    times = shown.times_T
    length = float(times[-1] - times[0])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        write_clip(path, shown.rgb_THWC, (len(times) - 1) / length if length > 0 else _ALONE, crf=12)
        return [_part("video_url", "video/mp4", path.read_bytes())]


def _part(kind: str, media: str, content: bytes) -> dict[str, Any]:
    return {"type": kind, kind: {"url": f"data:{media};base64,{base64.b64encode(content).decode()}"}}


def message(parts: list[dict[str, Any]], text: str) -> dict[str, Any]:
    """A user's turn: the clip, then the words."""
    return {"role": "user", "content": [*parts, {"type": "text", "text": text}]}
