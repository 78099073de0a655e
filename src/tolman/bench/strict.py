"""Our own rule beside the official ones, the same for every benchmark: reads with care, never guesses.

The answer is the last well-formed `<answer>` after the thought, or, where no tag was opened, all that
follows the thought; where that is no answer as a whole, its last box, its last "answer is …", its last line.
A letter must stand for itself; a number may carry its sign, unit and thousands commas (`tolman.reward`'s
readers, as in training); a span is two numbers in order; free text must equal the truth but for case, blanks
and punctuation. Nothing is drawn at random and no row is dropped.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from functools import lru_cache

from tolman.bench.rules.grounding import literal_span, mean_box_overlap, overlap, span_of
from tolman.bench.sparbench import mean_share, parse_leniently, parse_motion
from tolman.bench.verdict import Row, Verdict, options_of, text_of, truth_of
from tolman.reward.accuracy import mean_relative_accuracy
from tolman.reward.answer import MAX_ANSWER, OPEN, AnswerText, final_answer
from tolman.reward.letters import Choice, read_letter
from tolman.reward.numbers import Number, read_number

_LETTERS = re.compile(r"[A-Z](?:[\s,&]+(?:and\s+)?[A-Z]|[A-Z])*", re.ASCII)
_SPAN = re.compile(
    r"(\d+(?:\.\d+)?)\s*(?:s|sec|seconds)?\s*(?:-|–|to|and|,)\s*(\d+(?:\.\d+)?)\s*(?:s|sec|seconds)?\.?"
)
_YES_NO = re.compile(r"(yes|no)(?![a-z])", re.IGNORECASE)
_STATED = re.compile(r"\b(?:answer|option|choice)(?: is|:)[ *]*:?", re.IGNORECASE)
_WRAPPERS = " \t\r\n*`\"'$"
_LONGEST_SPAN = 60
_SHORTEST = 12
_SHORT_TRUTH = 200


def judge(row: Row, kind: str, unit: str = "") -> Verdict:
    """The verdict on a row whose answer is of a kind of `tolman.bench.benchmark.KINDS`.

    unit: what a number is asked in (`m`, `cm`, `m²`, `count` or ""). The score is NaN where the row's own
    truth cannot be read. Raises ValueError for another kind.
    """
    if kind not in _READERS:
        raise ValueError(f"answer kind {kind!r} is not one of {', '.join(_READERS)}")
    if kind == "boxes":
        return _boxes(row)
    if isinstance(row["prediction"], list):  # a span as published answers hold it
        return _READERS[kind](str(row["prediction"]), row, unit)
    answer = said(text_of(row))
    if answer.text is None:
        return Verdict(0.0, "", answer.reason, failed=True)
    verdict = Verdict(0.0, "", "no answer", failed=True)
    for part in _parts(answer.text):
        verdict = _READERS[kind](part, row, unit)
        if not verdict.failed:
            return verdict
    return verdict


def said(prediction: str) -> AnswerText:
    """What a prediction says after its thought: the text of the last well-formed tag, or, where none was
    opened, all of it.
    """
    rest = prediction.rpartition("</think>")[2]
    if OPEN in rest or "<think>" in rest:
        return final_answer(prediction)
    rest = rest.strip()
    return AnswerText(rest, "") if rest else AnswerText(None, "the answer is empty")


def _parts(text: str) -> Iterator[str]:
    """Where in a text the answer may stand, most trusted first: the text, the last box, what the last
    "answer is" says, the last line, a few characters that are the first paragraph.
    """
    if len(text) <= MAX_ANSWER:
        yield _unwrapped(text)
    tail = text[-MAX_ANSWER:]
    _, box, inside = tail.rpartition("\\boxed{")
    if box and "}" in inside:
        yield _unwrapped(inside[: inside.index("}")])
    stated = list(_STATED.finditer(tail))
    if stated:
        yield _unwrapped(tail[stated[-1].end() :].partition("\n")[0])
    _, newline, line = tail.rpartition("\n")
    if newline:
        yield _unwrapped(line)
    first, paragraph, _ = text[:_SHORTEST].partition("\n\n")
    if paragraph:
        yield _unwrapped(first)


def _unwrapped(text: str) -> str:
    return text.strip(_WRAPPERS).rstrip(".").strip(_WRAPPERS)


def _choice(text: str, row: Row, unit: str) -> Verdict:
    options = tuple(f"{chr(65 + k)}. {option}" for k, option in enumerate(options_of(row))) or None
    gold = _gold_letter(truth_of(row), options)
    if gold.letter is None:
        return Verdict(math.nan, "", f"the question's own answer: {gold.reason}")
    said = read_letter(text, options)
    if said.letter is None:
        return Verdict(0.0, "", said.reason, failed=True)
    return Verdict(float(said.letter == gold.letter), said.letter, f"right is {gold.letter}")


@lru_cache(maxsize=4096)
def _gold_letter(truth: str, options: tuple[str, ...] | None) -> Choice:
    """The letter of the truth, which may also be an option's text."""
    for option in options or ():
        if truth.strip() == option[3:].strip():
            return Choice(option[0], "")
    return read_letter(truth, options)


def _letters(text: str, row: Row, unit: str) -> Verdict:
    """Several letters in any order: all of them and no other."""
    gold = set(re.findall("[A-Z]", truth_of(row)))
    if not gold:
        return Verdict(math.nan, "", "the question's own answer has no letter")
    if len(text) > _LONGEST_SPAN or not _LETTERS.fullmatch(text.strip().rstrip(".")):
        return Verdict(0.0, "", "not a list of letters", failed=True)
    said = set(re.findall("[A-Z]", text.replace("and", "")))
    return Verdict(float(said == gold), "".join(sorted(said)), f"right is {''.join(sorted(gold))}")


def _yes_no(text: str, row: Row, unit: str) -> Verdict:
    said, gold = _YES_NO.match(text), _YES_NO.match(truth_of(row).strip())
    if gold is None:
        return Verdict(math.nan, "", "the question's own answer is neither yes nor no")
    if said is None:
        return Verdict(0.0, "", "neither yes nor no", failed=True)
    answer = said.group().lower()
    return Verdict(float(answer == gold.group().lower()), answer)


def _numeric(text: str, row: Row, unit: str) -> Verdict:
    gold = _gold_number(truth_of(row), unit)
    if gold.value is None:
        return Verdict(math.nan, "", f"the question's own answer: {gold.reason}")
    said = read_number(text, unit)
    if said.value is None:
        return Verdict(0.0, "", said.reason, failed=True)
    score = mean_relative_accuracy(said.value, gold.value)
    return Verdict(score, f"{said.value:g}", f"right is {gold.value:g}")


@lru_cache(maxsize=4096)
def _gold_number(truth: str, unit: str) -> Number:
    return read_number(truth, unit)


def _span(text: str, row: Row, unit: str) -> Verdict:
    """Two numbers of seconds, the first not after the second; overlap over union."""
    text = text.strip()
    match = _SPAN.fullmatch(text.strip("[]()").strip()) if len(text) <= _LONGEST_SPAN else None
    said = (float(match.group(1)), float(match.group(2))) if match else literal_span(text)
    if said is None or not said[0] <= said[1]:
        return Verdict(0.0, "", "not a start and an end in order", failed=True)
    return Verdict(overlap(said, span_of(row["ground_truth"])), f"{said[0]:g} - {said[1]:g}")


def _boxes(row: Row) -> Verdict:
    said = row["prediction"]
    if not isinstance(said, dict):
        return Verdict(0.0, "", "not a box per frame", failed=True)
    return Verdict(mean_box_overlap(said, row["ground_truth"]), "")


def _motion(text: str, row: Row, unit: str) -> Verdict:
    """SPAR-Bench's camera motions, well formed, by the size of the truth."""
    gold = parse_leniently(truth_of(row))
    if not gold:
        return Verdict(math.nan, "", "the question's own answer names no motion")
    try:
        said = parse_motion(text.replace(" ", ""))
    except ValueError:
        return Verdict(0.0, "", "not a list of motions", failed=True)
    return Verdict(mean_share(said, gold), text[:_SHORT_TRUTH])


def _text(text: str, row: Row, unit: str) -> Verdict:
    """Equal to the truth, or to one of two parts that a colon joins ("Option 1: …")."""
    truth = truth_of(row)
    if not truth.strip():
        return Verdict(math.nan, "", "the question's own answer is empty")
    name, colon, sentence = truth.partition(": ")
    right = {_plain(part) for part in ((truth, name, sentence) if colon else (truth,))}
    return Verdict(float(_plain(text) in right), text[:_SHORT_TRUTH])


def _plain(text: str) -> str:
    return " ".join(re.sub(r"[\W_]+", " ", text.casefold()).split())


_READERS: dict[str, Callable[[str, Row, str], Verdict]] = {
    "choice": _choice,
    "letters": _letters,
    "yes or no": _yes_no,
    "numeric": _numeric,
    "span": _span,
    "motion": _motion,
    "text": _text,
    "boxes": lambda _text, row, _unit: _boxes(row),
}
