"""What rows published by others leave out, worked out from what they say."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any, NamedTuple

from tolman.questions.common import inline_options
from tolman.reward.letters import read_letter
from tolman.reward.numbers import read_number

Row = dict[str, Any]
_TAIL = re.compile(r"\n\s*options\s*:", re.IGNORECASE)
_TAGS = re.compile(r"<answer>.*</answer>", re.DOTALL)
_MARK = re.compile(r"<(?:image|video)>\n?")
_MEDIA = (("images", "image"), ("videos", "video"))


class Completed(NamedTuple):
    """A row with what it lacked, and what that was, in words."""

    row: Row
    added: list[str]


def complete_row(row: Row) -> Completed:
    """Give a row clip, solution, options, problem type and answer tags where it has none.

    The clip is the only one of `videos` or `images`, the solution is `answer` (both of OneThinker's file for
    reinforcement learning, EasyR1's columns); a row of `messages` (its files for fine-tuning) is a question
    and the turns that follow, the last answer its solution. A row that lists several files, or none, gets
    `data_type` images, videos or text, by which a recipe leaves it out. The marks `<image>` and `<video>`,
    for where a clip stands in a prompt, are taken out of the problem.

    Options are read from the end of the problem (SpaceR's early file), which then ends before them. A row
    without `problem_type` is multiple choice with options, numerical with a number as answer, free-form
    otherwise; one that says numerical but whose answer is the letter of an option is multiple choice. A
    solution without answer tags is the answer. Nothing else is touched.
    """
    row, added = dict(row), list[str]()
    _add_messages(row, added)
    _add_clip(row, added)
    if "solution" not in row and isinstance(row.get("answer"), str):
        row["solution"] = row["answer"]
        added.append("solution from the answer")
    problem, solution = row.get("problem"), row.get("solution")
    if not isinstance(problem, str) or not isinstance(solution, str):
        return Completed(row, added)  # the reader says what is wrong with it
    if _MARK.search(problem):
        problem = row["problem"] = _MARK.sub("", problem).strip()
        added.append("problem without the clip's mark")
    if not row.get("options") and (options := inline_options(problem)):
        row |= {"options": list(options), "problem": _TAIL.split(problem, maxsplit=1)[0]}
        added.append("options from the problem")
    if not _TAGS.search(solution):
        row["solution"] = f"<answer>{solution.strip()}</answer>"
        added.append("answer tags")
    if kind := _problem_type(row):
        row["problem_type"] = kind
        added.append(f"problem type {kind}")
    return Completed(row, added)


def describe(added: Counter[str]) -> str:
    """The counts of what was added, in words."""
    return ", ".join(f"{what} ({count} rows)" for what, count in sorted(added.items()))


def _add_messages(row: Row, added: list[str]) -> None:
    """Problem, turns and solution from a conversation that a user opens and the model ends."""
    messages = row.get("messages")
    if "problem" in row or not isinstance(messages, list) or not messages:
        return
    if not all(isinstance(one, dict) and isinstance(one.get("content"), str) for one in messages):
        return
    if messages[0].get("role") != "user" or messages[-1].get("role") != "assistant":
        return
    row |= {"problem": messages[0]["content"], "turns": messages[1:]}
    if "solution" not in row and (answer := _TAGS.search(messages[-1]["content"])):
        row["solution"] = answer.group()
    added.append("problem, turns and solution from the messages")


def _add_clip(row: Row, added: list[str]) -> None:
    """Path and data type from lists of images and videos."""
    if row.get("path") or row.get("video") or not any(name in row for name, _ in _MEDIA):
        return
    lists = [(row.get(name), kind) for name, kind in _MEDIA]
    found = [(path, kind) for paths, kind in lists if isinstance(paths, list) for path in paths]
    if len(found) == 1 and isinstance(found[0][0], str):
        row["path"] = found[0][0]
        row.setdefault("data_type", found[0][1])
        added.append("path from the only clip")
    else:
        row["data_type"] = f"{found[0][1]}s" if found else "text"
        added.append("data type of rows without a single clip")


def _problem_type(row: Row) -> str:
    """The type that the row should have and does not say; "" where it says it."""
    said, options = row.get("problem_type"), row.get("options")
    answer = row["solution"].removeprefix("<answer>").removesuffix("</answer>").strip()
    if said is None:
        if options:
            return "multiple choice"
        return "numerical" if read_number(answer).value is not None else "free-form"
    if said == "numerical" and isinstance(options, list) and all(isinstance(one, str) for one in options):
        is_letter = bool(options) and read_letter(answer, tuple(options)).letter is not None
        return "multiple choice" if is_letter else ""
    return ""
