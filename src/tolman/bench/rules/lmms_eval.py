"""lmms-eval's rules (75571cfe of 2026-08-06, unless a name carries a date)."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from tolman.bench import vsibench
from tolman.bench.rules.common import (
    choice_prefixes,
    first_letter,
    relative_error,
    share_within,
    shown,
    to_number,
)
from tolman.bench.rules.spatial import unquoted
from tolman.bench.verdict import Row, Verdict, drawn, letters_of, matched, options_of, text_of, truth_of
from tolman.reward.numbers import ONES, TENS

_PHRASES = (
    "the answer is", "answer is", "the correct answer is", "correct answer is", "the best answer is",
    "best answer is",
    "the correct option is", "correct option is", "the best option is", "best option is", "the choice is",
    "choice is",
    "the correct choice is", "correct choice is", "i choose", "i select", "i pick", "my answer is",
    "my choice is",
    "옵션", "정답은", "답은", "답:", "答案是", "答案为", "选", "答えは",
)  # fmt: skip
_WORDS = {word: value for value, word in enumerate(ONES)}
_WORDS |= {word: 10 * k for k, word in enumerate(TENS, 2)}
_WORDS |= {"hundred": 100, "thousand": 1000}
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_WORD = re.compile(r"[a-z]+")
_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
_FULL_STOP = re.compile(r"\.(?!\d)")
_REMOVED_STOPS = 32  # the published `sub` takes the flag re.UNICODE, 32, for its count


def read_choice(text: str, letters: Sequence[str]) -> str:
    """`extract_mcq_answer` as of April 2026: the letter in the most trusted form, of those the last; "".

    Forms, best first: alone at the start, alone at the end, anywhere after an answer phrase, (A), A., A:, A),
    "A ", anywhere at all. Capitals only; "A chair" starts with A.
    """
    text = text.strip()
    if not text:
        return ""
    for mark in (",", ".", "!", "?", ";", ":", "'", '"'):
        text = text.strip(mark)
    padded, bare = f" {text} ", text.strip()
    for letter in reversed(letters):  # at most one starts the text
        if bare.startswith(letter) and not bare[1:2].isalpha():
            return letter
    for letter in letters:
        if bare.endswith(letter) and not bare[-2:-1].isalpha():
            return letter
    spots = _after_phrases(padded, letters)
    for shape in ("({})", "{}.", "{}:", "{})", "{} ", "{}"):
        if spots:
            break
        spots = [(padded.rfind(shape.format(letter)), letter) for letter in letters]
        spots = [spot for spot in spots if spot[0] >= 0]
    return max(spots, key=lambda spot: spot[0])[1] if spots else ""


def _after_phrases(padded: str, letters: Sequence[str]) -> list[tuple[int, str]]:
    """Where each letter first stands after the first occurrence of each phrase."""
    lower, spots = padded.lower(), []
    for phrase in _PHRASES:
        at = lower.find(phrase)
        if at >= 0:
            spots += [(padded.find(letter, at + len(phrase)), letter) for letter in letters]
    return [spot for spot in spots if spot[0] >= 0]


def choice_abcd(row: Row) -> Verdict:
    """Video-MME, LVBench and MLVU: `extract_mcq_answer` among A to D, whatever the options."""
    return matched(read_choice(text_of(row), "ABCD"), truth_of(row))


def videommmu(row: Row) -> Verdict:
    """Video-MMMU: `extract_mcq_answer` among the options' letters."""
    letter = read_choice(text_of(row), letters_of(row))
    return (
        matched(letter, truth_of(row))
        if letter
        else Verdict(0.0, "No Answer Found.", "no answer found", True)
    )


def longvideobench(row: Row) -> Verdict:
    """LongVideoBench's own: the first capital A to E anywhere; without one, an option at random."""
    prefixes = choice_prefixes("The best option is", "The correct option is", "Best answer:", "Best option:")
    letter = first_letter(text_of(row), "ABCDE", prefixes)
    return matched(letter, truth_of(row)) if letter else drawn(row, len(letters_of(row)))


def videomathqa(row: Row) -> Verdict:
    """VideoMathQA: the first capital A to E anywhere."""
    return matched(first_letter(text_of(row), "ABCDE", choice_prefixes()), truth_of(row))


def scivideobench(row: Row) -> Verdict:
    """SciVideoBench: the first capital A to L anywhere (A to J in long answers); without one, one of ten at
    random.
    """
    text = text_of(row).strip()
    prefixes = ("The answer is", "The correct answer is", "The best answer is", "Answer:", "Option:",
                "### Final Answer:\n$$\\boxed", "the final answer is")  # fmt: skip
    letter = first_letter(text, "ABCDEFGHIJKL", prefixes)
    for prefix in prefixes:
        text = text.replace(prefix, "")
    if len(text.split()) > 16 and not re.search("[A-J]", text):
        letter = ""
    return matched(letter, truth_of(row).strip()) if letter else drawn(row, 10)


def vsibench_current(row: Row) -> Verdict:
    """VSI-Bench since 2026-07-14: letters as the official rule, numbers as the first number or number word
    anywhere.

    "1,234" is 1 and "between 3 and 7" is 3.
    """
    task = vsibench.task_of(row["question_type"])
    if task not in vsibench.NUMERICAL:
        return vsibench.official(row)
    said, truth = first_number(text_of(row)), to_number(row["ground_truth"])
    if said is None or truth is None:
        return Verdict(0.0, shown(said), "not a number", failed=said is None)
    return Verdict(share_within(relative_error(said, truth)), shown(said))


def first_number(text: str) -> float | None:
    """The first number in digits or the first run of number words, whichever comes first."""
    text = text.strip().lower()
    digits = _NUMBER.search(text)
    run: list[str] = []
    start = len(text) + 1
    for match in _WORD.finditer(text):
        word = match.group()
        if word in _WORDS:
            start = start if run else match.start()
            run.append(word)
        elif run and word != "and":
            break
    if digits and digits.start() < start:
        return float(digits.group())
    return _sum_words(run) if run else None


def _sum_words(words: Sequence[str]) -> float:
    total = current = 0
    for word in words:
        value = _WORDS[word]
        if value == 100:
            current = max(current, 1) * 100
        elif value == 1000:
            total, current = total + max(current, 1) * 1000, 0
        else:
            current += value
    return float(total + current)


def vsisuper_count(row: Row) -> Verdict:
    """VSI-SUPER Count: the first number in digits, 0 without one; a truth of 0 wants exactly 0."""
    digits = _NUMBER.search(text_of(row))
    said, truth = float(digits.group()) if digits else 0.0, float(row["ground_truth"])
    score = float(said == 0) if truth == 0 else share_within(abs(said - truth) / abs(truth))
    return Verdict(score, said if digits else None, "" if digits else "not a number", failed=digits is None)


def mvbench(row: Row) -> Verdict:
    """MVBench: a lone letter anywhere in either case, the word "a" too; empty answers leave the average."""
    said, truth = _plain_choice(text_of(row)), _plain_choice(truth_of(row))
    empty = text_of(row) == ""
    return Verdict(float(said == truth), text_of(row), failed=len(said) != 1, dropped=empty)


def _plain_choice(text: str) -> str:
    text = text.strip()
    if re.match(r"[A-E]\.", text, re.IGNORECASE) and _one_line_follows(text[2:]):
        return text[0].upper()
    text = text.replace("\n", " ").replace("\t", " ").strip()
    comma = re.search(r"\d,\d", text) is not None
    plain = text
    for mark in _PUNCTUATION:
        plain = plain.replace(mark, "" if comma or f"{mark} " in text or f" {mark}" in text else " ")
    plain = _FULL_STOP.sub("", plain, count=_REMOVED_STOPS)
    plain = plain.strip("'").strip('"').strip(")").strip("(").strip().lower()
    match = re.search(r"\b([A-E])\b", plain, re.IGNORECASE)
    return match.group(1).upper() if match else plain


def _one_line_follows(rest: str) -> bool:
    """Whether one line of text, after blanks of any kind, is all that follows: `\\s*(.+)$` in linear time."""
    before, _, last = rest.rpartition("\n")
    return bool(last) and not before.strip()


def mmvu_choice(row: Row) -> Verdict:
    """MMVU: right where the true letter stands alone anywhere in either case, where its text occurs, or where
    the letter occurs anywhere and a word of its text does. Open questions cannot be graded.
    """
    said, letter = text_of(row).strip(), truth_of(row).strip()
    if not row.get("options") and letter not in tuple("ABCDE"):
        return Verdict(math.nan, None, "an open question, about which the published code asks a judge")
    options = dict(zip(letters_of(row), options_of(row), strict=True))
    lower = said.lower()
    if re.search(rf"\b{re.escape(letter)}\b", said, re.IGNORECASE):
        return Verdict(1.0, None)
    if letter not in options:
        return Verdict(0.0, None)
    text = options[letter].strip().lower()
    words = [word.strip("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~") for word in text.split()]
    by_word = letter.upper() in said.upper() and any(len(word) > 2 and word in lower for word in words)
    return Verdict(float(text in lower or by_word), None)


def perceptiontest(row: Row) -> Verdict:
    """Perception Test: the first lone capital A to D, as a number from 0; -1 without one."""
    match = re.search(r"\b([A-D])\b", text_of(row))
    index = ord(match.group(1)) - 65 if match else -1
    failed = match is None
    return Verdict(
        float(index == ord(truth_of(row)[:1] or "@") - 65), index, "no answer found" if failed else "", failed
    )


def leading_letter(row: Row) -> Verdict:
    """CV-Bench and BLINK: the first character after blanks and brackets, in either case, if it is a letter.

    "The answer is B" is T, "Because" is B.
    """
    match = re.match(r"[(\s]*([A-Z])", text_of(row).strip(), re.IGNORECASE)
    return matched(match.group(1).upper() if match else "", truth_of(row).strip("()"))


_SIGHT_3D = [
    re.compile(form)
    for form in (
        r"^([A-D])[.\s)]", r"^([A-D])$", r"[Aa]nswer[:\s]+([A-D])", r"[Tt]he answer is[:\s]+([A-D])",
        r"[Mm]y answer is[:\s]+([A-D])", r"\(([A-D])\)", r"([A-D])\.", r"\b([A-D])\b",
    )
]  # fmt: skip


def dsrbench(row: Row) -> Verdict:
    """3DSRBench: the first of eight forms that occurs, from a letter at the start to a lone capital."""
    text = text_of(row).strip()
    found = next((match.group(1) for form in _SIGHT_3D if (match := form.search(text))), None)
    return matched(found, truth_of(row))


def mmsi(row: Row) -> Verdict:
    """MMSI-Bench: inside ``…``, then `…`, then {…}, the first lone letter A to F in either case that no blank
    and letter follow.

    The published code returns the score in place of the letter; so does `extracted`.
    """
    text = unquoted(text_of(row), braces=True)
    match = re.search(r"\b[A-F]\b(?!\s[a-zA-Z])", text, re.IGNORECASE)
    if match is None:
        return Verdict(0.0, None, "no answer found", failed=True)
    score = float(match.group().lower() == truth_of(row).lower().replace("\n", " ").strip())
    return Verdict(score, score)
