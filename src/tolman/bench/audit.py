"""How much of a benchmark needs its video: the same questions with the clip, and with it taken away.

The categories are VBenchComp's (arXiv 2505.14321), by one policy's answers where the paper takes two models
that must agree: llm-answerable (right without any clip), else semantic (right with shuffled frames), else
temporal (right with the frames in order), else others. Guessing makes a share of the first category that
chance alone explains; the table gives chance beside it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tolman.bench.benchmark import find_benchmark
from tolman.bench.comparison import Line, compare_runs
from tolman.bench.figures import Figures, figures_of, task_name
from tolman.bench.frames import CLIP_SOURCES
from tolman.bench.verdict import Row

CATEGORIES = ("llm-answerable", "semantic", "temporal", "others")
RIGHT = 0.5  # the score from which an answer counts as right; below 1 only for graded scores


@dataclass(frozen=True)
class Audit:
    """views: of each of `CLIP_SOURCES`, the figures. changes: of each but `true`, what it changes against it
    overall. categories: percent of questions, by task and under `overall`; n: questions in them.
    """

    views: dict[str, Figures]
    changes: dict[str, Line]
    categories: dict[str, dict[str, float]]
    n: int

    def to_json(self) -> dict[str, Any]:
        """The same as plain JSON values."""
        return asdict(self)


def audit(rows: Mapping[str, Sequence[Row]], benchmark: str = "vsibench", seed: int = 0) -> Audit:
    """From scored rows of the same questions under each of `CLIP_SOURCES`.

    Raises ValueError where one is missing, and as `compare_runs` where questions differ.
    """
    missing = [source for source in CLIP_SOURCES if source not in rows]
    if missing:
        raise ValueError(f"an audit needs the questions under {', '.join(missing)} too")
    changes = {
        source: compare_runs(rows["true"], rows[source], benchmark, seed=seed).overall
        for source in CLIP_SOURCES[1:]
    }
    entry = find_benchmark(benchmark)
    scores = {source: {row["id"]: row["score"] for row in rows[source]} for source in CLIP_SOURCES}
    by_task: dict[str, list[str]] = {"overall": []}
    for row in rows["true"]:
        seen = {source: scores[source][row["id"]] for source in ("true", "none", "shuffled")}
        if not any(math.isnan(score) for score in seen.values()):
            found = category(**{f"{source}_score": score for source, score in seen.items()})
            by_task["overall"].append(found)
            by_task.setdefault(task_name(entry, row), []).append(found)
    shares = {
        task: {name: 100 * found.count(name) / len(found) for name in CATEGORIES}
        for task, found in by_task.items()
        if found
    }
    views = {source: figures_of(rows[source], benchmark) for source in CLIP_SOURCES}
    return Audit(views, changes, shares, len(by_task["overall"]))


def category(true_score: float, none_score: float, shuffled_score: float) -> str:
    """One of `CATEGORIES`, from scores in [0, 1]."""
    for name, score in zip(CATEGORIES, (none_score, shuffled_score, true_score), strict=False):
        if score >= RIGHT:
            return name
    return "others"
