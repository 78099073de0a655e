"""True maps that lie in a file of their own, as SpaceR publishes them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath

from tolman.data.files import read_text
from tolman.data.rows import check_map
from tolman.questions.question import GridMap, Question


def read_maps(path: str | Path) -> dict[str, GridMap]:
    """Clip's name → true map, of JSON lines with `video_id` and `cognitive_map`.

    SpaceR's annotation/cognitive_map.jsonl (SG-RLVR.py at b623af5), whose rows of questions hold no map
    themselves; other fields are passed over. Of two maps of one clip the last counts, as there. Raises
    ValueError naming file and line for a row that is none, and naming the file where it has no row.
    """
    maps: dict[str, GridMap] = {}
    for line, text in enumerate(read_text(Path(path)).split("\n"), start=1):
        if not text.strip():
            continue
        try:
            row = json.loads(text)
            if not isinstance(row, dict) or not isinstance(row.get("video_id"), str):
                raise ValueError("a row needs `video_id`, the clip's name, and `cognitive_map`")
            maps[row["video_id"]] = check_map(row.get("cognitive_map"))
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path}, line {line}: {error}") from error
    if not maps:
        raise ValueError(f"{path}: no map in this file; expected JSON lines")
    return maps


def with_maps(questions: Iterable[Question], maps: Mapping[str, GridMap]) -> list[Question]:
    """The questions, those without a map with that of their clip: told by its file's name without suffix."""
    return [
        replace(question, cognitive_map=maps.get(PurePosixPath(question.path).stem))
        if question.cognitive_map is None
        else question
        for question in questions
    ]
