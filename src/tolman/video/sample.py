"""Which frames of a clip to take."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.int64]
_SLACK = 1e-6


def uniform_indices(total: int, frames: int) -> Indices:
    """(n,) increasing indices, n = min(frames, total): evenly spaced over 0..total − 1, both ends included.

    `round(linspace(0, total − 1, n))`, halves to even: the rule of Qwen3-VL's processor and of
    qwen-vl-utils. Never the same frame twice: a clip of fewer frames gives all it has. One frame is the
    first.
    """
    if total < 1 or frames < 1:
        raise ValueError(f"cannot sample {frames} of {total} frames: both must be at least 1")
    return np.linspace(0, total - 1, min(frames, total)).round().astype(np.int64)


def interior_indices(total: int, frames: int) -> Indices:
    """(n,) increasing indices, n <= min(frames, total): ⌊k · total / (frames + 1)⌋ for k = 1 … frames, so
    neither end of the clip; VLMEvalKit's rule for most video benchmarks. Frames that come twice are taken
    once.
    """
    if total < 1 or frames < 1:
        raise ValueError(f"cannot sample {frames} of {total} frames: both must be at least 1")
    return np.unique(np.arange(1, frames + 1) * total // (frames + 1)).astype(np.int64)


def middle_indices(total: int, frames: int) -> Indices:
    """(n,) increasing indices, n = min(frames, total): the middle frame of each of n equal parts (the test
    time rule of TSN, arXiv 1608.00859).
    """
    if total < 1 or frames < 1:
        raise ValueError(f"cannot sample {frames} of {total} frames: both must be at least 1")
    count = min(frames, total)
    return ((2 * np.arange(count) + 1) * total // (2 * count)).astype(np.int64)


RULES: Mapping[str, Callable[[int, int], Indices]] = {
    "uniform": uniform_indices,
    "interior": interior_indices,
    "middle": middle_indices,
}
"""Ways to take a number of frames, by name."""


def rate_indices(times_N: npt.NDArray[np.float64], fps: float, most: int | None = None) -> Indices:
    """(n,) increasing indices of the frames shown at 0, 1/fps, 2/fps, … seconds after the first.

    times_N: (N,) increasing seconds, the clip's own, at constant or variable rate. The frame shown at a
    time is the last that starts at or before it (or 1 µs later, for time stamps that are rounded). No frame
    is taken twice, so a rate above the clip's own gives all frames. Where that is more than `most` frames,
    those shown at `most` instants evenly spaced from the first frame to the last are taken instead.
    """
    if not (np.isfinite(fps) and fps > 0):
        raise ValueError(f"fps must be positive and finite, got {fps}")
    if most is not None and most < 1:
        raise ValueError(f"cannot sample {most} frames: must be at least 1")
    starts_N = times_N - times_N[0] - _SLACK
    ends_N = np.append(starts_N[1:], times_N[-1] - times_N[0] + _SLACK)
    taken_N = np.ceil(starts_N * fps) / fps < ends_N
    if most is None or taken_N.sum() <= most:
        return np.flatnonzero(taken_N).astype(np.int64)
    instants = np.linspace(0.0, times_N[-1] - times_N[0], most)
    return np.unique(np.searchsorted(starts_N, instants, side="right").astype(np.int64) - 1)
