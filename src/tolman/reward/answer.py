"""The text of the answer in a completion."""

from __future__ import annotations

from typing import NamedTuple

OPEN, CLOSE = "<answer>", "</answer>"
MAX_ANSWER = 2000  # characters; no letter, number or sentence asked for is that long


class AnswerText(NamedTuple):
    """The text between the answer tags; None with the reason where there is none."""

    text: str | None
    reason: str


def published_answer(text: str) -> str:
    """SpaceR's `extract_answer`: after the first `<answer>` up to the next `</answer>`, stripped; ""
    without one.

    An answer that stands inside the thought counts, and of several the first.
    """
    start = text.find(OPEN)
    end = text.find(CLOSE, start + len(OPEN)) if start >= 0 else -1
    return text[start + len(OPEN) : end].strip() if end >= 0 else ""


def final_answer(completion: str, limit: int = MAX_ANSWER) -> AnswerText:
    """The last well-formed `<answer>…</answer>` after the thought, stripped; none beyond `limit` characters.

    The thought ends at the last `</think>`; a completion without think tags is all answer, one that opens a
    thought and never closes it has no answer. Linear time.
    """
    thought_end = completion.rfind("</think>")
    if thought_end < 0 and "<think>" in completion:
        return AnswerText(None, "the thought is never closed")
    said = completion[thought_end + len("</think>") :] if thought_end >= 0 else completion
    end = said.rfind(CLOSE)
    start = said.rfind(OPEN, 0, end) if end >= 0 else -1
    if start < 0:
        return AnswerText(None, "no <answer>…</answer> after the thought")
    text = said[start + len(OPEN) : end].strip()
    if not text:
        return AnswerText(None, "the answer is empty")
    if len(text) > limit:
        return AnswerText(None, f"the answer is longer than {limit} characters")
    return AnswerText(text, "")


def thought(completion: str) -> str:
    """What comes before the last `</think>`, without a leading `<think>`; "" without one."""
    end = completion.rfind("</think>")
    return completion[: max(end, 0)].lstrip().removeprefix("<think>")
