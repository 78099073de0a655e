"""Porter's stemmer (Program 14(3), 1980) with the departures of NLTK, which `rouge-score` uses."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from itertools import pairwise

_IRREGULAR = {"skies": "sky", "dying": "die", "lying": "lie", "tying": "tie", "innings": "inning"}
_IRREGULAR |= {"outings": "outing", "cannings": "canning"}
_OWN = ("sky", "news", "inning", "outing", "canning", "howe", "proceed", "exceed", "succeed")
_IRREGULAR |= {word: word for word in _OWN}
_STEP2 = (
    "ational>ate tional>tion enci>ence anci>ance izer>ize bli>ble alli>al entli>ent eli>e "
    "ousli>ous ization>ize ation>ate ator>ate alism>al iveness>ive fulness>ful ousness>ous "
    "aliti>al iviti>ive biliti>ble fulli>ful"
)
_STEP3 = "icate>ic ative> alize>al iciti>ic ical>ic ful> ness>"
_STEP4 = "al ance ence er ic able ible ant ement ment ent ou ism ate iti ous ive ize"
_Rule = tuple[str, str, Callable[[str], bool]]  # suffix, replacement, what the remaining stem must satisfy


@lru_cache(maxsize=50_000)
def stem(word: str) -> str:
    """The stem of a lower-case word; words of up to two letters are their own."""
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if len(word) <= 2:
        return word
    word = _past(_plural(word))
    if word.endswith("y") and len(word) > 2 and _kinds(word)[-2]:
        word = word[:-1] + "i"
    word = _suffixes(word)
    return _final(word)


def _measure(word: str) -> int:
    """How often a vowel is followed by a consonant."""
    kinds = _kinds(word)
    return sum(not a and b for a, b in pairwise(kinds))


def _kinds(word: str) -> list[bool]:
    """True for each letter that is a consonant; y is one at the start and after a vowel."""
    kinds: list[bool] = []
    for letter in word:
        kinds.append((not kinds or not kinds[-1]) if letter == "y" else letter not in "aeiou")
    return kinds


def _short_syllable(word: str) -> bool:
    """Consonant, vowel, consonant other than w, x, y at the end; or just vowel, consonant."""
    kinds = _kinds(word)
    if len(word) == 2:
        return kinds == [False, True]
    return kinds[-3:] == [True, False, True] and word[-1] not in "wxy"


def _positive(rest: str) -> bool:
    return _measure(rest) > 0


def _apply(word: str, rules: list[_Rule]) -> str:
    """The first rule whose suffix fits decides, whether its condition holds or not."""
    for suffix, replacement, holds in rules:
        if word.endswith(suffix):
            rest = word[: len(word) - len(suffix)]
            return rest + replacement if holds(rest) else word
    return word


def _plural(word: str) -> str:
    if word.endswith("ies") and len(word) == 4:
        return word[:-1]
    pairs = (("sses", "ss"), ("ies", "i"), ("ss", "ss"), ("s", ""))
    return _apply(word, [(suffix, new, lambda rest: True) for suffix, new in pairs])


def _past(word: str) -> str:
    if word.endswith("ied"):
        return word[:-1] if len(word) == 4 else word[:-2]
    if word.endswith("eed"):
        return word[:-1] if _positive(word[:-3]) else word
    for suffix in ("ed", "ing"):
        rest = word[: -len(suffix)]
        if word.endswith(suffix) and not all(_kinds(rest)):
            break
    else:
        return word
    if rest.endswith(("at", "bl", "iz")):
        return rest + "e"
    if len(rest) >= 2 and rest[-1] == rest[-2] and _kinds(rest)[-1]:
        return rest if rest[-1] in "lsz" else rest[:-1]
    return rest + "e" if _measure(rest) == 1 and _short_syllable(rest) else rest


def _suffixes(word: str) -> str:
    """Steps 2 to 4: derivational endings."""
    while word.endswith("alli") and _positive(word[:-4]):
        word = word[:-2]
    return _apply(_apply(_apply(word, _RULES2), _RULES3), _RULES4)


def _rules(table: str, holds: Callable[[str], bool]) -> list[_Rule]:
    return [(suffix, new, holds) for suffix, _, new in (entry.partition(">") for entry in table.split())]


_RULES2 = [*_rules(_STEP2, _positive), ("logi", "log", lambda rest: _positive(rest + "l"))]
_RULES3 = _rules(_STEP3, _positive)
_RULES4 = [
    *_rules(_STEP4, lambda rest: _measure(rest) > 1),
    ("ion", "", lambda rest: _measure(rest) > 1 and rest.endswith(("s", "t"))),
]


def _final(word: str) -> str:
    """Step 5: a last e or a double l."""
    if word.endswith("e"):
        rest = word[:-1]
        measure = _measure(rest)
        if measure > 1 or (measure == 1 and not _short_syllable(rest)):
            word = rest
    if word.endswith("ll") and _measure(word[:-1]) > 1:
        word = word[:-1]
    return word
