"""How close two texts are: word error rate and ROUGE, as SpaceR grades OCR and free-form answers."""

from __future__ import annotations

import re

from tolman.reward.stem import stem


def word_error_rate(reference: str, hypothesis: str) -> float:
    """Edits (insert, delete, replace) per reference word; words split at blanks, case kept; at least 1 word
    counted.

    Where the texts differ so much in length that it is at least 1 anyway, that lower bound is returned, so
    that endless text costs no time.
    """
    wanted, said = reference.split(), hypothesis.split()
    least = abs(len(said) - len(wanted)) / max(1, len(wanted))
    if least >= 1:
        return least
    row = list(range(len(said) + 1))
    for i, word in enumerate(wanted, start=1):
        diagonal, row[0] = row[0], i
        for j, other in enumerate(said, start=1):
            best = diagonal if word == other else 1 + min(diagonal, row[j], row[j - 1])
            diagonal, row[j] = row[j], best
    return row[-1] / max(1, len(wanted))


def rouge_mean(reference: str, hypothesis: str) -> float:
    """Mean F1 of ROUGE-1, ROUGE-2 and ROUGE-L over stemmed words (`rouge-score` with use_stemmer=True)."""
    wanted, said = _tokens(reference), _tokens(hypothesis)
    common = [_overlap(_grams(wanted, n), _grams(said, n)) for n in (1, 2)]
    ones = _f1(common[0], len(wanted), len(said))
    twos = _f1(common[1], max(0, len(wanted) - 1), max(0, len(said) - 1))
    return (ones + twos + _f1(_longest_common(wanted, said), len(wanted), len(said))) / 3


def _tokens(text: str) -> list[str]:
    """Lower-case runs of ASCII letters and digits, stemmed where longer than three characters."""
    return [stem(word) if len(word) > 3 else word for word in re.findall(r"[a-z0-9]+", text.lower())]


def _grams(tokens: list[str], n: int) -> dict[tuple[str, ...], int]:
    counts: dict[tuple[str, ...], int] = {}
    for k in range(len(tokens) - n + 1):
        gram = tuple(tokens[k : k + n])
        counts[gram] = counts.get(gram, 0) + 1
    return counts


def _overlap(a: dict[tuple[str, ...], int], b: dict[tuple[str, ...], int]) -> int:
    return sum(min(count, b.get(gram, 0)) for gram, count in a.items())


def _f1(common: int, wanted: int, said: int) -> float:
    if common == 0:
        return 0.0
    precision, recall = common / said, common / wanted
    return 2 * precision * recall / (precision + recall)


def _longest_common(a: list[str], b: list[str]) -> int:
    """Length of the longest common subsequence, a row of the table as the bits of one integer."""
    places: dict[str, int] = {}
    for k, word in enumerate(a):
        places[word] = places.get(word, 0) | 1 << k
    everything = (1 << len(a)) - 1
    row = everything
    for word in b:
        hit = row & places.get(word, 0)
        row = ((row + hit) | (row - hit)) & everything
    return len(a) - row.bit_count()
