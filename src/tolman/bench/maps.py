"""What the maps drawn on the way to the answers are worth."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from tolman.bench.stats import clustered_mean
from tolman.bench.verdict import Row
from tolman.cogmap import CognitiveMap, extract_map_text, parse_map, score_map


@dataclass(frozen=True)
class MapFigures:
    """Percent over n rows whose true map can tell maps apart.

    drawn: rows with a map inside the thought that parses strictly. score: mean of the calibrated map score,
    in which the best map drawn blind earns 0 and the true one 100; a row without a map counts 0. stderr:
    clustered by clip, None with one clip. placed: of the true things, those drawn by their name within a cell
    (diagonal neighbours included), one drawn thing each; sound: of the drawn things, those that are such a
    one, None where nothing was drawn.
    """

    n: int
    drawn: float
    score: float
    stderr: float | None
    placed: float
    sound: float | None


def map_figures(rows: Sequence[Row], clusters: Sequence[Hashable]) -> MapFigures | None:
    """Figures of the rows that have a `cognitive_map` and the whole answer, `raw`; None without any.

    clusters: of each row, what errors are clustered by.
    """
    scores: list[float] = []
    drawn = hits = true_things = drawn_things = 0
    kept: list[Hashable] = []
    for row, cluster in zip(rows, clusters, strict=True):
        if row.get("cognitive_map") is None or "raw" not in row:
            continue
        truth = CognitiveMap.of(row["cognitive_map"])
        text = extract_map_text(row["raw"] or "").text
        found = parse_map(text).map if text is not None else None
        score = score_map(found or CognitiveMap({}), truth)
        if math.isnan(score):
            continue
        scores.append(100 * score)
        kept.append(cluster)
        true_things += truth.size
        if found is not None:
            drawn += 1
            drawn_things += found.size
            hits += _hits(found, truth)
    if not scores:
        return None
    mean = clustered_mean(scores, kept)
    stderr = None if math.isnan(mean.stderr) else mean.stderr
    return MapFigures(
        n=len(scores),
        drawn=100 * drawn / len(scores),
        score=mean.mean,
        stderr=stderr,
        placed=100 * hits / true_things,
        sound=100 * hits / drawn_things if drawn_things else None,
    )


def _hits(drawn: CognitiveMap, truth: CognitiveMap) -> int:
    """How many true things are drawn by their name within a cell, one drawn thing for each at most."""
    total = 0
    for name in truth.categories:
        ours = np.floor(np.array(drawn.positions.get(name, ()), dtype=np.float64).reshape(-1, 2))
        true = np.floor(np.array(truth.positions[name], dtype=np.float64).reshape(-1, 2))
        near = np.abs(ours[:, None] - true[None]).max(axis=2, initial=0.0) <= 1
        total += int(near[linear_sum_assignment(near, maximize=True)].sum())
    return total
