"""Whether a completion has the form asked for."""

from __future__ import annotations

import re

from tolman.questions.question import Question
from tolman.reward.graded import Graded, Reward
from tolman.reward.options import choose

RULES = ("published", "strict")
_TURN = re.compile(r"</think>\s*<answer>")
_TAGS = re.compile(r"</?(?:think|map|answer)>")
_IN_ORDER = (
    ["<think>", "</think>", "<answer>", "</answer>"],
    ["<think>", "<map>", "</map>", "</think>", "<answer>", "</answer>"],
)


def format(rule: str = "published") -> Reward:
    """1 for a completion of the form `<think>…</think> <answer>…</answer>`, otherwise 0.

    published: SpaceR's `format_reward` (SG-RLVR.py): all of it matches
        `<think>.*?</think>\\s*<answer>.*?</answer>`. A map between thought and answer loses it; several
        thoughts and answers in a row keep it.
    strict: besides, each tag once and in order, a map (at most one) inside the thought, an answer
        that is not empty.

    Time linear in the completion. Raises ValueError for another rule.
    """
    strict = choose("rule", rule, RULES) == "strict"

    def grade(completion: str, question: Question) -> Graded:
        ends = len(completion) - len("</answer>")
        whole = completion.startswith("<think>") and completion.endswith("</answer>")
        turn = _TURN.search(completion, len("<think>"), ends) if whole else None
        if turn is None:
            return Graded(0.0, "not <think>…</think> <answer>…</answer>")
        if strict and _TAGS.findall(completion) not in _IN_ORDER:
            return Graded(0.0, "tags repeated or out of order")
        if strict and not completion[turn.end() : ends].strip():
            return Graded(0.0, "the answer is empty")
        return Graded(1.0, "well formed")

    return grade
