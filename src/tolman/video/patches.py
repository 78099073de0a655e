"""Frames to the flat patch tensor of Qwen2-VL, Qwen2.5-VL and Qwen3-VL, without torchvision.

Agrees with transformers' `Qwen2VLVideoProcessor`, `Qwen3VLVideoProcessor` and `Qwen2VLImageProcessor` (5.17
with torchvision 0.26, frames and tensors of which the tests hold): every grid is equal, every value to
1e-5, also where frames are resized or their number is odd. Two departures, both where transformers raises
an error: a single frame is accepted for a temporal patch of two (it is repeated, as an image is), and the
pixel budget of Qwen3-VL then counts it as `temporal` frames.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

_MAX_ASPECT = 200
_CLIP_MEAN, _CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
_HALF = (0.5, 0.5, 0.5)
_FILES = (
    ("video_preprocessor_config.json", None),
    ("processor_config.json", "video_processor"),
    ("preprocessor_config.json", None),
)


@dataclass(frozen=True)
class PatchSpec:
    """How a vision tower wants its pixels.

    patch: edge of a patch, pixels. merge: patches merged per edge by the tower. temporal: frames per patch.
    mean, std: per channel, of values in 0..1. min_pixels, max_pixels: bounds within which frames are
    resized, of one frame, or of the whole clip (frames × height × width) where `per_clip` is set, which is
    Qwen3-VL's rule.
    """

    patch: int
    merge: int
    temporal: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    min_pixels: int
    max_pixels: int
    per_clip: bool = False

    def __post_init__(self) -> None:
        for name in ("patch", "merge", "temporal", "min_pixels", "max_pixels"):
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise ValueError(f"patch spec: {name} must be a positive integer, got {value!r}")
        if self.min_pixels > self.max_pixels:
            raise ValueError(f"patch spec: min_pixels {self.min_pixels} > max_pixels {self.max_pixels}")
        if len(self.mean) != 3 or len(self.std) != 3 or not min(self.std) > 0:
            raise ValueError(f"patch spec: needs 3 means and 3 positive stds, got {self.mean} and {self.std}")

    @property
    def factor(self) -> int:
        """Frame heights and widths are multiples of this many pixels."""
        return self.patch * self.merge

    def frame_size(self, frames: int, height: int, width: int) -> tuple[int, int]:
        """(height, width) that frames of a clip are resized to. Raises ValueError as `smart_resize`."""
        if not self.per_clip:
            return smart_resize(height, width, self.factor, self.min_pixels, self.max_pixels)
        frames = max(frames, self.temporal)
        return smart_resize_clip(
            frames, height, width, self.temporal, self.factor, self.min_pixels, self.max_pixels
        )

    @classmethod
    def from_folder(cls, folder: str | Path) -> PatchSpec:
        """Read a checkpoint folder's video preprocessing.

        Looks at `video_preprocessor_config.json`, `processor_config.json` (its `video_processor`), then
        `preprocessor_config.json`, as transformers does. Raises ValueError naming the folder that has none
        of them, or the file and the value that is missing or wrong.
        """
        for name, part in _FILES:
            path = Path(folder) / name
            if not path.is_file():
                continue
            try:
                config = json.loads(path.read_text(encoding="utf-8"))
            except ValueError as error:
                raise ValueError(f"{path}: not JSON: {error}") from error
            config = config.get(part) if part and isinstance(config, dict) else config
            if isinstance(config, dict):
                return _from_config(path, config)
        raise ValueError(f"{folder}: no video preprocessing in {', '.join(name for name, _ in _FILES)}")


QWEN2_5_VL = PatchSpec(14, 2, 2, _CLIP_MEAN, _CLIP_STD, 128 * 28 * 28, 768 * 28 * 28)
"""Qwen2-VL and Qwen2.5-VL video: transformers' and qwen-vl-utils' default bounds, per frame."""

QWEN3_VL = PatchSpec(16, 2, 2, _HALF, _HALF, 128 * 32 * 32, 768 * 32 * 32, per_clip=True)
"""Qwen3-VL video: transformers' default bounds, for the whole clip."""


class Patches(NamedTuple):
    """pixels: (patches, channels · temporal · patch²) float32. grid_thw: (3,) int64, in patches."""

    pixels: npt.NDArray[np.float32]
    grid_thw: npt.NDArray[np.int64]


def smart_resize(height: int, width: int, factor: int, min_pixels: int, max_pixels: int) -> tuple[int, int]:
    """(height, width), multiples of `factor`, with an area within the bounds and about the same aspect
    (Qwen2-VL).

    Each edge is rounded to the nearest multiple (halves to even, as transformers does); an area out of
    bounds rescales both edges. Raises ValueError for edges below 1 and aspect ratios above 200.
    """
    _check_edges(height, width)
    return _fit(1, 1, height, width, factor, min_pixels, max_pixels)


def smart_resize_clip(
    frames: int, height: int, width: int, temporal: int, factor: int, min_pixels: int, max_pixels: int
) -> tuple[int, int]:
    """As `smart_resize` with bounds for frames × height × width (Qwen3-VL).

    Frames smaller than `factor` are first scaled up until both edges reach it. The bounds are compared with
    `frames` rounded to a multiple of `temporal` (halves to even), the rescaling uses `frames` itself, as
    transformers does. Raises ValueError for fewer frames than `temporal`, edges below 1 and aspect ratios
    above 200.
    """
    if frames < temporal:
        raise ValueError(f"a clip needs at least {temporal} frames, got {frames}; repeat the last one")
    _check_edges(height, width)
    if height < factor or width < factor:
        scale = max(factor / height, factor / width)
        height, width = int(height * scale), int(width * scale)
    rounded = round(frames / temporal) * temporal
    return _fit(rounded, frames, height, width, factor, min_pixels, max_pixels)


def _check_edges(height: int, width: int) -> None:
    """Refuse what cannot be resized."""
    if min(height, width) < 1:
        raise ValueError(f"a frame needs edges of at least 1 pixel, got {height}x{width}")
    if max(height, width) / min(height, width) > _MAX_ASPECT:
        raise ValueError(f"a frame of {height}x{width} has an aspect ratio above {_MAX_ASPECT}; crop it")


def _fit(
    rounded: int, frames: int, height: int, width: int, factor: int, min_pixels: int, max_pixels: int
) -> tuple[int, int]:
    """Round both edges to multiples of `factor`, rescaling where frames × area leaves the bounds."""
    high, wide = round(height / factor) * factor, round(width / factor) * factor
    if rounded * high * wide > max_pixels:
        shrink = math.sqrt(frames * height * width / max_pixels)
        high = max(factor, math.floor(height / shrink / factor) * factor)
        wide = max(factor, math.floor(width / shrink / factor) * factor)
    elif rounded * high * wide < min_pixels:
        grow = math.sqrt(min_pixels / (frames * height * width))
        high = math.ceil(height * grow / factor) * factor
        wide = math.ceil(width * grow / factor) * factor
    return high, wide


def patchify(rgb_THWC: npt.NDArray[np.uint8], spec: PatchSpec) -> Patches:
    """Resize, normalise and cut frames (T, H, W, 3) uint8 into the rows that the vision tower takes.

    Frames are resized to `spec.frame_size` where they differ from it; where T is not a multiple of
    `spec.temporal` the last frame is repeated. Rows run over time, then merge blocks row by row, then the
    patches in a block; a row holds channel, time, y, x. Raises ValueError for other shapes and types, and
    as `smart_resize`.
    """
    if rgb_THWC.ndim != 4 or rgb_THWC.shape[3] != 3 or rgb_THWC.dtype != np.uint8 or 0 in rgb_THWC.shape:
        raise ValueError(f"expected uint8 frames (T, H, W, 3), got {rgb_THWC.dtype} {rgb_THWC.shape}")
    frames, height, width, _ = rgb_THWC.shape
    size = spec.frame_size(frames, height, width)
    if size != (height, width):
        from tolman.video.resize import resize  # torch only where it is needed

        rgb_THWC = resize(rgb_THWC, size)
    pad = -frames % spec.temporal
    if pad:
        rgb_THWC = np.concatenate([rgb_THWC, np.repeat(rgb_THWC[-1:], pad, axis=0)])
    grid = (len(rgb_THWC) // spec.temporal, size[0] // spec.patch, size[1] // spec.patch)
    blocks = rgb_THWC.reshape(
        grid[0], spec.temporal, grid[1] // spec.merge, spec.merge, spec.patch,
        grid[2] // spec.merge, spec.merge, spec.patch, 3,
    )  # fmt: skip
    channels = blocks.transpose(8, 0, 2, 5, 3, 6, 1, 4, 7).reshape(3, math.prod(grid), -1)
    pixels = np.stack([_values(spec)[c][channels[c]] for c in range(3)], axis=1)
    return Patches(pixels.reshape(math.prod(grid), -1), np.array(grid, dtype=np.int64))


def _values(spec: PatchSpec) -> npt.NDArray[np.float32]:
    """(3, 256) float32: the normalised value of each byte per channel, (byte − 255·mean) / (255·std)."""
    mean = np.array(spec.mean, dtype=np.float32)[:, None] * np.float32(255)
    std = np.array(spec.std, dtype=np.float32)[:, None] * np.float32(255)
    values: npt.NDArray[np.float32] = (np.arange(256, dtype=np.float32) - mean) / std
    return values


def _from_config(path: Path, config: dict[str, Any]) -> PatchSpec:
    """A spec from one of transformers' JSON objects."""
    size = config.get("size") if isinstance(config.get("size"), dict) else {}
    assert isinstance(size, dict)
    kind = str(config.get("video_processor_type") or config.get("image_processor_type") or "")
    found = {
        "patch": config.get("patch_size"),
        "merge": config.get("merge_size"),
        "temporal": config.get("temporal_patch_size"),
        "mean": config.get("image_mean"),
        "std": config.get("image_std"),
        "min_pixels": config.get("min_pixels") or size.get("shortest_edge") or size.get("min_pixels"),
        "max_pixels": config.get("max_pixels") or size.get("longest_edge") or size.get("max_pixels"),
    }
    missing = [name for name, value in found.items() if value is None]
    if missing:
        raise ValueError(f"{path}: lacks {', '.join(missing)}")
    if config.get("cap_pixels_per_frame"):
        raise ValueError(f"{path}: cap_pixels_per_frame is set, which is not supported; remove it")
    try:
        found["mean"], found["std"] = tuple(map(float, found["mean"])), tuple(map(float, found["std"]))  # type: ignore[arg-type]
        return PatchSpec(**found, per_clip="Qwen3" in kind)  # type: ignore[arg-type]
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: {error}") from error
