"""Video-Holmes: the authors' rule (TencentARC/Video-Holmes 52ef8da2, `evaluate.py`)."""

from __future__ import annotations

from tolman.bench.rules.common import last_tagged
from tolman.bench.verdict import Row, Verdict, text_of, truth_of


def letter_a_to_f(text: str) -> str:
    """The first of A to F, in this order, that stands before a blank or a colon or after `[`; else the first
    that occurs at all; WRONG without any.

    The order favours A: "B or A " is A.
    """
    for letter in "ABCDEF":
        if any(shape in text for shape in (f"{letter} ", f"{letter}:", f"[{letter}")):
            return letter
    return next((letter for letter in "ABCDEF" if letter in text), "WRONG")


def official(row: Row) -> Verdict:
    """Reads the last `<answer>`, or the whole text without one."""
    text = text_of(row)
    tagged = last_tagged(text)
    letter = letter_a_to_f(text if tagged is None else tagged)
    return Verdict(float(letter == truth_of(row)), letter, failed=letter == "WRONG")
