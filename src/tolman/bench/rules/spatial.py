"""The rules of the authors of MindCube, MMSI-Bench, MMSI-Video-Bench, DSI-Bench and ViewSpatial-Bench."""

from __future__ import annotations

import re

from tolman.bench.rules.common import between
from tolman.bench.verdict import Row, Verdict, matched, text_of, truth_of, whole_text_of

_DSI = re.compile(r"<answer>\s*([A-D])\s*</answer>", re.IGNORECASE)
_LONE_ABCD = re.compile(r"\b([A-D])\b", re.IGNORECASE)
_DOTTED = re.compile(r"([A-E])\.")
_IN_SECTION = [
    re.compile(form) for form in (r"[Mm]y answer is ([A-E])", r"[Tt]he answer is ([A-E])", r"\b([A-E])\b")
]
_IN_TEXT = [
    re.compile(form)
    for form in (
        r"(?:^|\n)(?:Answer: )?([A-E])(?:$|\s)", r"[*\"]([A-E])[*\"]", r"\bAnswer:?\s*([A-E])\b",
        r"[Mm]y answer is ([A-E])", r"answer is ([A-E])",
    )
]  # fmt: skip
_LONE_A_TO_E = re.compile(r"\b([A-E])\b")
_CLUTTER = str.maketrans("", "", " \"'\n:")


def mindcube(row: Row) -> Verdict:
    """MindCube (6d8fd9ac), which lmms-eval copies: the last `X.`; else the last of the best form, first
    behind `<Answer>`; else the first lone capital of the lowest line that has one.
    """
    return matched(_mindcube_letter(text_of(row)), truth_of(row))


def _mindcube_letter(text: str) -> str | None:
    """Without any `X.` in the text, the published patterns that hold one cannot match and are left out."""
    section = re.search(r"<Answer>([^<]*)", text)
    tries = [(_DOTTED, text)]
    tries += [(form, section.group(1)) for form in _IN_SECTION if section]
    tries += [(form, text) for form in _IN_TEXT]
    for form, part in tries:
        found = form.findall(part)
        if found:
            return str(found[-1])
    for line in reversed(text.split("\n")):
        match = _LONE_A_TO_E.search(line)
        if match:
            return match.group(1)
    return None


def unquoted(text: str, braces: bool = False) -> str:
    """What stands between ``…``, inside it between `…`, inside that (braces) between {…}; the text where
    nothing does.
    """
    for opening, closing in (("``", "``"), ("`", "`"), *((("{", "}"),) if braces else ())):
        text = _quoted(text, opening) if opening == closing else _or(between(text, opening, closing), text)
    return text


def _or(found: str | None, text: str) -> str:
    return text if found is None else found


def _quoted(text: str, mark: str) -> str:
    match = re.search(f"{mark}([^`]*){mark}", text)
    return match.group(1) if match else text


def mmsi(row: Row) -> Verdict:
    """MMSI-Bench (5de2f3d2): a lone capital A to D that no blank and letter follow, inside back ticks where
    there are any.
    """
    match = re.search(r"\b[A-D]\b(?!\s[a-zA-Z])", unquoted(text_of(row)))
    return matched(match.group() if match else None, truth_of(row))


def mmsi_video(row: Row) -> Verdict:
    """MMSI-Video-Bench (b8da92ce): after `boxed{`, `"answer":`, "answer is" or "Answer: ", in this order, up
    to a comma or full stop; else the answer up to its first full stop, if that is a letter; O without one.
    """
    answer = _mmsi_video_answer(text_of(row).replace("<answer>", "").replace("</answer>", ""))
    known = answer in ("A", "B", "C", "D", "E", "F")
    return Verdict(
        float(known and answer == truth_of(row)), answer, "" if known else "no letter found", not known
    )


def _mmsi_video_answer(text: str) -> str:
    if "no answer" in text:
        return "O"
    if "boxed{" in text:
        return text.split("boxed{", 2)[1].split("}", 1)[0].translate(_CLUTTER)
    for mark in ('"answer":', "answer is", "Answer: ", "answer: "):
        if mark in text:
            return text.rpartition(mark)[2].split(",", 1)[0].split(".", 1)[0].translate(_CLUTTER)
    first = text.split(".", 1)[0].translate(_CLUTTER)
    return first if first in ("A", "B", "C", "D", "E", "F") else "O"


def dsi(row: Row) -> Verdict:
    """DSI-Bench (af90adcd): only a well-formed `<answer>X</answer>`, the first, in either case."""
    match = _DSI.search(whole_text_of(row))
    return matched(match.group(1).upper() if match else None, truth_of(row))


def dsi_read(row: Row) -> Verdict:
    """DSI-Bench's table, whose answers are letters already: the first character is the truth or not."""
    return Verdict(float(text_of(row).strip()[:1] == truth_of(row).strip()), None)


def viewspatial(row: Row) -> Verdict:
    """ViewSpatial-Bench (2e85a5e4): the first lone A to D of the last line in either case, the article "a"
    too.
    """
    said = _LONE_ABCD.search(text_of(row).split("\n")[-1])
    truth = _LONE_ABCD.search(truth_of(row))
    letters = [match.group(1).upper() if match else None for match in (said, truth)]
    return Verdict(float(letters[0] == letters[1]), None, failed=said is None)
