"""VLMEvalKit's rules (e8e78f05 of 2026-08-18, unless a name carries a date).

Its spatial benchmarks read answers with `can_match_option` and `can_match_na` (taken over from EASI), the
others with `can_infer`; "exact_matching" means that no judge model is asked. Patterns that would take
quadratic time are written here so that they do not, with the same results.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterator, Mapping

from tolman.bench import vsibench
from tolman.bench.rules.common import (
    choice_prefixes,
    first_letter,
    guarded_error,
    last_tagged,
    share_within,
    shown,
    to_number,
)
from tolman.bench.rules.holmes import letter_a_to_f
from tolman.bench.rules.video import starts_with_option
from tolman.bench.verdict import Row, Verdict, letters_of, options_of, text_of, truth_of, whole_text_of

_ZERO_WIDTH = re.compile("[\u200b\u200c\u200d\ufeff]")
_OPEN = re.compile(r"<\s*answer\b", re.IGNORECASE)
_CLOSE = re.compile(r"<\s*/\s*answer\s*>", re.IGNORECASE)
_LETTER_A_TO_J = re.compile(r"\s*([A-Ja-j])")
_BEFORE_CLOSE = [
    re.compile(rf"(?<![A-Za-z])[(\[{{（【]?\s*([A-F])\s*[)\]}}）】]?\s*</\s*{tag}\s*>", re.IGNORECASE)
    for tag in ("answer", "think")
]
_TAIL, _TAIL_LINES = 800, 6
_THOUGHT_ENDS, _THOUGHT_STARTS = (
    re.compile(form, re.IGNORECASE) for form in (r"</\s*think\s*>", r"<\s*think\s*>")
)
_OPTION_LINE = re.compile(r"[*_>\-\s]*(?:option|选项)\s+[A-J]\s*[:：]", re.IGNORECASE)
_WHOLE_LINE = re.compile(r"\s*+[*_`>（）\[\]【】()]*+\s*+([A-Fa-f])\s*+[*_`（）\[\]【】()]*+\s*+")
_LABELLED_LINE = re.compile(r"\s*([A-F])\s*[.．:：)\]】、-]\s+", re.IGNORECASE)
_TIGHT = ".,:;!?)\\]】》」』，。；、：）"
_TOKEN = re.compile(rf"(?<![A-Za-z])([A-F])(?=[*_`）\]}})]*(?:$|[\s{_TIGHT}]))")
_CONCLUSION = re.compile(
    r"(?:final\s*answer|the\s*answer\s*is|answer(?:\s*is)?|correct\s*answer"
    r"|答案|最终答案|结论|所以|因此|我选(?:择)?|选择|选)"
    r"\s*+[:：>＝=]?+\s*+[(\[{（【]?+\s*+([A-F])\b",
    re.IGNORECASE,
)
_LONE = re.compile(r"(?<![A-Za-z])([A-F])(?![A-Za-z])")
_NUMBER = r"[-+]?(?:\d*\.\d+|\d+)(?:[eE][-+]?\d+)?"
_NUMBERS = re.compile(_NUMBER)
_NUMBER_AFTER = re.compile(rf"\s*({_NUMBER})")
_WORDS = (
    "zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen|"
    "seventeen|eighteen|nineteen|twenty"
)
_WORD = re.compile(rf"\b(?:{_WORDS})\b", re.IGNORECASE)
_VALUES = {word: str(value) for value, word in enumerate(_WORDS.split("|"))}
_STATED = re.compile(r"answer\s+is\s+\**([ABCD])", re.IGNORECASE)
_REFUSALS = (
    "Sorry, I can't help with images of people yet.",
    "I can't process this file.",
    "I'm sorry, but without the image provided",
    "Cannot determine the answer",
)
_BLANKS = str.maketrans(dict.fromkeys(".()[],:;!*#{}", " "))
_LONGEST_LITERAL = 10_000


def match_option(text: str) -> str | None:
    """`can_match_option`: seven steps from an `<answer>` with a leading letter to the only lone capital of
    the whole text; None where none decides.
    """
    text = _ZERO_WIDTH.sub("", text.strip())
    tagged = next(_after_tags(text, _LETTER_A_TO_J), None)
    if tagged is not None:
        return tagged.group(1).upper()
    tail = text[-_TAIL:]
    for form in _BEFORE_CLOSE:
        match = form.search(tail)
        if match:
            return match.group(1).upper()
    for lines in (_after_thought(text).splitlines(), tail.splitlines()):
        found = _from_lines(lines[-_TAIL_LINES:])
        if found:
            return found
    match = _CONCLUSION.search(text)
    if match:
        return match.group(1).upper()
    rest = "\n".join(line for line in text.splitlines() if not _OPTION_LINE.match(line))
    lone = set(_LONE.findall(rest))
    return lone.pop() if len(lone) == 1 else None


def match_number(text: str) -> float | None:
    """`can_match_na`: the number that an `<answer>` starts with, else the last number after the thought, else
    of all.

    Number words up to twenty count as numbers; of a list literal only the first element is read.
    """
    stripped = text.strip()
    if stripped.startswith("[") and stripped.endswith("]") and len(text) <= _LONGEST_LITERAL:
        listed = _first_of_list(text)
        if listed is None:
            return None
        text = listed
    text = _ZERO_WIDTH.sub("", text.strip())
    text = _WORD.sub(lambda match: _VALUES[match.group().lower()], text)
    for match in _after_tags(text, _NUMBER_AFTER):
        following = text.find("<", match.end())
        if following >= 0 and _CLOSE.match(text, following):
            return float(match.group(1))
    for part in (_after_thought(text), text):
        numbers = _NUMBERS.findall(part)
        if numbers:
            return float(numbers[-1])
    return None


def infer(text: str, options: Mapping[str, str]) -> str:
    """`can_infer` without a judge: the only option letter among the last four words, else the only option
    whose text occurs; between them "answer is X"; Z where none decides.
    """
    if "Failed to obtain answer via API" not in text:
        words = text.translate(_BLANKS).split()
        present = [letter for letter in options if letter in words]
        if any(refusal in text for refusal in _REFUSALS):
            return "Z"
        if len(present) == 1 and words.index(present[0]) > len(words) - 5:
            return present[0]
        if not present and "Z" in words:
            return "Z"
        stated = _STATED.search(text)
        if stated and stated.group(1).upper() in options:
            return stated.group(1).upper()
    if len(text) > 2 * sum(len(option) for option in options.values()):
        return "Z"
    lower = text.lower()
    named = [letter for letter, option in options.items() if option.lower() in lower]
    return named[0] if len(named) == 1 else "Z"


def spatial_choice(row: Row) -> Verdict:
    """`compute_mcq_score`: prediction and truth both read by `can_match_option`; False for none."""
    said, truth = match_option(text_of(row)), match_option(truth_of(row))
    if said is None:
        return Verdict(float(truth is None), False, "no answer found", failed=True)
    return Verdict(float(said == truth), said)


def spatial_number(row: Row) -> Verdict:
    """`compute_na_score`: mean relative accuracy of `can_match_na`'s number; None where it finds none."""
    said, truth = match_number(text_of(row)), to_number(row["ground_truth"])
    if said is None or truth is None or truth != truth:
        return Verdict(0.0, shown(said), "not a number", failed=said is None)
    return Verdict(share_within(guarded_error(said, truth)), shown(said))


def vsibench_current(row: Row) -> Verdict:
    """VSI-Bench since 2026-03-04."""
    numerical = vsibench.task_of(row["question_type"]) in vsibench.NUMERICAL
    return spatial_number(row) if numerical else spatial_choice(row)


def vsibench_20251204(row: Row) -> Verdict:
    """VSI-Bench 2025-12-04 to 2026-03-04: `X` or `X. …` for letters, a bare number with strict bounds."""
    said, truth = text_of(row), truth_of(row)
    if vsibench.task_of(row["question_type"]) not in vsibench.NUMERICAL:
        return Verdict(float(f"{said.lower()}.".startswith(f"{truth.lower()}.")), None)
    number, true_number = to_number(said), to_number(truth)
    if number is None or not true_number:
        return Verdict(0.0, None, "not a number", failed=True)
    error = abs(number - true_number) / true_number
    return Verdict(sum(error < 1 - (0.5 + k * 0.05) for k in range(20)) / 10, None)


def revsi(row: Row) -> Verdict:
    """ReVSI: VSI-Bench's first word, of the stripped prediction; a failed division scores 0."""
    said, truth = vsibench.first_word(text_of(row).strip()), truth_of(row)
    if row.get("options"):
        return Verdict(float(said.lower() == truth.lower()), None)
    number, true_number = to_number(said), to_number(truth)
    if number is None or not true_number:
        return Verdict(0.0, None, "not a number", failed=number is None)
    return Verdict(share_within(abs(number - true_number) / true_number), None)


def image_choice(row: Row) -> Verdict:
    """CV-Bench, BLINK, 3DSRBench and other image benchmarks without a judge."""
    letter = infer(text_of(row), _options(row))
    return Verdict(float(letter == truth_of(row).strip("()")), letter, failed=letter == "Z")


def videomme(row: Row) -> Verdict:
    """Video-MME: the first capital A to D anywhere; Z, which is wrong, without one.

    The published fallback looks for the options in the question, where its table does not have them.
    """
    return _first_capital(row, "ABCD")


def longvideobench(row: Row) -> Verdict:
    """LongVideoBench: the same with A to E."""
    return _first_capital(row, "ABCDE")


def _first_capital(row: Row, letters: str) -> Verdict:
    letter = first_letter(text_of(row), letters, choice_prefixes("Answer:", "Option:")) or "Z"
    return Verdict(float(letter == truth_of(row)), letter, failed=letter == "Z")


def mvbench(row: Row) -> Verdict:
    """MVBench: the authors' rule, then `can_infer`."""
    if starts_with_option(text_of(row).strip(), row):
        return Verdict(1.0, None)
    letter = infer(text_of(row).strip(), _options(row))
    return Verdict(float(letter == truth_of(row)), None, failed=letter == "Z")


def video_holmes(row: Row) -> Verdict:
    """Video-Holmes: the authors' rule inside the last `<answer>`; without one the answer is WRONG."""
    tagged = last_tagged(whole_text_of(row))
    letter = "WRONG" if tagged is None else letter_a_to_f(tagged)
    return Verdict(float(letter == truth_of(row)), letter, failed=letter == "WRONG")


def _after_tags(text: str, form: re.Pattern[str]) -> Iterator[re.Match[str]]:
    """Matches of `form` right after each opening `<answer …>` that has a closing tag somewhere after it."""
    last_close = -1
    for close in _CLOSE.finditer(text):
        last_close = close.start()
    end = seen = -1
    for opening in _OPEN.finditer(text):
        if end < opening.end():
            end = text.find(">", opening.end())
        if end < 0 or end >= last_close:
            return
        if end != seen:
            seen = end
            match = form.match(text, end + 1)
            if match and match.end() <= last_close:
                yield match


def _after_thought(text: str) -> str:
    for form in (_THOUGHT_ENDS, _THOUGHT_STARTS):
        end = -1
        for match in form.finditer(text):
            end = match.end()
        if end >= 0:
            return text[end:].strip()
    return text


def _from_lines(lines: list[str]) -> str | None:
    """From the last line up: a line that is a letter, that starts with one and a mark, or that holds a single
    lone capital.
    """
    for line in (line.strip() for line in reversed(lines)):
        if not line or _OPTION_LINE.match(line):
            continue
        match = _WHOLE_LINE.fullmatch(line) or _LABELLED_LINE.match(line)
        if match:
            return match.group(1).upper()
        tokens = set(_TOKEN.findall(line))
        if len(tokens) == 1:
            return str(tokens.pop())
    return None


def _first_of_list(text: str) -> str | None:
    """The first element of a list literal as text; the text itself for an empty one; None for no literal."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None
    return str(value[0]) if isinstance(value, list) and value else text


def _options(row: Row) -> dict[str, str]:
    return dict(zip(letters_of(row), options_of(row), strict=True))
