"""SpaceR-Eval's rules in its thinking mode (OuyangKun10/SpaceR b623af5).

All but Video-R1's template read the first `<answer>`; a tag that is opened and never closed leaves the text
"None".
"""

from __future__ import annotations

import re

from tolman.bench import sparbench, vsibench
from tolman.bench.rules import official
from tolman.bench.rules.common import (
    choice_prefixes,
    first_letter,
    first_tagged,
    relative_error,
    share_within,
    to_number,
)
from tolman.bench.verdict import Row, Verdict, matched, text_of, truth_of
from tolman.reward.numbers import published_number

_FIRST_LETTER = re.compile(r"[A-D]\.?")


def said(row: Row) -> str:
    """What SpaceR-Eval hands to a benchmark's rule."""
    text = text_of(row)
    if "<answer>" not in text:
        return text
    return first_tagged(text) or "None"


def vsibench_rule(row: Row) -> Verdict:
    """VSI-Bench: `X` or `X.` before the first blank; numbers by number words first ("about a meter, 3" is 1)
    and without their sign.
    """
    text, truth = said(row), truth_of(row)
    if vsibench.task_of(row["question_type"]) not in vsibench.NUMERICAL:
        text = text.replace("Answer:", "")
        word = text.split(" ")[0].strip()
        letter = word.rstrip(".") if _FIRST_LETTER.fullmatch(word) else text.strip()
        return Verdict(float(letter.lower() == truth.lower()), None)
    number, true_number = published_number(text), to_number(truth)
    if number is None or true_number is None:
        return Verdict(0.0, None, "not a number", failed=number is None)
    return Verdict(share_within(relative_error(number, true_number)), None)


def sparbench_rule(row: Row) -> Verdict:
    """SPAR-Bench: the authors' rule on the text in the tag."""
    return sparbench.official(dict(row) | {"prediction": said(row)})


def stibench(row: Row) -> Verdict:
    """STI-Bench: the authors' six forms, else the whole text, which must equal the letter."""
    text = said(row)
    answer = official.sti_letter(text) or text.strip()
    return matched(answer, truth_of(row))


def videomme(row: Row) -> Verdict:
    """Video-MME: the first capital A to D anywhere."""
    prefixes = choice_prefixes(
        "The best option is", "The correct option is", "Best answer:", "Best option:", "Answer:", "Option:",
        "The correct answer", "The correct option",
    )  # fmt: skip
    return matched(first_letter(said(row), "ABCD", prefixes), truth_of(row))


def longvideobench(row: Row) -> Verdict:
    """LongVideoBench: the first capital A to E anywhere."""
    prefixes = choice_prefixes(
        "The best option is", "The correct option is", "Best answer:", "Best option:", "Answer:", "Option:"
    )
    return matched(first_letter(said(row), "ABCDE", prefixes), truth_of(row))


def tempcompass(row: Row) -> Verdict:
    """TempCompass, all of it as multiple choice: the authors' rule on the text in the tag."""
    return official.marked_choice(dict(row) | {"prediction": said(row)})
