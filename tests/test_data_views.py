"""What each part of a frame shows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tolman.data.views import Views, cell_shares, make_views, read_views, token_labels, write_views
from tolman.scenes import Box, Item, Scene


def test_shares_of_a_hand_made_frame() -> None:
    # a 4×4 frame in 2×2 cells: item 0 fills the upper left cell, item 1 a quarter of the lower right
    ids = np.full((1, 4, 4), -1, dtype=np.int32)
    ids[0, :2, :2] = 0
    ids[0, 3, 3] = 1
    shares = cell_shares(ids, items=2, cells=2)
    assert shares.shape == (1, 2, 2, 2)
    assert shares[0, 0, 0].tolist() == [255, 0]
    assert shares[0, 1, 1].tolist() == [0, 64]  # 255 / 4 = 63.75
    assert shares.sum() == 255 + 64


def test_frames_that_cannot_be_cut_are_refused() -> None:
    with pytest.raises(ValueError, match="30×32 pixels has no 8×8"):
        cell_shares(np.zeros((1, 30, 32), dtype=np.int32), items=1)


def test_token_labels_by_hand() -> None:
    # one step of two frames, 2×2 tokens over 8×8 cells (a token is 4×4 cells). The chair (item 1) fills the
    # whole upper right token in frame 0 only: half of the token's share. The lamp (item 0) covers 1/16 of the
    # lower left token in both frames: shown (over 0.04) but not dominant (below 0.10).
    shares = np.zeros((2, 8, 8, 2), dtype=np.uint8)
    shares[0, :4, 4:, 1] = 255
    shares[:, 7, 0, 0] = 255
    views = Views(shares, ("lamp", "chair"), np.array([[1, 2], [7, 8]]))
    labels = token_labels(views, ("chair", "lamp"), (1, 2, 2))
    assert labels.shown.tolist() == [[False, False], [True, False], [False, True], [False, False]]
    assert labels.item_mask.tolist() == [False, True, False, False]
    assert labels.kind.tolist() == [0, 0, 0, 0]
    assert labels.cell.tolist() == [[0, 0], [7, 8], [0, 0], [0, 0]]
    # the middle of the chair's visible part is its only token; the lamp's mass (1/16) is below the threshold
    assert labels.middle.tolist() == [[False, False], [True, False], [False, False], [False, False]]


def test_unknown_categories_are_nothing() -> None:
    shares = np.full((2, 8, 8, 1), 255, dtype=np.uint8)
    labels = token_labels(Views(shares, ("dragon",), np.array([[3, 3]])), ("chair",), (1, 2, 2))
    assert not labels.shown.any()
    assert not labels.item_mask.any()


def test_grids_that_do_not_divide_are_refused() -> None:
    views = Views(np.zeros((3, 8, 8, 1), dtype=np.uint8), ("chair",), np.zeros((1, 2), dtype=np.int64))
    with pytest.raises(ValueError, match="do not divide"):
        token_labels(views, ("chair",), (2, 2, 2))


def test_map_cells_follow_the_items_and_the_file_round_trips(tmp_path: Path) -> None:
    def item(category: str, x: float, y: float, name: str) -> Item:
        return Item(category, Box(np.array([x, y, 0.5]), np.ones(3) * 0.2, np.eye(3)), name)

    floor = np.array([[0.0, 0], [10, 0], [10, 10], [0, 10]])
    items = (item("table", 5.5, 5.5, "t"), item("chair", 1.5, 8.5, "c0"), item("chair", 9.5, 0.5, "c1"))
    views = make_views(Scene("s", items, 100.0, floor), np.zeros((2, 8, 8), dtype=np.int32))
    assert views.cells.tolist() == [[5, 5], [1, 8], [9, 0]]
    write_views(tmp_path / "s.npz", views)
    again = read_views(tmp_path / "s.npz")
    assert (again.shares == views.shares).all()
    assert again.categories == ("table", "chair", "chair")
    (tmp_path / "broken.npz").write_bytes(b"no")
    with pytest.raises(ValueError, match=r"broken\.npz"):
        read_views(tmp_path / "broken.npz")
