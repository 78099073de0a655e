"""How much of the true map a drawn map shows."""

from __future__ import annotations

import math
import sys
from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

from tolman.cogmap.map import CognitiveMap, Points
from tolman.scenes.types import Floats

RULES = ("calibrated", "published")


class MapScore(NamedTuple):
    """value in [0, 1], or NaN where the truth cannot be used; the reason for either."""

    value: float
    reason: str


def score_map(drawn: CognitiveMap, truth: CognitiveMap, rule: str = "calibrated", grid: int = 10) -> float:
    """The value of `grade_map`: in [0, 1], NaN where it has none."""
    return grade_map(drawn, truth, rule, grid).value


def grade_map(drawn: CognitiveMap, truth: CognitiveMap, rule: str = "calibrated", grid: int = 10) -> MapScore:
    """Compare two maps on a grid×grid grid.

    With d the Euclidean distance in cells, a matched pair earns credit = max(0, 1 − d/(grid·√2)).

    calibrated: both maps are taken by cell (coordinates rounded down). Within a category an optimal
    one-to-one matching (Hungarian) collects credit; a drawn cell outside 0..grid−1 earns none. With n_c
    drawn and m_c true positions in category c,

        raw = Σ_c credit_c / Σ_c max(n_c, m_c)    (c over the categories of either map)
        score = clip((raw − blind) / (1 − blind), 0, 1)

    so that missing and extra positions and extra categories all cost. blind is the raw score of the right
    categories and counts with every position in one single cell, the best such cell for this truth: the
    most that can be had without knowing any layout is worth 0, the true map 1. With the right counts,
    score = 1 − Σd / Σd_blind. NaN for a truth that cannot tell maps apart: one without positions, one whose
    positions all share a cell (a single item, for one; the blind map is then the true map), and one with
    positions off the grid.

    published: `calculate_prediction_score` of SpaceR (extract_map.py at b623af5): closest pairs first
    instead of the optimal matching; per category Σcredit / max(n_c, m_c), averaged with weights m_c, so
    that extra categories are free and all items at the centre earn 0.77 (mean over VSI-Bench's scans); two
    maps without categories: 1. NaN where that code raises: a truth without positions when any category is
    drawn (TypeError), coordinates too large for a float (OverflowError).

    Raises ValueError for another rule, a grid below 1, and maps in metres or of another grid.
    """
    if rule not in RULES:
        raise ValueError(f"map score rule must be one of {', '.join(RULES)}, got {rule!r}")
    if grid < 1:
        raise ValueError(f"grid must be at least 1, got {grid}")
    if drawn.grid != grid or truth.grid != grid:
        raise ValueError(
            f"maps to compare must have grid {grid}, got {drawn.grid} (drawn) and {truth.grid} (truth)"
        )
    return _calibrated(drawn, truth, grid) if rule == "calibrated" else _published(drawn, truth, grid)


def _calibrated(drawn: CognitiveMap, truth: CognitiveMap, grid: int) -> MapScore:
    cells = {category: _cells(points) for category, points in truth.positions.items() if points}
    if not cells:
        return MapScore(math.nan, "the true map has no positions")
    every = np.concatenate(list(cells.values()))
    if not _on_grid(every, grid).all():
        return MapScore(math.nan, f"the true map has positions off the {grid}×{grid} grid")
    blind = _blind(every, grid)
    if (every == every[0]).all():
        return MapScore(math.nan, "the true map is a single cell: a blind guess could not be told from it")
    credit, total = 0.0, 0
    for category in sorted(set(cells) | set(drawn.positions)):
        guesses = _cells(drawn.positions.get(category, ()))
        targets = cells.get(category, np.empty((0, 2)))
        total += max(len(guesses), len(targets))
        credits = _credits(guesses, targets, grid) * _on_grid(guesses, grid)[:, None]
        credit += float(credits[linear_sum_assignment(credits, maximize=True)].sum())
    raw = credit / total
    value = min(1.0, max(0.0, (raw - blind) / (1 - blind)))
    return MapScore(value, f"map raw {raw:.3f}, blind {blind:.3f}")


def _cells(points: Points) -> Floats:
    """(n, 2) cells; what is far off any grid is brought to ±10⁶ first, so that huge integers fit."""
    near = [[min(max(value, -1e6), 1e6) for value in point] for point in points]
    return np.floor(np.array(near, dtype=np.float64).reshape(-1, 2))


def _on_grid(cells: Floats, grid: int) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """(n,) True where both coordinates are in 0..grid−1."""
    inside = ((cells >= 0) & (cells <= grid - 1)).all(axis=1)
    return np.asarray(inside, dtype=np.bool_)


def _distances(a: Floats, b: Floats) -> Floats:
    """(n, m) Euclidean distances in cells."""
    return np.asarray(np.sqrt(((a[:, None, :] - b[None, :, :]) ** 2).sum(axis=-1)), dtype=np.float64)


def _credits(a: Floats, b: Floats, grid: int) -> Floats:
    """(n, m) credit of each pair, in [0, 1]."""
    return np.asarray(np.maximum(0.0, 1 - _distances(a, b) / (grid * math.sqrt(2))), dtype=np.float64)


def _blind(every: Floats, grid: int) -> float:
    """The best raw score of the right counts in one cell: the largest mean credit over the grid's cells."""
    cells = np.indices((grid, grid), dtype=np.float64).reshape(2, -1).T
    return float(_credits(cells, every, grid).mean(axis=1).max())


def _published(drawn: CognitiveMap, truth: CognitiveMap, grid: int) -> MapScore:
    if not drawn.positions and not truth.positions:
        return MapScore(1.0, "two maps without categories")
    weighted = 0.0
    for category, targets in truth.positions.items():
        guesses = drawn.positions.get(category, ())
        if not guesses or not targets:
            continue
        if _overflows(guesses, targets):
            return MapScore(
                math.nan, "coordinates too large for a float: the published code raises OverflowError"
            )
        credit = _greedy_credit(_near(guesses), _near(targets), grid)
        weighted += credit / max(len(guesses), len(targets)) * len(targets)
    if truth.size == 0:
        if drawn.positions:
            return MapScore(math.nan, "a truth without positions: the published code raises TypeError")
        return MapScore(1.0, "two maps without positions")
    return MapScore(weighted / truth.size, "map as published")


def _overflows(guesses: Points, targets: Points) -> bool:
    """Whether a squared distance exceeds the largest float."""
    if all(abs(value) < 1e150 for point in (*guesses, *targets) for value in point):
        return False
    return any(
        (x - u) * (x - u) + (y - v) * (y - v) > sys.float_info.max for x, y in guesses for u, v in targets
    )


def _near(points: Points) -> Floats:
    """(n, 2) positions; beyond ±10⁶ they earn nothing wherever they are."""
    return np.array([[min(max(value, -1e6), 1e6) for value in point] for point in points], dtype=np.float64)


def _greedy_credit(guesses: Floats, targets: Floats, grid: int) -> float:
    """Credit of one-to-one pairs taken closest first, ties by order of appearance."""
    distances = _distances(guesses, targets)
    free_guess, free_target = np.ones(len(guesses), bool), np.ones(len(targets), bool)
    credit, left = 0.0, min(len(guesses), len(targets))
    for flat in np.argsort(distances, axis=None, kind="stable"):
        row, column = divmod(int(flat), len(targets))
        if free_guess[row] and free_target[column]:
            free_guess[row] = free_target[column] = False
            credit += max(0.0, 1 - float(distances[row, column]) / (grid * math.sqrt(2)))
            left -= 1
            if left == 0:
                break
    return credit
