"""A run's answers as lmms-eval writes them, for tools that read its logs.

`<model>/<date>_samples_<task>.jsonl`, a line for each question, and `<model>/<date>_results.json`, as
lmms-eval's `EvaluationTracker` lays them out (v0.7; `--log_samples`). Two things differ, since rows of ours
do not hold them: `doc_hash` is of our row's question, not of the published row, so it tells questions apart
but does not match a log of theirs; and the task's metric is one dictionary for every benchmark,
`<benchmark>_score`, with the question's score in `score` (for VSI-Bench also under their metric's name).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from tolman.bench.benchmark import find_benchmark
from tolman.bench.figures import figures_of
from tolman.bench.verdict import Row
from tolman.bench.vsibench import NUMERICAL
from tolman.data.files import write_lines

_DOC = ("id", "question_type", "question", "options", "ground_truth")


def lmms_sample(row: Row, benchmark: str) -> dict[str, Any]:
    """A row of `predictions.jsonl` as a line of their samples.

    `filtered_resps` is what was scored; `resps`, the whole output, is left out where it is the same, as
    there. Raises ValueError for rows without the prompt (made before prompts were kept).
    """
    if "prompt" not in row:
        raise ValueError(
            f"row {row.get('id', '?')} lacks `prompt`, which lmms-eval's log shows: it is no row of a run, "
            "or was made before prompts were kept"
        )
    doc = {name: row[name] for name in _DOC}
    said = row["prediction"] or ""
    raw = row["raw"] or ""
    sample: dict[str, Any] = {"doc_id": row["number"], "target": str(row["ground_truth"])}
    if raw != said:
        sample["resps"] = [raw]
    sample["filtered_resps"] = [said]
    sample["token_counts"] = [None if row["tokens"] is None else {"output_tokens": row["tokens"]}]
    sample["doc_hash"] = _hash(json.dumps(doc, indent=2, ensure_ascii=False))
    score = None if row["score"] != row["score"] else row["score"]
    metric = doc | {"prediction": said, "score": score}
    if benchmark == "vsibench":
        metric["MRA:.5:.95:.05" if row["question_type"] in NUMERICAL else "accuracy"] = score
    return sample | {f"{benchmark}_score": metric, "input": row["prompt"]}


def write_lmms_log(
    folder: Path, rows: Sequence[Row], settings: Mapping[str, Any], now: datetime
) -> tuple[Path, Path]:
    """Write both files below `folder` and return their paths.

    rows: scored rows of a run. settings: of the same run (benchmark, rule, model, …). now: the date in the
    names. Raises ValueError as `lmms_sample`, and where nothing can be averaged.
    """
    entry = find_benchmark(settings["benchmark"])
    ordered = sorted(rows, key=lambda row: int(row["number"]))
    samples = [lmms_sample(row, entry.name) for row in ordered]
    place = folder / _file_name(str(settings["model"]))
    place.mkdir(parents=True, exist_ok=True)
    stem = now.strftime("%Y%m%d_%H%M%S")
    lines, results = place / f"{stem}_samples_{entry.name}.jsonl", place / f"{stem}_results.json"
    write_lines(lines, (json.dumps(sample, ensure_ascii=False) for sample in samples))
    content = _results(entry.name, ordered, samples, settings)
    write_lines(results, [json.dumps(content, indent=2, ensure_ascii=False)])
    return lines, results


def _results(
    task: str, rows: Sequence[Row], samples: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]
) -> dict[str, Any]:
    figures = figures_of(rows, task)
    metric = f"{task}_score"
    count = len(rows)
    hashes = "".join(f"sample_{k}{sample['doc_hash']}" for k, sample in enumerate(samples))
    return {
        "results": {
            task: {
                "alias": task,
                f"{metric},none": figures.overall,
                f"{metric}_stderr,none": "N/A" if figures.stderr is None else figures.stderr,
                "samples": count,
            }
        },
        "group_subtasks": {task: []},
        "configs": {task: {"task": task, "metadata": dict(settings)}},
        "versions": {task: "tolman"},
        "n-shot": {task: 0},
        "higher_is_better": {task: {metric: True}},
        "n-samples": {task: {"original": count, "effective": count}},
        "task_hashes": {task: _hash(hashes)},
        "model_name": str(settings["model"]),
        "model_name_sanitized": _file_name(str(settings["model"])),
    }


def _file_name(model: str) -> str:
    return re.sub(r"[\"<>:/|\\?*\[\]]+", "__", model)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
