"""Greyscale surface patterns, with coarser copies for far surfaces: what keeps a floor from looking like
paper."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import ndimage

SIDE = 256
LEVELS = 7
NAMES = ("plain", "wood", "fabric", "planks", "tiles", "carpet", "plaster", "brick", "stone")
SPANS = (1.0, 0.9, 0.25, 2.4, 1.6, 0.6, 1.5, 0.8, 0.7)
"""Metres that one repetition of each texture covers."""

Image = npt.NDArray[np.float64]


class Atlas(NamedTuple):
    """All patterns at all levels in one flat float32 array of factors around 1.

    starts: (levels,) offset of each level; per_metre: (textures,) texels per metre at level 0.
    """

    texels: npt.NDArray[np.float32]
    starts: npt.NDArray[np.int32]
    per_metre: npt.NDArray[np.float32]


def _noise(rng: np.random.Generator, sigma: tuple[float, float]) -> Image:
    """Periodic noise blurred by sigma texels (rows, columns), scaled to a standard deviation of 1."""
    raw = ndimage.gaussian_filter(rng.standard_normal((SIDE, SIDE)), sigma, mode="wrap")
    return np.asarray(raw / raw.std())


def _wood(rng: np.random.Generator) -> Image:
    bend = _noise(rng, (20, 60))
    rows = np.arange(SIDE)[:, None] / SIDE * 2 * np.pi
    rings = np.sin(9 * rows + 2.2 * bend)
    return 1 + 0.07 * rings + 0.05 * _noise(rng, (0.6, 14))


def _grid(
    rows: int, columns: int, shift: Image, gap: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Cell numbers of a brick bond, (SIDE, SIDE), and where the joints are (True). shift: (rows,) of a
    cell."""
    v, u = np.meshgrid(np.arange(SIDE), np.arange(SIDE), indexing="ij")
    row = v * rows // SIDE
    moved = (u + (shift[row] * SIDE / columns).astype(np.int64)) % SIDE
    column = moved * columns // SIDE
    joint = (v * rows % SIDE < gap * rows) | (moved * columns % SIDE < gap * columns)
    return row * columns + column, joint


def _planks(rng: np.random.Generator) -> Image:
    rows, columns = 16, 2
    cell, joint = _grid(rows, columns, np.asarray(rng.random(rows)), 1)
    tone = rng.normal(1.0, 0.11, rows * columns)[cell]
    grain = 0.05 * _noise(rng, (0.8, 18)) + 0.02 * _noise(rng, (3, 40))
    return np.where(joint, 0.5, tone + grain)


def _tiles(rng: np.random.Generator) -> Image:
    cell, joint = _grid(4, 4, np.zeros(4), 3)
    tone = rng.normal(1.0, 0.035, 16)[cell]
    return np.where(joint, 0.6, tone + 0.025 * _noise(rng, (8, 8)))


def _brick(rng: np.random.Generator) -> Image:
    cell, joint = _grid(10, 4, (np.arange(10) % 2 * 0.5).astype(np.float64), 3)
    return np.where(joint, 1.25, rng.normal(0.95, 0.12, 40)[cell] + 0.06 * _noise(rng, (1.5, 1.5)))


def _stone(rng: np.random.Generator) -> Image:
    return 1 + 0.06 * _noise(rng, (1, 1)) + 0.05 * _noise(rng, (6, 6))


def _fabric(rng: np.random.Generator) -> Image:
    v, u = np.meshgrid(np.arange(SIDE), np.arange(SIDE), indexing="ij")
    weave = np.sin(2 * np.pi * u / 8) * np.sin(2 * np.pi * v / 8)
    return 1 + 0.07 * weave + 0.05 * _noise(rng, (2, 2))


def _carpet(rng: np.random.Generator) -> Image:
    return 1 + 0.09 * _noise(rng, (1.2, 1.2)) + 0.04 * _noise(rng, (10, 10))


def _plaster(rng: np.random.Generator) -> Image:
    return 1 + 0.012 * _noise(rng, (1, 1)) + 0.012 * _noise(rng, (14, 14))


@cache
def atlas() -> Atlas:
    """The patterns: the same in every process."""
    rng = np.random.default_rng(20250401)
    makers = (_wood, _fabric, _planks, _tiles, _carpet, _plaster, _brick, _stone)
    images = [np.ones((SIDE, SIDE)), *(maker(rng) for maker in makers)]
    assert len(images) == len(NAMES) == len(SPANS)
    level = np.clip(np.stack(images), 0.3, 1.5)
    level /= level.mean(axis=(1, 2), keepdims=True)
    pieces, starts, start = [], [], 0
    for _ in range(LEVELS):
        pieces.append(level.ravel())
        starts.append(start)
        start += level.size
        level = (level[:, ::2, ::2] + level[:, 1::2, ::2] + level[:, ::2, 1::2] + level[:, 1::2, 1::2]) / 4
    texels = np.concatenate(pieces).astype(np.float32)
    return Atlas(texels, np.array(starts, np.int32), (SIDE / np.array(SPANS)).astype(np.float32))
