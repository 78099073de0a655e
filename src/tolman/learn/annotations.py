"""What a row says beside its question: conversations, preferred pairs, single verdicts."""

from __future__ import annotations

from typing import Any, NamedTuple

from tolman.questions.question import Question


class Turn(NamedTuple):
    """One turn after the question. role: `assistant` (the model), `user` or `tool`."""

    role: str
    content: str


class Pair(NamedTuple):
    """Two completions of one question, the better one first."""

    chosen: str
    rejected: str


class Verdict(NamedTuple):
    """A completion and whether it is desirable."""

    completion: str
    desirable: bool


def read_turns(question: Question) -> list[Turn]:
    """The row's `turns`: a list of {"role", "content"}, the model's first and last, never two of one side
    after one another.

    The turns follow the question itself. A row without `turns` but with a `process`, as Video-R1's CoT files
    have it, is one turn: its reasoning and, a line below, its solution (sft_video.py there). Raises
    ValueError naming the question and what is wrong.
    """
    process = question.extra.get("process")
    if "turns" not in question.extra and isinstance(process, str) and process.strip():
        return [Turn("assistant", f"{process}\n{question.solution}")]
    rows = question.extra.get("turns")
    where = f"question {question.problem_id}: `turns`"
    if not isinstance(rows, list) or not rows:
        raise ValueError(f"{where} must be a list of turns, got {rows!r}")
    turns = []
    for at, row in enumerate(rows):
        role, content = (row.get("role"), row.get("content")) if isinstance(row, dict) else (None, None)
        wanted = ("assistant",) if at % 2 == 0 else ("user", "tool")
        if role not in wanted or not isinstance(content, str):
            raise ValueError(f"{where}[{at}] must have role {' or '.join(wanted)} and content, got {row!r}")
        turns.append(Turn(str(role), content))
    if len(turns) % 2 == 0:
        raise ValueError(f"{where} must end with a turn of the model, ends with {turns[-1].role!r}")
    return turns


def read_pair(question: Question) -> Pair:
    """The row's `chosen` and `rejected` texts. Raises ValueError naming the question and what is wrong."""
    chosen, rejected = (_text(question, key) for key in ("chosen", "rejected"))
    if chosen == rejected:
        raise ValueError(f"question {question.problem_id}: `chosen` and `rejected` are the same text")
    return Pair(chosen, rejected)


def read_verdict(question: Question) -> Verdict:
    """The row's `completion` and `label`. Raises ValueError naming the question and what is wrong."""
    label = question.extra.get("label")
    if not isinstance(label, bool):
        raise ValueError(f"question {question.problem_id}: `label` must be true or false, got {label!r}")
    return Verdict(_text(question, "completion"), label)


def _text(question: Question, key: str) -> str:
    text: Any = question.extra.get(key)
    if not isinstance(text, str):
        raise ValueError(f"question {question.problem_id}: `{key}` must be text, got {text!r}")
    return text
