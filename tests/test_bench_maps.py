"""Figures of the maps drawn on the way to the answers."""

from __future__ import annotations

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
