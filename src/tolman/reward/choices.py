"""Questions with several right options: part of the marks for part of them."""

from __future__ import annotations

import math
import re

from tolman.questions.question import Question
from tolman.reward.answer import final_answer
from tolman.reward.graded import Graded, Reward
from tolman.reward.options import choose

RULES = ("corrected", "published")
_LETTERS = re.compile(r"\(?([A-Za-z])\)?(?:\s*(?:,|;|and|&)\s*\(?([A-Za-z])\)?)*\.?", re.ASCII)
_LETTER = re.compile(r"(?<![A-Za-z])[A-Za-z](?![A-Za-z])")
_OPTION = re.compile(r"\s*\(?([A-Za-z])[.:)]")


def soft_choice(rule: str = "corrected") -> Reward:
    """|said|/|right| where everything said is right, otherwise 0 (TW-GRPO's soft reward, arXiv 2505.24718).

    corrected: the last answer after the thought, letters with commas, semicolons or "and" between them, each
    an option of the question, counted once whatever its case. published: the first answer tag, or the whole
    completion without one, split at commas and compared as texts (`accuracy_reward` of TW-GRPO's code at
    3abc3c3, without the symbolic check by math-verify that it tries first).
    A single certain option of k right ones earns 1/k under both; "A or B" earns nothing. Corrected is NaN
    for a question whose own answer is no list of its options. Raises ValueError for another rule.
    """
    return _published if choose("rule", rule, RULES) == "published" else _corrected


def _corrected(completion: str, question: Question) -> Graded:
    options = {match[1].upper() for option in question.options or () if (match := _OPTION.match(option))}
    right = _letters(question.answer, options)
    if not right:
        return Graded(math.nan, f"the question's own answer {question.answer[:40]!a} lists no options")
    answer = final_answer(completion)
    if answer.text is None:
        return Graded(0.0, answer.reason)
    return _share(_letters(answer.text, options), right)


def _published(completion: str, question: Question) -> Graded:
    right = _texts(question.answer)
    start = completion.find("<answer>")
    end = completion.find("</answer>", start) if start >= 0 else -1
    return _share(_texts(completion[start + len("<answer>") : end] if end >= 0 else completion), right)


def _share(said: set[str], right: set[str]) -> Graded:
    if not said or not said <= right:
        return Graded(0.0, "an option that is not right, or none")
    return Graded(len(said) / len(right), f"{len(said)} of {len(right)} right options")


def _letters(text: str, options: set[str]) -> set[str]:
    """The letters that a text lists, upper case; none where it is no list, or not of these options."""
    text = " ".join(text.split())
    found = {letter.upper() for letter in _LETTER.findall(text)} if _LETTERS.fullmatch(text) else set()
    return found if not options or found <= options else set()


def _texts(text: str) -> set[str]:
    return {part.strip() for part in text.strip().replace(" ", "").split(",")}
