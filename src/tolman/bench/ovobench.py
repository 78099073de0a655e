"""OVO-Bench: its rows, and the authors' words around each (JoeLeelyf/OVO-Bench, `constant.py`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tolman.questions.question import Question

KINDS = {"REC": "numeric", "SSR": "yes or no", "CRR": "yes or no"}
"""What an answer is; of the nine other tasks it is a letter."""
_ONLY = "Do not include any additional text or explanation in your response."
_YES_NO = f"Answer only with “Yes” or “No”.\n{_ONLY}"
_FORMS = {
    "REC": (
        "You're watching a video in which people may perform a certain type of action repetively. \n"
        "The person performing this kind of action are referred to as 'they' in the following statement.\n"
        "You're task is to count how many times have different people in the video perform this kind of "
        "action in total.\nOne complete motion counts as one. \nNow, answer the following question: {}\n"
        f"Provide your answer as a single number (e.g., 0, 1, 2, 3…) indicating the total count.\n{_ONLY}"
    ),
    "SSR": (
        "You're watching a tutorial video which contain a sequential of steps. \n"
        "The following is one step from the whole procedures: \n{}\n"
        "Your task is to determine if the man or woman in the video is currently performing this step.\n"
        f"{_YES_NO}"
    ),
    "CRR": (
        "You're responsible of answering questions based on the video content. \n"
        "The following question are relevant to the latest frames, i.e. the end of the video.\n{}\n"
        "Decide whether existing visual content, especially latest frames, i.e. frames that near the end of "
        f"the video, provide enough information for answering the question.\n{_YES_NO}"
    ),
}
_CHOICE = (
    "Question: {}\nOptions:\n{};\n\n"
    "Respond only with the letter corresponding to your chosen option (e.g., A, B, C). \n" + _ONLY
)


def rows(content: Any) -> list[dict[str, Any]]:
    """A row for each question at each moment: forward tasks ask the same at several of them.

    `chunk` is the name of the part of the video up to that moment, as the authors cut it.
    """
    once = [row | {"chunk": f"{row['id']}.mp4"} for row in content if "test_info" not in row]
    often = [row for row in content if "test_info" in row]
    return once + [row | _moment(row, k, at) for row in often for k, at in enumerate(row["test_info"])]


def _moment(row: Mapping[str, Any], k: int, at: Mapping[str, Any]) -> dict[str, Any]:
    task = row["task"]
    counted = f"How many times did they {row.get('activity')}?"
    return {
        "id": f"{row['id']}/{k}",
        "chunk": f"{row['id']}_{k}.mp4",
        "realtime": at["realtime"],
        "answer": str(at["count"]) if task == "REC" else ("No", "Yes")[at["type"]],
        "question": counted if task == "REC" else at["step"] if task == "SSR" else row["question"],
    }


def prompt(question: Question) -> str:
    """The authors' words around a question."""
    if question.question_type in _FORMS:
        return _FORMS[question.question_type].format(question.problem)
    return _CHOICE.format(question.problem, "; ".join(question.options or ()))
