"""Question files: JSON lines, or one JSON array of rows."""

from __future__ import annotations

import json
import logging
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tolman.cogmap.map import CognitiveMap
from tolman.data.files import read_text, write_lines
from tolman.data.foreign import complete_row, describe
from tolman.questions.question import GridMap, Question

_SPACE = " \t\r\n"
_LOG = logging.getLogger(__name__)
_TEXTS = (
    "problem", "solution", "path", "video", "problem_type", "data_type", "data_source", "question_type",
    "scene_id", "answer_unit",
)  # fmt: skip


class _Broken(NamedTuple):
    """In place of a row: what is wrong with its text."""

    reason: str


class BadRow(NamedTuple):
    """A row that makes no question: the line on which it starts, and why."""

    line: int
    reason: str


def read_questions(path: str | Path) -> list[Question]:
    """Read every row of a question file (ours, SpaceR's, Video-R1's, OneThinker's); a JSON array or JSON
    lines, told by content.

    Rows come in the file's order. What a foreign row leaves out and can be worked out is added
    (`tolman.data.foreign`); a warning in the log counts it. Raises ValueError naming file and line for text
    that is not JSON, a row that is not an object, a missing field, or a field of the wrong type or form;
    naming the file where it has no row.
    """
    questions, bad = read_rows(path)
    if bad:
        raise ValueError(f"{path}, line {bad[0].line}: {bad[0].reason}")
    return questions


def read_rows(path: str | Path) -> tuple[list[Question], list[BadRow]]:
    """`read_questions`, with the rows that are broken beside the others instead of an error.

    After broken JSON in an array nothing more is read. Raises ValueError naming the file where it cannot be
    read or has no row.
    """
    path = Path(path)
    text = read_text(path)
    rows = _array_rows(text) if text.lstrip(_SPACE)[:1] == "[" else _line_rows(text)
    questions: list[Question] = []
    bad: list[BadRow] = []
    added: Counter[str] = Counter()
    for line, row in rows:
        try:
            questions.append(_question(line, row, added))
        except ValueError as error:
            bad.append(BadRow(line, str(error)))
    if added:
        _LOG.warning("%s: rows lack what was worked out: %s", path, describe(added))
    if not questions and not bad:
        raise ValueError(f"{path}: no question in this file; expected JSON lines or a JSON array of rows")
    return questions, bad


def write_questions(path: str | Path, questions: Iterable[Question]) -> None:
    """Write JSON lines, whole or not at all. Raises ValueError naming the file where it cannot be written."""
    write_lines(Path(path), (question.to_json() for question in questions))


def clip_path(question: Question, root: str | Path) -> Path:
    """Where a question's clip lies: `question.path`, relative to `root`, the folder of its question file.

    The clip is not opened. A slash at the start of a path may mean `root` itself, as in some published files:
    where such a file is there, it is the clip. Raises ValueError for a question without a path and for one
    whose path, absolute or through `..`, leaves `root`: rows come from strangers. Links inside `root` are
    followed.
    """
    if not question.path:
        raise ValueError(f"question {question.problem_id} names no clip: its `path` is empty")
    place = Path(root) / question.path
    if not _inside(place, root) and question.path.startswith("/"):
        below = Path(root) / question.path.lstrip("/")
        place = below if _inside(below, root) and below.is_file() else place
    if not _inside(place, root):
        raise ValueError(
            f"question {question.problem_id}: its clip {question.path!r} lies outside {root}; give the "
            "folder that holds all clips (data.clips in a recipe)"
        )
    return place


def _inside(place: Path, root: str | Path) -> bool:
    return Path(os.path.abspath(place)).is_relative_to(os.path.abspath(root))


def _line_rows(text: str) -> Iterator[tuple[int, Any]]:
    """(line number from 1, parsed value or what is wrong) of each line that is not blank."""
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip(_SPACE):
            try:
                yield number, json.loads(line)
            except (json.JSONDecodeError, RecursionError) as error:
                yield number, _Broken(f"not JSON: {error}")


def _array_rows(text: str) -> Iterator[tuple[int, Any]]:
    """(line on which the element starts, parsed value or what is wrong) of each element of an array.

    Decoded element by element, so that an error in a row can name its line; broken JSON ends it.
    """
    decoder = json.JSONDecoder()
    line, counted = 1, 0
    at = _skip(text, text.index("[") + 1)
    first = True
    while text[at : at + 1] != "]":
        if not first:
            if text[at : at + 1] != ",":
                got = repr(text[at : at + 20]) if at < len(text) else "the end of the file"
                line += text.count("\n", counted, at)
                yield line, _Broken(f"not JSON: expected `,` or `]`, got {got}")
                return
            at = _skip(text, at + 1)
        line, counted, first = line + text.count("\n", counted, at), at, False
        try:
            value, end = decoder.raw_decode(text, at)
        except (json.JSONDecodeError, RecursionError) as error:
            yield line, _Broken(f"not JSON: {error}")
            return
        yield line, value
        at = _skip(text, end)
    if rest := text[at + 1 :].strip(_SPACE):
        yield line + text.count("\n", counted, at), _Broken(f"text after the array: {rest[:40]!r}")


def _skip(text: str, at: int) -> int:
    """The first position from `at` on that is not JSON white space."""
    while at < len(text) and text[at] in _SPACE:
        at += 1
    return at


def _question(line: int, row: Any, added: Counter[str]) -> Question:
    """One checked row; counts in `added` what it lacked. Raises ValueError for a broken one."""
    if isinstance(row, _Broken):
        raise ValueError(row.reason)
    if not isinstance(row, dict):
        raise ValueError(f"a row must be an object, got {json.dumps(row)[:80]}")
    row, lacked = complete_row(row)
    added.update(lacked)
    if "messages" in row:  # a conversation need not have a number
        row.setdefault("problem_id", line)
    for name in _TEXTS:
        if name in row and not isinstance(row[name], str):
            raise ValueError(f"`{name}` must be text, got {json.dumps(row[name])[:80]}")
    options = row.get("options")
    if options is not None and not (isinstance(options, list) and all(isinstance(o, str) for o in options)):
        raise ValueError(f"`options` must be texts or null, got {json.dumps(options)[:80]}")
    if not isinstance(row.get("evidence", {}), dict):
        raise ValueError(f"`evidence` must be an object, got {json.dumps(row['evidence'])[:80]}")
    if row.get("cognitive_map") is not None:
        check_map(row["cognitive_map"])
    return Question.from_row(row)


def check_map(value: Any) -> GridMap:
    """A true map as JSON holds it, name → [[x, y], …]. Raises ValueError for anything else."""
    lists = isinstance(value, dict) and all(isinstance(points, list) for points in value.values())
    if not lists:
        raise ValueError(f"`cognitive_map` must map names to lists of [x, y], got {json.dumps(value)[:80]}")
    return CognitiveMap.of(value).to_dict()
