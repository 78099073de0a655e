"""FlagEvalMM's VSI-Bench rule (flageval-baai/FlagEvalMM fef27ec6), which cleans answers before it reads
them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from tolman.bench import vsibench
from tolman.bench.rules.common import relative_error, share_within, to_number
from tolman.bench.verdict import Row, Verdict, text_of, truth_of
from tolman.reward.numbers import ONES, TENS

_CHOICE_KEYS = (
    "故选", "选择", "正确选项为", "答案选", "答案为", "答案是", "因此", "答案",
    "Answer:", "Answer is", "answer is", "Answer", "answer",
)  # fmt: skip
_NUMBER_KEYS = (
    "Answer:", "Answer is", "answer is", "Answer", "answer", "答案为", "答案是", "解是", "解为", "答案",
    "结果",
    "为", "因此", " = ",
)  # fmt: skip
_NOISE = re.compile(r"[-`\\【】*$、,，。.；;:：？?！!\s\u4e00-\u9fff0-9①-⑦\[\]<>a-z='\"(){}]+")
_REPLACED = {
    "√": "正确",
    "：": ":",
    "$": "",
    "（": "(",
    "）": ")",
    "，": ",",
    "。": ".",
    "＞": ">",
    "＜": "<",
    "；": ";",
}
_REPLACED |= {mark: str(k) for k, mark in enumerate("①②③④⑤⑥⑦⑧⑨", 1)} | {"⑩": "10"}
_WRONG = ("\\times", "不对", "不正确", "×")
_WITH_UNIT = re.compile(
    r"(\d+)(?:cm|m|km|mm|s|h|kg|g|l|ml|mol|厘米|米|千米|°|毫米|月|秒|小时|克|千克|升|毫升|摩尔)"
)
_FIRST_NUMBER = re.compile(r"\d+\.\d+|\d+")
_VALUES = (
    {word: k for k, word in enumerate(ONES)}
    | {word: 10 * k for k, word in enumerate(TENS, 2)}
    | {"hundred": 100}
)
_SCALES = {"billion": 10**9, "million": 10**6, "thousand": 1000}
_POINT = "point"


def vsibench_rule(row: Row) -> Verdict:
    """Letters: the first capital once lower-case text is removed ("Option B" is O). Numbers: the first in the
    cleaned text, without its sign, or a number word.
    """
    text = text_of(row)
    if vsibench.task_of(row["question_type"]) not in vsibench.NUMERICAL:
        letter = text.upper() if len(text) == 1 else _capitals(text)[:1]
        return Verdict(float(letter == truth_of(row).upper()), letter, failed=not letter.strip())
    said = first_number(clean(text))
    number, truth = to_number(said), to_number(row["ground_truth"])
    if number is None or truth is None:
        return Verdict(0.0, said, "not a number", failed=number is None)
    return Verdict(share_within(relative_error(number, truth)), said)


def _capitals(text: str) -> str:
    """The published cleaning; two of its patterns are character classes and remove I, N, S, T and slashes."""
    for form in ("The", "If", "[INST]", "[/INST]", "<Img>", "</Img>"):
        text = re.sub(form, "", text)
    text = text.strip()
    if re.match(r"[A-Z]\.", text):
        return text[0]
    text = _NOISE.sub("", _behind(text, _CHOICE_KEYS)).split("\n")[-1]
    return "".join(re.findall("[A-Z]", text))


def clean(text: str) -> str:
    """`normalize_string`: the text behind the first key word that occurs, without one mark at its end and
    without the unit of a whole number.
    """
    if "$" not in text:
        for word in _WRONG:
            text = text.replace(word, "错误")
    text = _without_latex_text(text)
    for old, new in _REPLACED.items():
        text = text.replace(old, new)
    text = _behind(text, _NUMBER_KEYS).strip()
    text = text.removeprefix(":")
    if text[-1:] in (".", ",", ":", ";"):
        text = text[:-1]
    unit = _WITH_UNIT.fullmatch(text)
    return (unit.group(1) if unit else text).strip()


def first_number(text: str) -> str | int | float:
    """The first digits, else the first word; a whole number or a number word as a number."""
    match = _FIRST_NUMBER.search(text)
    found = match.group() if match else text.split(" ")[0].rstrip(".").strip()
    number = word_to_number(found)
    return found if number is None else number


def word_to_number(text: str) -> int | float | None:
    """`word2number` for words joined by hyphens, with a decimal point as a word: None where it would fail."""
    text = text.replace("-", " ").lower()
    if text.isdigit():
        return int(text) if text.isdecimal() and len(text) <= 4300 else None
    words = [word for word in text.split() if word in _VALUES or word in _SCALES or word == _POINT]
    if not words or any(words.count(word) > 1 for word in (*_SCALES, _POINT)):
        return None
    if _POINT not in words:
        return _whole(words)
    at = words.index(_POINT)
    whole = _whole(words[:at]) if at else 0
    digits = [_VALUES.get(word, 10) for word in words[at + 1 :]]
    if whole is None or not digits or max(digits) > 9:
        return whole
    return whole + float("0." + "".join(map(str, digits)))


def _whole(words: Sequence[str]) -> int | None:
    """The value of number words without a point; None for scales out of order or with nothing before them."""
    places = {scale: words.index(scale) for scale in _SCALES if scale in words}
    if list(places.values()) != sorted(places.values()):
        return None
    if len(words) == 1:
        return _SCALES.get(words[0], _VALUES.get(words[0], 0))
    total, start = 0, 0
    for scale, place in places.items():
        if place == start:
            return None
        total += _SCALES[scale] * _formed(words[start:place])
        start = place + 1
    return total + (_formed(words[start:]) if start < len(words) else 0)


def _formed(words: Sequence[str]) -> int:
    """The published arithmetic of up to four words: `two hundred thirty one`; of more, the first alone."""
    values = [_VALUES[word] for word in words]
    if len(values) in (3, 4):
        return values[0] * values[1] + sum(values[2:])
    if len(values) == 2:
        return values[0] * values[1] if 100 in values else values[0] + values[1]
    return values[0]


def _behind(text: str, keys: Sequence[str]) -> str:
    key = next((key for key in keys if key in text), None)
    return text if key is None else text.rpartition(key)[2]


def _without_latex_text(text: str) -> str:
    r"""`\text{m}` as `m`, where the braces close on the same line."""
    pieces, at = [], 0
    for match in re.finditer(r"\\text\s*\{", text):
        if match.start() < at:
            continue
        end = text.find("}", match.end())
        if end < 0:
            break
        if text.find("\n", match.end(), end) < 0:
            pieces += [text[at : match.start()], text[match.end() : end]]
            at = end + 1
    return "".join(pieces) + text[at:]
