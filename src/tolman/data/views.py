"""What each part of a frame shows: free, exact labels for teaching a vision tower to see."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tolman.cogmap.build import build_map
from tolman.scenes import Scene

CELLS = 8
SHOWN, DOMINANT = 0.04, 0.10


@dataclass(frozen=True, eq=False)
class Views:
    """What a film shows where.

    shares: (frames, CELLS, CELLS, items) uint8, the share of each frame cell an item covers, 255 = all of it.
    categories: of the items. cells: (items, 2) int64, the cell (x, y) of each on the room's 10×10 map.
    """

    shares: npt.NDArray[np.uint8]
    categories: tuple[str, ...]
    cells: npt.NDArray[np.int64]


class TokenLabels(NamedTuple):
    """Labels of a clip's N vision tokens, in the order of the tower's output.

    shown, middle: (N, categories) bool, the token shows the category / holds the middle of one of its items.
    item_mask: (N,) True where one item covers enough of the token; kind: (N,) its category index; cell:
    (N, 2) its map cell. kind and cell are 0 where item_mask is False.
    """

    shown: npt.NDArray[np.bool_]
    middle: npt.NDArray[np.bool_]
    item_mask: npt.NDArray[np.bool_]
    kind: npt.NDArray[np.int64]
    cell: npt.NDArray[np.int64]


def cell_shares(ids_THW: npt.NDArray[np.int32], items: int, cells: int = CELLS) -> npt.NDArray[np.uint8]:
    """The share of every frame cell that each item covers.

    ids_THW: item index per pixel, -1 elsewhere. Returns (frames, cells, cells, items) uint8, 255 = the whole
    cell. Raises ValueError where the frame cannot be cut into `cells` × `cells` equal cells.
    """
    frames, height, width = ids_THW.shape
    if height % cells or width % cells:
        raise ValueError(f"a frame of {height}×{width} pixels has no {cells}×{cells} equal cells")
    blocks = ids_THW.reshape(frames, cells, height // cells, cells, width // cells)
    blocks = blocks.transpose(0, 1, 3, 2, 4).reshape(frames * cells * cells, -1)
    rows = np.repeat(np.arange(len(blocks)), blocks.shape[1])
    flat = blocks.ravel()
    seen = flat >= 0
    counts = np.bincount(rows[seen] * items + flat[seen], minlength=len(blocks) * items)
    shares: npt.NDArray[np.uint8] = np.rint(counts * (255.0 / blocks.shape[1])).astype(np.uint8)
    return np.reshape(shares, (frames, cells, cells, items))


def make_views(scene: Scene, ids_THW: npt.NDArray[np.int32]) -> Views:
    """The views of a film of `scene`."""
    places = build_map(scene).positions
    taken = dict.fromkeys(scene.categories, 0)
    cells = np.zeros((len(scene.items), 2), dtype=np.int64)
    for index, item in enumerate(scene.items):
        cells[index] = places[item.category][taken[item.category]]
        taken[item.category] += 1
    shares = cell_shares(ids_THW, len(scene.items))
    return Views(shares, tuple(item.category for item in scene.items), cells)


def write_views(path: Path, views: Views) -> None:
    """Write an `.npz`, whole or not at all."""
    temporary = path.with_suffix(".tmp")
    with temporary.open("wb") as stream:
        np.savez_compressed(
            stream, shares=views.shares, categories=np.array(views.categories), cells=views.cells
        )
    temporary.replace(path)


def read_views(path: Path) -> Views:
    """Read what `write_views` wrote. Raises ValueError naming `path` and what is wrong with it."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return Views(arrays["shares"], tuple(arrays["categories"].tolist()), arrays["cells"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: no views (build the data with --views): {error}") from error


def token_labels(views: Views, categories: tuple[str, ...], grid: tuple[int, int, int]) -> TokenLabels:
    """Labels of the tokens of a clip that shows all of the film's frames.

    grid: (steps, rows, columns) of the tokens; a step pools frames / steps frames. Items whose category is
    not in `categories` are labelled as nothing. Raises ValueError where frames or cells do not divide evenly.
    """
    steps, rows, columns = grid
    frames, height, width, items = views.shares.shape
    if frames % steps or height % rows or width % columns:
        raise ValueError(f"views of {frames}×{height}×{width} do not divide into {grid} tokens")
    blocks = views.shares.reshape(
        steps, frames // steps, rows, height // rows, columns, width // columns, items
    )
    share = blocks.mean(axis=(1, 3, 5), dtype=np.float64).reshape(-1, items) / 255.0
    index = np.array([categories.index(c) if c in categories else -1 for c in views.categories])
    shown = np.zeros((len(share), len(categories)), dtype=np.bool_)
    middle = np.zeros_like(shown)
    centres = _middle_tokens(share.reshape(steps, rows, columns, items))
    for item in np.flatnonzero(index >= 0):
        shown[:, index[item]] |= share[:, item] >= SHOWN
        middle[centres[item], index[item]] = True
    known = np.where(index >= 0, share, 0.0)
    best = known.argmax(axis=1)
    mask = known.max(axis=1) >= DOMINANT
    kind = np.where(mask, index[best], 0)
    cell = np.where(mask[:, None], views.cells[best], 0)
    return TokenLabels(shown, middle, mask, kind, cell)


def _middle_tokens(share: npt.NDArray[np.float64]) -> list[list[int]]:
    """For each item, the tokens (flat indices) that hold the middle of its visible part, one per step."""
    _, rows, columns, items = share.shape
    mass = share.sum(axis=(1, 2))
    down = (share.sum(axis=2) * np.arange(rows)[None, :, None]).sum(axis=1)
    right = (share.sum(axis=1) * np.arange(columns)[None, :, None]).sum(axis=1)
    places: list[list[int]] = []
    for item in range(items):
        seen = np.flatnonzero(mass[:, item] >= DOMINANT)
        r = np.rint(down[seen, item] / mass[seen, item]).astype(int)
        c = np.rint(right[seen, item] / mass[seen, item]).astype(int)
        places.append((seen * rows * columns + r * columns + c).tolist())
    return places
