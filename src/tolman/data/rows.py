"""Question files: JSON lines, or one JSON array of rows."""

from __future__ import annotations

import json
import logging
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tolman.data.files import read_text, write_lines
from tolman.data.foreign import complete_row, describe
from tolman.questions.question import Question

_SPACE = " \t\r\n"
_LOG = logging.getLogger(__name__)


def read_questions(path: str | Path) -> list[Question]:
    """Read every row of a question file (ours, SpaceR's, Video-R1's); a JSON array or JSON lines, told by
    content.

    Rows come in the file's order. What a foreign row leaves out and can be worked out is added
    (`tolman.data.foreign`); a warning in the log counts it. Raises ValueError naming file and line for text
    that is not JSON, a row that is not an object, a missing field, or a field of the wrong type; naming the
    file where it has no row.
    """
    path = Path(path)
    text = read_text(path)
    rows = _array_rows(path, text) if text.lstrip(_SPACE)[:1] == "[" else _line_rows(path, text)
    added: Counter[str] = Counter()
    questions = [_question(path, line, row, added) for line, row in rows]
    if added:
        _LOG.warning("%s: rows lack what was worked out: %s", path, describe(added))
    if not questions:
        raise ValueError(f"{path}: no question in this file; expected JSON lines or a JSON array of rows")
    return questions


def write_questions(path: str | Path, questions: Iterable[Question]) -> None:
    """Write JSON lines, whole or not at all. Raises ValueError naming the file where it cannot be written."""
    write_lines(Path(path), (question.to_json() for question in questions))


def clip_path(question: Question, root: str | Path) -> Path:
    """Where a question's clip lies: `question.path`, relative to `root`, the folder of its question file.

    The clip is not opened. Raises ValueError for a question without a path and for one whose path, absolute
    or through `..`, leaves `root`: rows come from strangers. Links inside `root` are followed.
    """
    if not question.path:
        raise ValueError(f"question {question.problem_id} names no clip: its `path` is empty")
    place = Path(root) / question.path
    if not Path(os.path.abspath(place)).is_relative_to(os.path.abspath(root)):
        raise ValueError(
            f"question {question.problem_id}: its clip {question.path!r} lies outside {root}; give the "
            "folder that holds all clips (data.clips in a recipe)"
        )
    return place


def _line_rows(path: Path, text: str) -> Iterator[tuple[int, Any]]:
    """(line number from 1, parsed value) of each line that is not blank."""
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip(_SPACE):
            try:
                yield number, json.loads(line)
            except (json.JSONDecodeError, RecursionError) as error:
                raise ValueError(f"{path}, line {number}: not JSON: {error}") from error


def _array_rows(path: Path, text: str) -> Iterator[tuple[int, Any]]:
    """(line on which the element starts, parsed value) of each element of a top-level array.

    Decoded element by element, so that an error in a row can name its line.
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
                raise ValueError(f"{path}, line {line}: not JSON: expected `,` or `]`, got {got}")
            at = _skip(text, at + 1)
        line, counted, first = line + text.count("\n", counted, at), at, False
        try:
            value, end = decoder.raw_decode(text, at)
        except (json.JSONDecodeError, RecursionError) as error:
            raise ValueError(f"{path}, line {line}: not JSON: {error}") from error
        yield line, value
        at = _skip(text, end)
    rest = text[at + 1 :].strip(_SPACE)
    if rest:
        raise ValueError(f"{path}: text after the array: {rest[:40]!r}")


def _skip(text: str, at: int) -> int:
    """The first position from `at` on that is not JSON white space."""
    while at < len(text) and text[at] in _SPACE:
        at += 1
    return at


def _question(path: Path, line: int, row: Any, added: Counter[str]) -> Question:
    """One checked row; counts in `added` what it lacked."""
    where = f"{path}, line {line}"
    if not isinstance(row, dict):
        raise ValueError(f"{where}: a row must be an object, got {json.dumps(row)[:80]}")
    row, lacked = complete_row(row)
    added.update(lacked)
    for name in ("problem", "solution", "path", "problem_type", "data_type", "question_type", "scene_id"):
        if name in row and not isinstance(row[name], str):
            raise ValueError(f"{where}: `{name}` must be text, got {json.dumps(row[name])[:80]}")
    options = row.get("options")
    if options is not None and not (isinstance(options, list) and all(isinstance(o, str) for o in options)):
        raise ValueError(f"{where}: `options` must be texts or null, got {json.dumps(options)[:80]}")
    try:
        return Question.from_row(row)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
