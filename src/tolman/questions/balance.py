"""Subsample questions so that no constant answer does well.

Groups are made by family and number of options, and thinned twice: by the right option's text where the texts
are a fixed set (directions, turns), then by letter; numerical families by the number itself. In a group no
value keeps more than its limit of what remains: `SLACK` times the even share for options, `MAX_SHARE` for
numbers. Where that cannot be reached (a value is missing altogether), all that occur are cut to the rarest of
them.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from zlib import crc32

import numpy as np

from tolman.questions.common import (
    DIRECTION_EASY,
    DIRECTION_HARD,
    DIRECTION_MEDIUM,
    ROUTE,
    option_texts,
)
from tolman.questions.question import Question

SLACK = 1.1
"""An option may be right this many times its even share (0.55 of two, 0.37 of three, 0.275 of four)."""

MAX_SHARE = 0.3
"""Largest share of one number in a numerical family (the count 2 alone makes 56 % of the official ones)."""

_FIXED_TEXTS = frozenset({DIRECTION_EASY, DIRECTION_MEDIUM, DIRECTION_HARD, ROUTE})


def balance(questions: Sequence[Question], seed: int) -> list[Question]:
    """The questions that stay, in their order; the same ones for the same questions and seed.

    A family with a single answer stays as it is.
    Raises ValueError when a direction or route answer is no option.
    """
    groups: dict[tuple[str, int], list[int]] = defaultdict(list)
    for index, question in enumerate(questions):
        groups[question.question_type, len(question.options or ())].append(index)
    kept: list[int] = []
    for (family, options), members in groups.items():
        rng = np.random.default_rng([seed % 2**63, crc32(family.encode()), options])
        if family in _FIXED_TEXTS and options:
            members = thin(members, lambda k: answer_text(questions[k]), SLACK / options, rng)
        limit = SLACK / options if options else MAX_SHARE
        kept += thin(members, lambda k: questions[k].answer, limit, rng)
    return [questions[k] for k in sorted(kept)]


def answer_text(question: Question) -> str:
    """The text of the right option. Raises ValueError when the answer is none of the letters."""
    texts = dict(option_texts(question.options or ()))
    if question.answer not in texts:
        raise ValueError(f"question {question.problem_id}: answer {question.answer!r} is none of its options")
    return texts[question.answer]


def thin(
    members: Sequence[int], value: Callable[[int], str], limit: float, rng: np.random.Generator
) -> list[int]:
    """Members drawn at random, at most `cap(counts, limit)` of each value; in their order."""
    values = {k: value(k) for k in members}
    room = dict.fromkeys(values.values(), cap(Counter(values.values()), limit))
    kept = []
    for place in rng.permutation(len(members)):
        member = members[place]
        if room[values[member]]:
            room[values[member]] -= 1
            kept.append(member)
    return sorted(kept)


def cap(counts: Counter[str], limit: float) -> int:
    """Largest number per value at which none exceeds the share `limit`; else the rarest value's count."""
    for most in range(max(counts.values()), 0, -1):
        if most <= limit * sum(min(count, most) for count in counts.values()):
            return most
    return min(counts.values())
