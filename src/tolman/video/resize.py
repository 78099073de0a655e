"""Antialiased bicubic resizing of uint8 frames, equal to what transformers' Qwen processors do.

They call torchvision's `resize(uint8, BICUBIC, antialias=True)`, which is torch's `interpolate` on uint8
directly: integer weights, each of the two passes rounded and clamped to 0..255. Going through float differs
by up to 1/255 and more where bicubic overshoots. The order of the two passes (columns first) is torch's.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

_CHUNK_BYTES = 1 << 26


def resize(rgb_THWC: npt.NDArray[np.uint8], size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Resize (T, H, W, C) uint8 frames to `size` = (height, width) pixels; the input itself where it fits
    already.

    Raises ValueError for other shapes and types and for sizes below 1.
    """
    if rgb_THWC.ndim != 4 or rgb_THWC.dtype != np.uint8 or 0 in rgb_THWC.shape:
        raise ValueError(f"expected uint8 frames (T, H, W, C), got {rgb_THWC.dtype} {rgb_THWC.shape}")
    height, width = size
    if height < 1 or width < 1:
        raise ValueError(f"cannot resize to {height}x{width}: both must be at least 1")
    if rgb_THWC.shape[1:3] == (height, width):
        return rgb_THWC
    out_THWC = np.empty((len(rgb_THWC), height, width, rgb_THWC.shape[3]), dtype=np.uint8)
    step = max(1, _CHUNK_BYTES // rgb_THWC[0].nbytes)
    for start in range(0, len(rgb_THWC), step):
        part = torch.from_numpy(np.array(rgb_THWC[start : start + step])).permute(0, 3, 1, 2)
        resized = torch.nn.functional.interpolate(
            part, size=(height, width), mode="bicubic", align_corners=False, antialias=True
        )
        out_THWC[start : start + step] = resized.permute(0, 2, 3, 1).numpy()
    return out_THWC
