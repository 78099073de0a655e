"""Video-R1's evaluation of VSI-Bench (tulerfeng/Video-R1 59d65c34, `src/eval_bench.py`)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tolman.bench import vsibench
from tolman.bench.rules.common import first_tagged, to_number
from tolman.bench.verdict import Row, Verdict, text_of, truth_of

_THRESHOLDS = np.arange(0.5, 0.975, 0.05).astype(np.float32)


def vsibench_rule(row: Row) -> Verdict:
    """Letters as exact text, so that "A." is wrong; numbers without commas by relative accuracy with strict
    bounds in float32.
    """
    text = first_tagged(text_of(row)) or text_of(row)
    if vsibench.task_of(row["question_type"]) not in vsibench.NUMERICAL:
        return Verdict(float(text.strip() == truth_of(row).strip()), None)
    said, truth = to_number(text.replace(",", "")), to_number(truth_of(row).replace(",", ""))
    if said is None or truth is None:
        return Verdict(0.0, None, "not a number", failed=said is None)
    with np.errstate(all="ignore"):
        said32, truth32 = np.float32(said), np.float32(truth)
        error = np.abs(said32 - truth32) / (np.abs(truth32) + np.float32(1e-8))
        kept = (error < np.float32(1) - _THRESHOLDS).astype(np.float32)
        return Verdict(float(kept.mean()), None)


def aggregate(rows: Sequence[Row]) -> dict[str, float]:
    """Percent: mean_acc over letters and mean_mra over numbers, each over rows; overall is the mean of all
    rows (the published code gives none).
    """
    scores: dict[str, list[float]] = {}
    for row in rows:
        numerical = vsibench.task_of(row["question_type"]) in vsibench.NUMERICAL
        scores.setdefault("mean_mra" if numerical else "mean_acc", []).append(row["score"])
    everything = [score for values in scores.values() for score in values]
    return {"overall": 100 * float(np.mean(everything))} | {
        name: 100 * float(np.mean(values)) for name, values in scores.items()
    }
