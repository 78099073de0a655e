"""What the maps drawn on the way to the answers are worth."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from tolman.bench.stats import clustered_mean
from tolman.bench.verdict import Row
from tolman.cogmap import CognitiveMap, extract_map_text, parse_map, score_map


@dataclass(frozen=True)
class MapFigures:
    """Percent over n rows whose true map can tell maps apart.

    drawn: rows with a map inside the thought that parses strictly. score: mean of the calibrated map score,
    in which the best map drawn blind earns 0 and the true one 100; a row without a map counts 0. stderr:
    clustered by clip, None with one clip.
    """

    n: int
    drawn: float
    score: float
    stderr: float | None


def map_figures(rows: Sequence[Row], clusters: Sequence[Hashable]) -> MapFigures | None:
    """Figures of the rows that have a `cognitive_map` and the whole answer, `raw`; None without any.

    clusters: of each row, what errors are clustered by.
    """
    scores: list[float] = []
    drawn = 0
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
        drawn += found is not None
        scores.append(100 * score)
        kept.append(cluster)
    if not scores:
        return None
    mean = clustered_mean(scores, kept)
    stderr = None if math.isnan(mean.stderr) else mean.stderr
    return MapFigures(len(scores), 100 * drawn / len(scores), mean.mean, stderr)
