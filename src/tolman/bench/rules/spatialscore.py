"""SpatialScore: the authors' rule (haoningwu3639/SpatialScore 1995c4f5, `version_0/test_qwen.py`,
`utils/util.py`).
"""

from __future__ import annotations

import re

from tolman.bench.rules.common import share_within, to_number
from tolman.bench.verdict import Row, Verdict, text_of, truth_of
from tolman.questions.question import Question
from tolman.reward.numbers import ONES

_TAGS = re.compile(r"</?(?:CONCLUSION|conclusion|ANSWER|answer|ASSISTANT|assistant)>")
_ASSISTANT = re.compile(r"ASSISTANT:\s*\(?([A-Fa-f])")
_OPEN_BRACKETED = re.compile(r"<conclusion>\s*\(([A-Fa-f])\)", re.IGNORECASE)
_CLOSED = re.compile(r"</conclusion>", re.IGNORECASE)
_CONCLUDED = re.compile(r"<conclusion>\s*\(?([A-Fa-f])\)?\.?\s*</conclusion>", re.IGNORECASE)
_OPTION = [
    re.compile(form, re.IGNORECASE)
    for form in (
        r"(?:answer|option)[:\s]*\(?([A-F])", r"(?:^|\s)\(?([A-F])\)\.?(?:$|\s|\.)",
        r"(?:^|\s)([A-F])\.?(?:$|\s|\.|,)", r"[A-F]",
    )
]  # fmt: skip
_YES = re.compile(r"\b(?:yes|yeah|yep|correct|true|right|agreed?)\b")
_NO = re.compile(r"\b(?:no|nope|not|false|wrong|incorrect|disagreed?)\b")
_CONCLUDED_WORD = re.compile(r"<conclusion>\s*(yes|no)\s*</conclusion>", re.IGNORECASE)
_CONCLUDED_NUMBER = re.compile(r"<conclusion>\s*(\d++)\s*</conclusion>", re.IGNORECASE)
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_ORDINALS = ["first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth"]
_WORDS = [*ONES, "twenty"]
_VALUES = {word: float(k) for k, word in enumerate(_WORDS)} | {
    word: float(k) for k, word in enumerate(_ORDINALS, 1)
}
_ABOUT = r"(?:approximately|about|roughly)\s*\**"
_AMOUNT = r"\d++\.?+\d*+"
_VALUE = [
    re.compile(r"\*\*([\d.]+)\s*[a-zA-Z]+\*\*"),
    re.compile(rf"{_ABOUT}([\d.]+)\s*[a-zA-Z]+", re.IGNORECASE),
    re.compile(rf"(?<!\d)({_AMOUNT})\s*[a-zA-Z]+"),
]
_UNIT = [
    re.compile(rf"\*\*{_AMOUNT}\s*([a-zA-Z]+)\*\*"),
    re.compile(rf"{_ABOUT}{_AMOUNT}\s*([a-zA-Z]+)", re.IGNORECASE),
    re.compile(rf"(?<!\d){_AMOUNT}\s*([a-zA-Z]+)"),
]
_CENTIMETRES = {
    "mm": 0.1, "in": 2.54, "inch": 2.54, "inches": 2.54, "ft": 30.48, "foot": 30.48, "feet": 30.48,
    **dict.fromkeys(("m", "meter", "meters", "metre", "metres"), 100.0),
}  # fmt: skip
_TOLERANCE = 2.0
_LETTERED = ("cvbench", "MMIU", "BLINK", "3DSRBench", "MMVP")
_MEASURED = ("QSpatialBench-Plus", "QSpatialBench-ScanNet")
_LETTER = (
    "**Please select the most appropriate answer from options (A), (B), (C), (D), (E), or (F).**\n"
    "**Respond ONLY with the letter and its parentheses, for example: (A)**"
)
_CONCISE = "**Answer concisely with a single word, number, or option (e.g., yes, no, 5, 2.2, A).**"
_MEASURE = (
    "You will be provided with a question and a 2D image. The question involves measuring the precise "
    "distance in 3D space through a 2D image. You will answer the question by providing a numeric answer "
    "consisting of a scalar and a distance unit in the format of **\\scalar{scalar} "
    "\\distance_unit{distance unit}** at the end of your response.\nLet's think step by step and start by "
    "finding good reference objects or object parts in the image."
)


def prompt(question: Question) -> str:
    """The authors' words, which go by the benchmark that a question is from."""
    source = str(question.extra.get("source", ""))
    if source in _LETTERED:
        before = _LETTER
    elif source in _MEASURED or (source == "VGBench" and question.question_type == "open-ended"):
        before = _MEASURE
    else:
        before = _CONCISE
    return f"{before}\n\nQuestion: {question.problem}"


def official(row: Row) -> Verdict:
    """By question type: a letter (any a to f in the text as a last resort), yes or no ("not correct" is
    yes), a length within a factor of two, a relative accuracy for rows from VSI-Bench, an equal number for
    others.
    """
    said, truth, kind = text_of(row), truth_of(row), str(row["question_type"]).lower()
    if kind == "multi-choice":
        return _same(option(said).upper(), option(truth).upper())
    if kind == "judgment":
        return _same(yes_no(said).lower(), yes_no(truth).lower())
    if "m" in truth.lower() or any(unit in truth.lower() for unit in ("inch", "ft", "foot", "feet")):
        return Verdict(float(_lengths_agree(said, truth)), None)
    if row.get("source") == "RealWorldQA":
        return Verdict(float(said.lower() == truth.lower()), None)
    number = to_number(extract_number(said)) or 0.0
    true_number = to_number(extract_number(truth))
    if true_number is None:
        return Verdict(float("nan"), None, "the truth is no number, at which the published code stops")
    if row.get("source") != "VSI-Bench_8":
        return Verdict(float(number == true_number), None)
    if number == 0:
        return Verdict(float(true_number == 0), None)
    return Verdict(share_within(abs(number - true_number) / true_number) if true_number else 0.0, None)


def option(text: str) -> str:
    """`extract_option`: a letter A to F in the first of its forms, down to any such letter in the text."""
    text = text.strip()
    if re.fullmatch(r"[A-Fa-f]\.?", text):
        return text[0].upper()
    match = _ASSISTANT.search(text)
    if match:
        return match.group(1).upper()
    bracketed = _bracketed_conclusion(text)
    if bracketed:
        return bracketed
    for form in (_CONCLUDED, *_OPTION):
        match = form.search(text)
        if match:
            return match.group(match.lastindex or 0).upper()
    return _TAGS.sub("", text).strip()


def _bracketed_conclusion(text: str) -> str:
    """The letter of `<conclusion>(X) … </conclusion>` on one line, the first of them; ""."""
    closes = [match.start() for match in _CLOSED.finditer(text)]
    breaks = [match.start() for match in re.finditer("\n", text)]
    near_close = near_break = 0
    for match in _OPEN_BRACKETED.finditer(text):
        while near_close < len(closes) and closes[near_close] < match.end():
            near_close += 1
        while near_break < len(breaks) and breaks[near_break] < match.end():
            near_break += 1
        if near_close < len(closes) and (
            near_break == len(breaks) or closes[near_close] < breaks[near_break]
        ):
            return match.group(1).upper()
    return ""


def yes_no(text: str) -> str:
    """`extract_yes_no`: words for yes anywhere win over words for no."""
    text = text.strip()
    if text.lower() in ("yes", "no"):
        return text.capitalize()
    match = _ASSISTANT.search(text)
    if match:
        return match.group(1).upper()
    plain = _TAGS.sub("", text).strip()
    match = _CONCLUDED_WORD.search(text)
    if match:
        return match.group(1).capitalize()
    return "Yes" if _YES.search(plain.lower()) else "No" if _NO.search(plain.lower()) else plain


def extract_number(text: str) -> str | float:
    """`extract_number`: the first digits, else a number word or ordinal, else the text."""
    text = text.strip()
    if text.isdigit():
        return text
    match = _ASSISTANT.search(text)
    if match:
        return match.group(1).upper()
    plain = _TAGS.sub("", text).strip()
    lower = plain.lower()
    match = _CONCLUDED_NUMBER.search(text)
    if match:
        return match.group(1)
    match = _NUMBER.search(lower)
    if match:
        return match.group()
    for word, value in _VALUES.items():
        phrases = (f" {word} ", f"there are {word}", f"there is {word}", f"shows {word}")
        if lower.startswith(word) or lower.endswith(f" {word}") or any(phrase in lower for phrase in phrases):
            return value
    words = set(lower.split())
    return next((value for word, value in _VALUES.items() if word in words), plain)


def _lengths_agree(said: str, truth: str) -> bool:
    said = _TAGS.sub("", said).strip()
    amount = _braced(said, "\\scalar{") or _first(_VALUE, said)
    unit = _braced(said, "\\distance_unit{") or _first(_UNIT, said)
    digits = re.search(_AMOUNT, amount or "")
    true_length = re.search(rf"(?<!\d)({_AMOUNT})\s*([a-zA-Z]+)", truth)
    if digits is None or unit is None or true_length is None:
        return False
    value, true_value = float(digits.group()), float(true_length.group(1))
    if value == 0 or true_value == 0:
        return value == true_value
    said_cm = value * _CENTIMETRES.get(unit.lower().strip(), 1.0)
    true_cm = true_value * _CENTIMETRES.get(true_length.group(2).lower(), 1.0)
    return max(said_cm / true_cm, true_cm / said_cm) < _TOLERANCE


def _first(forms: list[re.Pattern[str]], text: str) -> str | None:
    return next((match.group(1) for form in forms if (match := form.search(text))), None)


def _braced(text: str, opening: str) -> str | None:
    """What stands in the first braces behind `opening` that are closed and not empty."""
    at = -1
    while (at := text.find(opening, at + 1)) >= 0:
        end = text.find("}", at + len(opening))
        if end < 0:
            return None
        if end > at + len(opening):
            return text[at + len(opening) : end]
    return None


def _same(said: str, truth: str) -> Verdict:
    return Verdict(float(said == truth), None, failed=len(said) > 3 or not said)
