"""What a scoring rule says about one prediction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

Row = Mapping[str, Any]
RANDOM = "RANDOM"  # what stands in place of the option that a published rule would have drawn


class Verdict(NamedTuple):
    """What a rule makes of one prediction.

    score: in [0, 1]; NaN where the rule cannot grade the row. extracted: the answer it read, as the published
    code represents it (None where there is none, or where the rule reads no answer apart). reason: why, where
    there is something to say. failed: no answer could be read. guessed: the published code draws an option
    at random here; the score is what that draw earns on average. dropped: the published code leaves the row
    out of its averages.
    """

    score: float
    extracted: Any
    reason: str = ""
    failed: bool = False
    guessed: bool = False
    dropped: bool = False


def text_of(row: Row) -> str:
    """The prediction as text; no answer at all (None) is the empty text."""
    prediction = row["prediction"]
    return "" if prediction is None else str(prediction)


def whole_text_of(row: Row) -> str:
    """The whole output of a row of ours, which keeps it as `raw`, for rules that look for the tag themselves;
    elsewhere the prediction as it is.
    """
    return text_of(row) if row.get("raw") is None else str(row["raw"])


def truth_of(row: Row) -> str:
    """The ground truth as text."""
    return str(row["ground_truth"])


def options_of(row: Row) -> list[str]:
    """The texts of the options, without letters in front of them where all have the letter of their place."""
    options = [str(option) for option in row.get("options") or ()]
    for mark in (". ", ") ", ": "):
        if options and all(option.startswith(f"{chr(65 + k)}{mark}") for k, option in enumerate(options)):
            return [option[3:] for option in options]
    return options


def letters_of(row: Row) -> list[str]:
    """`A`, `B`, … for the row's options."""
    return [chr(65 + k) for k in range(len(row.get("options") or ()))]


def matched(extracted: Any, truth: object, reason: str = "no answer found") -> Verdict:
    """1 where the extracted answer equals the truth, else 0; an empty one is a failure to read."""
    failed = extracted in (None, False, "")
    return Verdict(float(extracted == truth and not failed), extracted, reason if failed else "", failed)


def drawn(row: Row, count: int) -> Verdict:
    """The verdict where the published code draws one of `count` options: its mean, 1 / count.

    Raises ValueError without any option.
    """
    if count < 1:
        raise ValueError("no options, of which the published code draws one")
    return Verdict(
        1 / count, RANDOM, "no answer found: the published code draws an option", failed=True, guessed=True
    )
