"""Which option an answer names."""

from __future__ import annotations

import re
from typing import NamedTuple

_LETTER = re.compile(r"\(?\s*([A-Za-z])(?:\s*\))?(?:\s*[.:])?", re.ASCII)
_OPTION = re.compile(r"\s*\(?([A-Za-z])[.:)]\s*(.*)", re.DOTALL)
_OTHER = re.compile(r"(?<![A-Za-z])[A-Z](?![A-Za-z])|(?<![A-Za-z])(?:or|and)(?![A-Za-z])")


class Choice(NamedTuple):
    """An option's letter, upper case; None with the reason where the text names no single option."""

    letter: str | None
    reason: str


def read_letter(text: str, options: tuple[str, ...] | None) -> Choice:
    """The one option that an answer names: `B`, `b`, `B.`, `(B)`, `B)`, `B:`, or a marked one with B's text.

    A letter inside a word or a sentence names nothing, nor do two letters ("A or B"). Text after the letter
    must be that of the option (case, blanks and a final full stop aside); where the options are not known,
    it must hold neither another single capital nor "or"/"and".
    """
    text = " ".join(text.split())
    match = _LETTER.match(text)
    if not match:
        return Choice(None, f"{_short(text)} names no option")
    letter, rest = match.group(1).upper(), text[match.end() :]
    known = _texts(options)
    if known and letter not in known:
        return Choice(None, f"{_short(text)} names none of the options {', '.join(sorted(known))}")
    if not rest:
        return Choice(letter, "")
    if match.group()[-1] not in ".:)":  # "a chair", "A or B", "Bed"
        return Choice(None, f"{_short(text)} names no option")
    said = _plain(rest)
    if known:
        return (
            Choice(letter, "")
            if said == known[letter]
            else Choice(None, f"{_short(text)} is not option {letter}")
        )
    if _OTHER.search(rest):
        return Choice(None, f"{_short(text)} does not name one option")
    return Choice(letter, "")


def _texts(options: tuple[str, ...] | None) -> dict[str, str]:
    """Letter → the option's text, plain."""
    matches = [_OPTION.match(option) for option in options or ()]
    return {match.group(1).upper(): _plain(match.group(2)) for match in matches if match}


def _plain(text: str) -> str:
    return " ".join(text.split()).rstrip(".").casefold()


def _short(text: str) -> str:
    return ascii(text[:40])
