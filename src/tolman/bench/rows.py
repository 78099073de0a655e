"""Read a benchmark's questions as `Question` objects, and predictions as rows."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tolman.bench.vsibench import NUMERICAL, UNITS, task_of
from tolman.data.files import read_text, write_lines
from tolman.questions.question import Question

_OFFICIAL = ("id", "scene_name", "question_type", "question", "ground_truth")


def read_rows(path: str | Path) -> list[dict[str, Any]]:
    """The objects of a JSON array or JSONL file. Raises ValueError naming the file and line for anything
    else.
    """
    text = read_text(Path(path))
    pieces = [(1, text)] if text.lstrip().startswith("[") else list(enumerate(text.split("\n"), 1))
    rows: list[dict[str, Any]] = []
    for number, piece in pieces:
        if not piece.strip():
            continue
        try:
            value = json.loads(piece)
        except json.JSONDecodeError as error:
            raise ValueError(f"{path}, line {number + error.lineno - 1}: not JSON ({error.msg})") from error
        values = value if isinstance(value, list) else [value]
        if not all(isinstance(row, dict) for row in values):
            raise ValueError(f"{path}, line {number}: expected objects, got {piece.strip()[:60]!r}")
        rows.extend(values)
    if not rows:
        raise ValueError(f"{path}: no rows in it")
    return rows


def write_rows(path: str | Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """One JSON object per line, whole or not at all; the folder is made where it is missing."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    write_lines(Path(path), (json.dumps(row, ensure_ascii=False) for row in rows))


def scored_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """A scored row as JSON has it: a score that is NaN (not graded) is null."""
    return dict(row) | ({"score": None} if math.isnan(row["score"]) else {})


def vsibench_question(row: Mapping[str, Any]) -> Question:
    """A row of VSI-Bench's layout (`id, dataset, scene_name, question_type, question, options,
    ground_truth`).

    The path is `<dataset>/<scene_name>.mp4`, as the benchmark's own archive lays the clips out. Raises
    ValueError naming what is missing, a type that VSI-Bench does not have, and options that do not fit the
    type.
    """
    missing = [name for name in _OFFICIAL if row.get(name) is None]
    if missing:
        raise ValueError(f"VSI-Bench row {row.get('id', '?')} lacks {', '.join(missing)}")
    kind = str(row["question_type"])
    numerical = task_of(kind) in NUMERICAL
    if numerical == bool(row.get("options")):
        raise ValueError(f"VSI-Bench row {row['id']}: {kind} has options {row.get('options')!r}")
    dataset = str(row.get("dataset", ""))
    return Question(
        problem_id=row["id"],
        problem=str(row["question"]),
        data_type="video",
        problem_type="numerical" if numerical else "multiple choice",
        options=None if numerical else tuple(row["options"]),
        solution=f"<answer>{row['ground_truth']}</answer>",
        path=f"{dataset}/{row['scene_name']}.mp4",
        data_source=f"vsibench/{dataset}",
        scene_id=str(row["scene_name"]),
        question_type=kind,
        answer_unit=UNITS.get(kind, ""),
    )
