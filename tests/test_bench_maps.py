"""Figures of the maps drawn on the way to the answers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tolman.bench.maps import map_figures

TRUTH = {"bed": [[0, 0]], "sofa": [[9, 9]]}


def row(raw: str | None, truth: Any = TRUTH) -> dict[str, Any]:
    return {"raw": raw, "cognitive_map": truth}


def test_true_blind_missing_and_broken_maps() -> None:
    rows = [
        row('<think><map>{"bed": [[0, 0]], "sofa": [[9, 9]]}</map></think><answer>1</answer>'),
        row('<think><map>{"bed": [[4, 4]], "sofa": [[4, 4]]}</map></think><answer>1</answer>'),
        row("<answer>1</answer>"),
        row("<think><map>{bed</map></think>"),
        row(None),
    ]
    found = map_figures(rows, ["a", "a", "b", "b", "b"])
    assert found is not None
    assert (found.n, found.drawn, found.score) == (5, 40.0, pytest.approx(20.0))
    # two clips; deviations from the mean of 20 per clip: 80 - 20 and 3 * -20; var = 2/1 * (60² + 60²) / 5²
    assert found.stderr == pytest.approx((2 * 7200) ** 0.5 / 5)
    # 10 true things; the first map has both, the second, with both in the middle, none: 4 were drawn
    assert (found.placed, found.sound) == (20.0, 50.0)
    alone = map_figures(rows, ["a"] * 5)
    assert alone is not None
    assert alone.stderr is None


def test_rows_without_a_usable_truth_do_not_count() -> None:
    drawn = '<think><map>{"bed": [[0, 0]]}</map></think>'
    assert (
        map_figures([row(drawn, None), {"cognitive_map": TRUTH}, row(drawn, {"bed": [[3, 3]]})], "abc")
        is None
    )
    found = map_figures([row(drawn, {"bed": [[3, 3]]}), row(drawn)], ["a", "b"])
    assert found is not None
    assert (found.n, found.drawn) == (1, 100.0)


def test_things_are_placed_within_a_cell_and_once() -> None:
    truth = {"chair": [[2, 2], [3, 3], [9, 9]], "bed": [[0, 0]]}
    drawn = {"chair": [[3, 2], [2.9, 3.5], [3, 3], [7, 9]], "bed": [[1, 1]], "sofa": [[9, 9]]}
    found = map_figures([row(f"<think><map>{json.dumps(drawn)}</map></think>", truth)], ["a"])
    assert found is not None
    # two of three chairs (each by one drawn chair; the last is two cells off) and the bed; six things drawn
    assert found.placed == pytest.approx(100 * 3 / 4)
    assert found.sound == pytest.approx(100 * 3 / 6)
    nothing = map_figures([row("", truth)], ["a"])
    assert nothing is not None
    assert (nothing.placed, nothing.sound) == (0.0, None)
