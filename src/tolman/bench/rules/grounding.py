"""Temporal spans and boxes: Charades-STA, ActivityNet, TVGBench, V-STaR.

A row's truth is [start, end] in seconds, or for boxes a list of {timestamp, xmin, ymin, xmax, ymax}.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from tolman.bench.verdict import Row, Verdict, text_of

Span = tuple[float, float]
_EXAMPLE = "a specific example is : 20.8 - 30.0 seconds"
_KEYWORDS = ("start", "end", "happen")  # the published list's other entries hold one of these
_SENTENCE = re.compile(r"[!?\n]")
_CLOCK = r"\d{1,2}:\d{2}(?::\d{2})?"
_CLOCK_SPAN = re.compile(rf"\b({_CLOCK})\s*[–-]\s*({_CLOCK})\b")
_SPAN = re.compile(r"(?<!\d)(\d++(?:\.\d++)?)\s*[–-]\s*(\d++(?:\.\d++)?)")
_ONE_CLOCK = re.compile(rf"\b({_CLOCK})\b")
_ONE_NUMBER = re.compile(r"\b(\d+(?:\.\d+)?)\b")
_SECONDS_SPAN = re.compile(r"(?<!\d)(\d++(?:\.\d++)?)\s*s?\s*[–-]\s*(\d++(?:\.\d++)?)")
_LOOSE_SPAN = re.compile(r"(?<!\d)(\d++\.*+\d*+)\s*-\s*(\d++\.*+\d*+)")
_LOOSE_NUMBER = re.compile(r"\b(\d+\.\d+\b|\b\d+)\b")
_LONG_CLOCK = re.compile(r"\b\d{1,2}:\d{2}:\d{2}\b")
_TO_OR_AND = re.compile(r"(?<!\d)(\d++\.?+\d*+) (?:to|and) (\d++\.?+\d*+)")
_LONGEST_LITERAL = 10_000


def overlap(said: Span, truth: Span) -> float:
    """Intersection over the hull of both spans (over their union where they overlap); 0 for an empty hull."""
    hull = max(said[1], truth[1]) - min(said[0], truth[0])
    inside = min(said[1], truth[1]) - max(said[0], truth[0])
    return max(inside, 0.0) / hull if hull > 0 else 0.0


def grounded(read: Callable[[str], Span | None]) -> Callable[[Row], Verdict]:
    """A rule that scores the overlap of the span `read` finds; 0 without one."""

    def judge(row: Row) -> Verdict:
        truth = span_of(row["ground_truth"])
        span = read(text_of(row))
        if span is None:
            return Verdict(0.0, None, "no span found", failed=True)
        return Verdict(overlap(span, truth), list(span))

    return judge


def span_of(value: Any) -> Span:
    """A truth as (start, end). Raises ValueError for anything but two numbers."""
    pair = ast.literal_eval(value) if isinstance(value, str) else value
    if not isinstance(pair, list | tuple) or len(pair) != 2:
        raise ValueError(f"a span needs start and end in seconds, got {value!r}")
    return float(pair[0]), float(pair[1])


def lmms_eval(text: str) -> Span | None:
    """lmms-eval's `utils.py`: a clock span, a span of numbers, two clock times, two numbers; in sentences
    with a keyword, else in all.
    """
    sentences = _SENTENCE.split(_plain(text))
    return _from_sentences(_with_keyword(sentences) or sentences)


def lmms_eval_script(text: str) -> Span | None:
    """lmms-eval's `eval_tvg.py`: in sentences with a keyword alone, a span of numbers, the first numbers of
    two sentences, or their first times as h:mm:ss.
    """
    sentences = _with_keyword(_SENTENCE.split(_plain(text)))
    match = next((match for one in sentences if (match := _LOOSE_SPAN.search(one))), None)
    if match:
        return _numbers(match.groups())
    numbers = [match.group(1) for one in sentences if (match := _LOOSE_NUMBER.search(one))]
    if len(numbers) > 1:
        return _numbers(numbers[:2])
    clocks = [_clock(match.group()) for one in sentences if (match := _LONG_CLOCK.search(one))]
    return _ordered((clocks[0], clocks[1])) if len(clocks) > 1 else None


def _with_keyword(sentences: Sequence[str]) -> list[str]:
    return [one for one in sentences if any(word in one for word in _KEYWORDS)]


def _from_sentences(sentences: Sequence[str]) -> Span | None:
    for form, seconds in ((_CLOCK_SPAN, _clock), (_SPAN, float)):
        match = next((match for one in sentences if (match := form.search(one))), None)
        if match:
            return _ordered((seconds(match.group(1)), seconds(match.group(2))))
    clocks = [_clock(found) for one in sentences for found in _ONE_CLOCK.findall(one)]
    numbers = [float(match.group(1)) for one in sentences if (match := _ONE_NUMBER.search(one))]
    for times in (clocks, numbers):
        if len(times) > 1:
            return _ordered((times[0], times[1]))
    match = next((match for one in sentences if (match := _SECONDS_SPAN.search(one))), None)
    return _ordered((float(match.group(1)), float(match.group(2)))) if match else None


def time_r1(text: str) -> Span | None:
    """Time-R1 (d1a0d543): the last "a to b" or "a and b"."""
    found = _TO_OR_AND.findall(text)
    return (float(found[-1][0]), float(found[-1][1])) if found else None


def vstar(row: Row) -> Verdict:
    """V-STaR (1894682b): `when` is the overlap of spans, `where` the mean overlap of boxes over the true
    frames.

    A frame without a box scores 0, of several boxes the best counts; spans are given as lists or their text.
    """
    said, truth = row["prediction"], row["ground_truth"]
    if row["question_type"] == "where":
        return Verdict(mean_box_overlap(said, truth), None, failed=not said)
    span = literal_span(said)
    if span is None:
        return Verdict(0.0, None, "not a pair of numbers", failed=True)
    return Verdict(overlap(span, span_of(truth)), None)


def literal_span(value: Any) -> Span | None:
    """A list of two numbers, or its text, as it is; None for anything else."""
    if isinstance(value, str) and len(value) <= _LONGEST_LITERAL:
        try:
            value = ast.literal_eval(value)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            return None
    if not isinstance(value, list | tuple) or len(value) != 2:
        return None
    return (value[0], value[1]) if all(isinstance(number, int | float) for number in value) else None


def mean_box_overlap(said: Any, truth: Sequence[Mapping[str, float]]) -> float:
    """Mean over the true boxes of the best overlap among the boxes said for that frame (`{"0": [x1, y1, x2,
    y2]}`).
    """
    if not said or not isinstance(said, dict) or not truth:
        return 0.0
    return float(np.mean([_best_box(box, said.get(str(box["timestamp"]))) for box in truth]))


def recalls(rows: Iterable[Row]) -> dict[str, float]:
    """Percent: mIoU (as `overall`) and R@.3, R@.5, R@.7."""
    scores = np.array([row["score"] for row in rows], dtype=np.float64)
    shares = {f"R@{bound}": 100 * float((scores >= bound).mean()) for bound in (0.3, 0.5, 0.7)}
    return {"overall": 100 * float(scores.mean()), "mIoU": 100 * float(scores.mean())} | shares


def _best_box(truth: Mapping[str, float], said: Any) -> float:
    if not isinstance(said, list | tuple) or not said:
        return 0.0
    boxes = [said] if len(said) == 4 and isinstance(said[0], int | float) else said
    try:
        return max(_box_overlap(truth, box) for box in boxes)
    except TypeError:  # a corner that is no number: the published code gives the frame 0
        return 0.0


def _box_overlap(truth: Mapping[str, float], said: Any) -> float:
    if not isinstance(said, list | tuple) or len(said) != 4:
        return 0.0
    left, top, right, bottom = said
    wide = min(truth["xmax"], right) - max(truth["xmin"], left)
    high = min(truth["ymax"], bottom) - max(truth["ymin"], top)
    shared = max(0.0, wide) * max(0.0, high)
    area = (truth["xmax"] - truth["xmin"]) * (truth["ymax"] - truth["ymin"])
    union = area + (right - left) * (bottom - top) - shared
    return float(shared / union) if union > 0 else 0.0


def _plain(text: str) -> str:
    return text.lower().replace(_EXAMPLE, "").replace("to", "-")


def _clock(text: str) -> float:
    parts = [float(part) for part in text.split(":")]
    return math.fsum(part * 60**k for k, part in enumerate(reversed(parts)))


def _ordered(span: Span) -> Span:
    return span if span[1] > span[0] else (span[1], span[0])


def _numbers(texts: Iterable[str]) -> Span | None:
    """Two numbers in order; None for "1..2", at which the published code stops."""
    try:
        first, second = (float(text) for text in texts)
    except ValueError:
        return None
    return _ordered((first, second))


ASKED = (
    "Please find the visual event described by a sentence in the video, determining its starting and ending "
    "times."
)
RULES = {
    "lmms_eval": (grounded(lmms_eval), "times in sentences with a keyword, else in all"),
    "lmms_eval_eval_tvg_script": (grounded(lmms_eval_script), "times in sentences with a keyword"),
    "time_r1": (grounded(time_r1), "the last a to b"),
}
