"""RGB arrays as PNG files, without an image library."""

from __future__ import annotations

import base64
import struct
import zlib

import numpy as np
import numpy.typing as npt


def png_bytes(rgb_HWC: npt.NDArray[np.uint8]) -> bytes:
    """A PNG file (8 bit RGB, every row filtered by "up"). rgb_HWC: (height, width, 3) uint8.

    Raises ValueError for another shape or type.
    """
    if rgb_HWC.ndim != 3 or rgb_HWC.shape[2] != 3 or rgb_HWC.dtype != np.uint8 or rgb_HWC.size == 0:
        raise ValueError(f"a picture must be (height, width, 3) uint8, got {rgb_HWC.shape} {rgb_HWC.dtype}")
    height, width, _ = rgb_HWC.shape
    rows = rgb_HWC.reshape(height, width * 3)
    above = np.vstack([np.zeros_like(rows[:1]), rows[:-1]])
    filtered = np.hstack([np.full((height, 1), 2, np.uint8), rows - above])
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = zlib.compress(filtered.tobytes(), 9)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", body) + _chunk(b"IEND", b"")


def data_uri(content: bytes, kind: str = "image/png") -> str:
    """Bytes as a `data:` address, for a page that asks nobody for anything."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
