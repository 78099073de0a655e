"""Python and JSON literals, read without `eval`, `ast` or recursion.

For a text in brackets that `ast.literal_eval` accepts this gives the same value, except that complex
arithmetic (`1+2j`), a sign before a parenthesis (`-(3)`) and text beyond the limits are refused. A dict
comes back as `Pairs`, so that a caller can see a key that stands twice. Time and memory are linear in the
text.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field

MAX_CHARS = 8_000  # a map of 500 positions; SpaceR lets a whole completion have 1,024 tokens
MAX_DEPTH = 200  # CPython's own limit for nested brackets
MAX_DIGITS = 4300  # CPython's own limit for decimal integers

_SKIP = re.compile(r"(?:[ \t\f\n]|\\\n|#[^\n]*)*")
_NUMBER = re.compile(
    r"(?P<based>0[xX](?:_?[0-9a-fA-F])+|0[oO](?:_?[0-7])+|0[bB](?:_?[01])+)"
    r"|(?P<decimal>(?:[0-9](?:_?[0-9])*(?:\.(?:[0-9](?:_?[0-9])*)?)?|\.[0-9](?:_?[0-9])*)"
    r"(?:[eE][+-]?[0-9](?:_?[0-9])*)?)(?P<imaginary>[jJ]?)"
)
_STRING = re.compile(
    r"(?P<prefix>[rR][bB]?|[bB][rR]?|[uU])?"
    r"(?:'''(?P<a>(?:[^\\]|\\.)*?)'''|\"\"\"(?P<b>(?:[^\\]|\\.)*?)\"\"\""
    r"|'(?!'')(?P<c>(?:[^'\\\n]|\\.)*)'|\"(?!\"\")(?P<d>(?:[^\"\\\n]|\\.)*)\")",
    re.DOTALL,
)
_WORD = re.compile(r"None|True|False|\.\.\.|set[ \t\f\n]*\([ \t\f\n]*\)")
_WORDS: dict[str, object] = {"None": None, "True": True, "False": False, "...": ...}
_ESCAPE = re.compile(
    r"\\(?:(?P<octal>[0-7]{1,3})|x(?P<x>[0-9a-fA-F]{2})|u(?P<u>[0-9a-fA-F]{4})|U(?P<U>[0-9a-fA-F]{8})"
    r"|N\{(?P<name>[^}]*)\}|(?P<bad>[xuUN])|(?P<plain>.))",
    re.DOTALL,
)
_PLAIN = {"\n": "", "\\": "\\", "'": "'", '"': '"', "a": "\a", "b": "\b", "f": "\f"} | {
    "n": "\n",
    "r": "\r",
    "t": "\t",
    "v": "\v",
}
_CLOSERS = {"[": "]", "(": ")", "{": "}"}


class LiteralError(ValueError):
    """The text is not a literal within the limits."""


class Pairs(list[tuple[object, object]]):
    """A dict literal: its (key, value) pairs in the order of the text, repeated keys included."""


@dataclass
class _Frame:
    """An open bracket and what has been read inside it."""

    opener: str
    items: list[object] = field(default_factory=list)
    pairs: Pairs = field(default_factory=Pairs)
    key: object = None
    awaits_value: bool = False  # True: a key and its colon were read
    comma: bool = False  # True: a comma was read since the last item, or there is no item yet


def parse_literal(text: str) -> object:
    """The value of a literal: None, bool, number, str, bytes, Ellipsis, list, tuple, set, or `Pairs` for a
    dict.

    Raises LiteralError, saying where, for anything else, for text longer than MAX_CHARS and for brackets
    nested deeper than MAX_DEPTH.
    """
    if len(text) > MAX_CHARS:
        raise LiteralError(f"longer than {MAX_CHARS} characters")
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise LiteralError("holds a null or a lone surrogate")
    return _Reader(text.replace("\r\n", "\n").replace("\r", "\n")).read()


class _Reader:
    """Reads one literal with an explicit stack of open brackets."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.stack: list[_Frame] = []

    def fail(self, what: str) -> LiteralError:
        return LiteralError(f"{what} at character {self.at}")

    def skip(self) -> str:
        """Skip blanks and comments; the next character ("" at the end)."""
        match = _SKIP.match(self.text, self.at)
        assert match is not None  # the pattern matches the empty string
        self.at = match.end()
        return self.text[self.at : self.at + 1]

    def read(self) -> object:
        while True:
            character = self.skip()
            if character and character in "[({":
                if len(self.stack) >= MAX_DEPTH:
                    raise self.fail(f"brackets nested deeper than {MAX_DEPTH}")
                self.stack.append(_Frame(character, comma=True))
                self.at += 1
                if self.skip() != _CLOSERS[character]:
                    continue
                self.at += 1
                value: object = self.close()
            else:
                value = self.atom(character)
            done, value = self.deliver(value)
            if done:
                return value

    def deliver(self, value: object) -> tuple[bool, object]:
        """Put a value in its place, closing the brackets that end there; (True, value) at the text's end."""
        while self.stack:
            frame = self.stack[-1]
            if self.take(frame, value):
                return False, None
            value = self.close()
        if self.skip():
            raise self.fail("text after the literal")
        return True, value

    def take(self, frame: _Frame, value: object) -> bool:
        """Store a value in its bracket; True when another value follows, False when the bracket closes."""
        character = self.skip()
        self.at += 1
        if frame.opener == "{" and not frame.awaits_value and not frame.items:
            if character == ":":
                frame.key, frame.awaits_value = self.hashable(value), True
                return True
            if frame.pairs:
                raise self.fail("a dict entry without ':'")
        if frame.awaits_value:
            frame.pairs.append((frame.key, value))
            frame.awaits_value = False
        else:
            frame.items.append(self.hashable(value) if frame.opener == "{" else value)
        frame.comma = character == ","
        closer = _CLOSERS[frame.opener]
        if frame.comma:
            if self.skip() != closer:
                return True
            self.at += 1
        elif character != closer:
            raise self.fail(f"expected ',' or '{closer}', found {character or 'the end'!r}")
        return False

    def close(self) -> object:
        frame = self.stack.pop()
        if frame.opener == "[":
            return frame.items
        if frame.opener == "(":
            return frame.items[0] if len(frame.items) == 1 and not frame.comma else tuple(frame.items)
        return set(frame.items) if frame.items else frame.pairs

    def hashable(self, value: object) -> object:
        """The value, if it may be a key or a set's element."""
        parts = [value]
        while parts:
            part = parts.pop()
            if isinstance(part, list | set):  # Pairs is a list
                raise self.fail("a key that is a list, a set or a dict")
            if isinstance(part, tuple):
                parts.extend(part)
        return value

    def atom(self, character: str) -> object:
        """A number, a string (or several side by side), or a constant."""
        sign = character if character and character in "+-" else ""
        self.at += len(sign)
        if sign:
            self.skip()
        number = _NUMBER.match(self.text, self.at)
        if number:
            return self.number(number, sign)
        string = None if sign else _STRING.match(self.text, self.at)
        if string:
            return self.strings(string)
        word = None if sign else _WORD.match(self.text, self.at)
        if not word:
            raise self.fail(f"expected a value, found {self.text[self.at : self.at + 1] or 'the end'!r}")
        self.at = word.end()
        return _WORDS.get(word.group(), set())

    def number(self, match: re.Match[str], sign: str) -> object:
        self.at = match.end()
        if match["based"]:
            whole = int(match["based"], 0)
            return -whole if sign == "-" else whole
        digits = match["decimal"].replace("_", "")
        if match["imaginary"]:
            return complex(f"{sign}{digits}j")
        if not digits.isdigit():
            return float(sign + digits)
        if digits[0] == "0" and digits.strip("0"):
            raise self.fail("a whole number with leading zeros")
        if len(digits) > MAX_DIGITS:
            raise self.fail(f"a number of more than {MAX_DIGITS} digits")
        return int(sign + digits)

    def strings(self, match: re.Match[str] | None) -> object:
        pieces: list[str] = []
        kinds: set[bool] = set()
        while match:
            self.at = match.end()
            prefix = (match["prefix"] or "").lower()
            kinds.add("b" in prefix)
            body = next(part for part in match.group("a", "b", "c", "d") if part is not None)
            if "b" in prefix and not body.isascii():
                raise self.fail("bytes that are not ASCII")
            pieces.append(body if "r" in prefix else self.unescape(body, "b" in prefix))
            self.skip()
            match = _STRING.match(self.text, self.at)
        if len(kinds) > 1:
            raise self.fail("text and bytes side by side")
        joined = "".join(pieces)
        return joined.encode("latin-1") if True in kinds else joined

    def unescape(self, body: str, as_bytes: bool) -> str:
        def replace(match: re.Match[str]) -> str:
            if match["octal"]:
                code = int(match["octal"], 8)
                return chr(code & 0xFF if as_bytes else code)
            if match["x"]:
                return chr(int(match["x"], 16))
            if as_bytes and (
                match["u"] or match["U"] or match["name"] is not None or match["bad"] in {*"uUN"}
            ):
                return match.group()
            if match["u"] or match["U"]:
                code = int(match["u"] or match["U"], 16)
                if code > 0x10FFFF:
                    raise self.fail("a character beyond Unicode")
                return chr(code)
            if match["name"] is not None:
                return self.named(match["name"])
            if match["bad"]:
                raise self.fail("a broken escape")
            return _PLAIN.get(match["plain"], match.group())

        return _ESCAPE.sub(replace, body) if "\\" in body else body

    def named(self, name: str) -> str:
        try:
            return unicodedata.lookup(name)
        except KeyError:
            raise self.fail(f"no character named {name[:40]!r}") from None
