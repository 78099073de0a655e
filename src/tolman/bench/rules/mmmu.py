"""MMMU's way of reading answers, which NExT-QA, EgoSchema, Video-Holmes and Video-MMMU took over.

Sources: MMMU `eval/eval_utils.py` as copied into lmms-eval (75571cfe) and VideoMMMU (88b4ac3e). A letter
needs a blank or a mark after it but nothing before it: "NA " names A. Without any letter, MMMU draws one at
random; Video-MMMU gives none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from tolman.bench.rules.common import to_number
from tolman.bench.verdict import Row, Verdict, drawn, letters_of, matched, options_of, text_of, truth_of

API_ERROR = "API Error"
_NO_LETTER = "No Answere Found"  # as the published code writes it
_MARKS = (",", ".", "!", "?", ";", ":", "'")
_KEYS = (
    "could be ", "so ", "is ", "thus ", "therefore ", "final ", "answer ", "result ", "are ", "in total ",
    "total ",
    "identify ", "recognize ", "calculated as ", "counted as ", "measured as ", "observed as ",
    "concluded as ",
    "found to be ", "equals ", "determined to be ", "number of ", "value is ", "adds up to ", "have ", "has ",
)  # fmt: skip
_COMMAS = re.compile(r"-?\b\d{1,3}(?:,\d{3})+\b")
_SCIENTIFIC = re.compile(r"-?(?<!\d)\d++(?:\.\d++)?[eE][+-]?\d+")
_SIMPLE = re.compile(r"-?(?:(?<!\d)\d++\.\d++|\.\d++|(?<!\d)\d++\b)(?![eE][+-]?\d)(?![,\d])")


def read_drawing(text: str, options: Mapping[str, str]) -> str:
    """The letter by MMMU's order: `(A)`, then `A `, then `A.`, then an option's text; "" where it would
    draw one.
    """
    text = _padded(text)
    for shape in ("({})", "{} ", "{}."):
        found = [letter for letter in options if shape.format(letter) in text]
        if found:
            return _last(text, found, "({})" if shape == "({})" else " {} ")
    return _by_content(text, options)


def read_abstaining(text: str, options: Mapping[str, str]) -> str:
    """The letter by Video-MMMU's order: `A.` and `A:` together, then `(A)`, then `A `, then an option's text;
    "" without one.
    """
    text = _padded(text)
    dots = [letter for letter in options if f"{letter}." in text]
    colons = [letter for letter in options if f"{letter}:" in text]
    if dots or colons:
        return _last(text, dots + colons, "{}." if dots else "{}:")
    for shape in ("({})", "{} "):
        found = [letter for letter in options if shape.format(letter) in text]
        if found:
            return _last(text, found, "({})" if shape == "({})" else " {} ")
    return _by_content(text, options)


def drawing(row: Row) -> Verdict:
    """lmms-eval's rule of NExT-QA and Video-Holmes."""
    letters = letters_of(row)
    letter = read_drawing(text_of(row), dict(zip(letters, options_of(row), strict=True)))
    return matched(letter, truth_of(row)) if letter else drawn(row, len(letters))


def egoschema(row: Row) -> Verdict:
    """lmms-eval's rule of EgoSchema: of `(A)`, `A ` and `A.` together, the one whose last occurrence comes
    first.
    """
    letters = letters_of(row)
    text, options = _padded(text_of(row)), dict(zip(letters, options_of(row), strict=True))
    spots = [(text.rfind(shape.format(one)), one) for shape in ("({})", "{} ", "{}.") for one in letters]
    found = [spot for spot in spots if spot[0] >= 0]
    if found:
        return matched(min(found, key=lambda spot: spot[0])[1], truth_of(row))
    letter = _by_content(text, options, first=True)
    return matched(letter, truth_of(row)) if letter else drawn(row, len(letters))


def abstaining(row: Row) -> Verdict:
    """Video-MMMU's rule for multiple choice, which VLMEvalKit copies; the empty answer, an "API Error",
    leaves the average.
    """
    text = text_of(row)
    if text in ("", API_ERROR):
        return Verdict(0.0, API_ERROR, "no answer", failed=True, dropped=True)
    letter = read_abstaining(text, dict(zip(letters_of(row), options_of(row), strict=True)))
    return (
        matched(letter, truth_of(row)) if letter else Verdict(0.0, _NO_LETTER, "no answer found", failed=True)
    )


def open_answer(row: Row) -> Verdict:
    """Video-MMMU's rule for open questions: right where any key phrase or number of the answer matches.

    A text matches where the truth stands in it, a number where it equals the truth to two decimals. The empty
    answer cannot be graded.
    """
    text = text_of(row)
    if text in ("", API_ERROR):
        return Verdict(float("nan"), API_ERROR, "no answer", failed=True, dropped=True)
    truth = row["ground_truth"]
    truths = [value for one in (truth if isinstance(truth, list) else [truth]) for value in _normal(str(one))]
    said = set(_said(text))
    right = any(_same(one, truths) for one in said)
    return Verdict(float(right), sorted(str(one) for one in said))


def _padded(text: str) -> str:
    for mark in _MARKS:
        text = text.strip(mark)
    return f" {text} "


def _last(text: str, letters: Sequence[str], shape: str) -> str:
    """The letter whose shape stands last; the first of them where none stands at all."""
    return max(letters, key=lambda letter: text.rfind(shape.format(letter)))


def _by_content(text: str, options: Mapping[str, str], first: bool = False) -> str:
    """The option whose text stands last (first: whose last place comes first) in more than five words."""
    if len(text.split()) <= 5:
        return ""
    lower = text.lower()
    found = [letter for letter, option in options.items() if option.lower() in lower]
    pick = min if first else max
    return pick(found, key=lambda letter: lower.rfind(options[letter].lower())) if found else ""


def _said(text: str) -> list[str | float]:
    """Key phrases of an answer and the numbers in them, normalised."""
    text = text.strip().strip(".").lower()
    sentences = text.split("\n")
    phrases = []
    for k, sentence in enumerate(sentences):
        keys = (*_KEYS, "=") if k == len(sentences) - 1 else _KEYS
        tails = [sentence.rpartition(key)[2].strip() for key in keys if key in sentence]
        shortest = _shortest(tails)
        if shortest and shortest not in _MARKS:
            phrases.append(shortest)
    phrases = phrases or [text]
    numbers = [
        number
        for phrase in phrases
        for form in (_COMMAS, _SCIENTIFIC, _SIMPLE)
        for number in form.findall(phrase)
    ]
    return [value for piece in (*phrases, *numbers) for value in _normal(piece)]


def _shortest(tails: Sequence[str]) -> str:
    """The published loop: a shorter tail replaces the one kept; so does any after an empty one."""
    kept = ""
    for tail in tails:
        if not kept or len(tail) < len(kept):
            kept = tail
    return kept


def _normal(text: str) -> list[str | float]:
    """A number to two decimals, or the lower-case text; one character alone keeps a blank on either side."""
    text = text.strip()
    number = to_number(text.replace(",", ""))
    if number is not None:
        return [round(number, 2)]
    text = text.lower()
    return [f" {text}", f"{text} "] if len(text) == 1 else [text]


def _same(said: str | float, truths: Sequence[str | float]) -> bool:
    if isinstance(said, str):
        return any(isinstance(truth, str) and truth in said for truth in truths)
    return said in truths
