"""The rules of the authors of STI-Bench, Video-MME and TempCompass.

Sources: MINT-SJTU/STI-Bench 43ddebea `opensource_test.py`; MME-Benchmarks/Video-MME 4e7566d
`eval_your_results.py`; llyx97/TempCompass e1b46316 `eval_*.py` with `--disable_llm`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from tolman.bench.rules.common import choice_prefixes, first_letter
from tolman.bench.verdict import Row, Verdict, text_of, truth_of

_STI = [
    re.compile(form, re.IGNORECASE | re.MULTILINE)
    for form in (
        r"\(([A-E])\)", r"Ans\s*=\s*['\"]?([A-E])['\"]?", r"Answer\s*[:=]\s*([A-E])", r"Option\s+([A-E])",
        r"\b([A-E])\s*(?:is|was)\s*correct", r"\b([A-E])[.)]\s*$",
    )
]  # fmt: skip
_MARKED = {f"{letter}{mark}" for letter in "ABCD" for mark in ".)"}
_NO_MATCH = "the rule decides nothing, and no judge is asked"


def sti_letter(text: str) -> str | None:
    """The letter in the first of six forms that occurs, from `(A)` to `A.` at the end of a line."""
    return next((match.group(1).upper() for form in _STI if (match := form.search(text))), None)


def stibench(row: Row) -> Verdict:
    """STI-Bench: the letter in one of six forms, else the whole text; right where its last character is the
    letter.

    The published code stops with an error at an empty answer; here it scores 0, as its table counts it.
    """
    text = text_of(row)
    answer = sti_letter(text) or text.strip()
    if not answer:
        return Verdict(0.0, None, "an empty answer, at which the published code stops", failed=True)
    return Verdict(
        float(answer[-1] in "ABCDE" and answer[-1] == truth_of(row)), answer, failed=len(answer) > 1
    )


def videomme(row: Row) -> Verdict:
    """Video-MME: the first capital A to D anywhere, even in a word; rows without one leave the average."""
    letter = first_letter(text_of(row), "ABCD", choice_prefixes())
    dropped = letter == ""
    return Verdict(
        float(letter == truth_of(row)),
        letter,
        "no answer found" if dropped else "",
        failed=dropped,
        dropped=dropped,
    )


def tempcompass_choice(row: Row) -> Verdict:
    """TempCompass, multiple choice: the whole answer, a letter, or a letter with a full stop or bracket in
    front of anything.
    """
    return marked_choice(_stripped(row))


def marked_choice(row: Row) -> Verdict:
    """The same of the prediction as it is, as VLMEvalKit and SpaceR-Eval have it."""
    said, truth = text_of(row), truth_of(row)
    if said == truth:
        return Verdict(1.0, said)
    if said in ("A", "B", "C", "D") or said[:2] in _MARKED:
        return Verdict(float(said[0] == truth[:1]), said[0])
    return Verdict(0.0, None, _NO_MATCH, failed=True)


def tempcompass_yes_no(row: Row) -> Verdict:
    """TempCompass, yes or no: what the answer starts with ("nothing" is no)."""
    return starting_yes_no(_stripped(row))


def starting_yes_no(row: Row) -> Verdict:
    """The same of the prediction as it is, as VLMEvalKit has it."""
    said = text_of(row).lower()
    answer = next((word for word in ("yes", "no") if said.startswith(word)), None)
    if answer is None:
        return Verdict(0.0, None, _NO_MATCH, failed=True)
    return Verdict(float(answer == truth_of(row)), answer)


def tempcompass_caption(row: Row) -> Verdict:
    """TempCompass, caption matching: a whole option, its sentence, its name ("Option 1") or that name's
    letter or number, and nothing else.
    """
    return caption_as_it_is(_stripped(row))


def caption_as_it_is(row: Row) -> Verdict:
    """The same of the prediction as it is, as VLMEvalKit has it; the options are the lines of the question
    after its first.
    """
    said = text_of(row)
    options = str(row["question"]).split("\n")[1:]
    names = [option.split(": ")[0] for option in options]
    names += [_short_name(name) for name in names]
    sentences = [option.split(": ")[1] for option in options if ": " in option]
    behind_bracket = said.split(") ")[1] if ") " in said else None
    found = _found(said, options, sentences, names, behind_bracket)
    if found is None:
        return Verdict(0.0, None, _NO_MATCH, failed=True)
    truth = truth_of(row)
    right = {truth, truth.split(":")[0], *truth.split(": ")[1:2], *truth.split(": ")[0].split()[1:2]}
    return Verdict(float(found in right), found)


def _found(
    said: str,
    options: Sequence[str],
    sentences: Sequence[str],
    names: Sequence[str],
    behind_bracket: str | None,
) -> str | None:
    """The last of names, sentences and whole options that the answer is."""
    for name in names:
        if name in (said, said.replace(".", "")):
            return name
    for sentence in sentences:
        if sentence in (said, behind_bracket):
            return sentence
    return said if said in options else None


def _short_name(name: str) -> str:
    for word in ("Sentence ", "Option ", "Caption "):
        name = name.replace(word, "")
    return name


def _stripped(row: Row) -> Row:
    return dict(row) | {"prediction": text_of(row).replace("</s>", "").strip()}
