"""When something happens: overlap of the span in the answer with the true one, and its shaped variants."""

from __future__ import annotations

import math
from collections.abc import Callable

from tolman.questions.question import Question
from tolman.reward.answer import final_answer
from tolman.reward.graded import Graded, Reward
from tolman.reward.options import choose, within
from tolman.reward.overlap import Span, span_iou
from tolman.reward.published import floats, onethinker_fields, time_r1_span
from tolman.reward.structured import as_number, read_span

RULES = ("corrected", "onethinker", "time_r1")
SHAPES = ("iou", "distance", "scaled", "banded")
_BANDS = ((5.0, 0.6, 0.95), (15.0, 0.5, 0.9), (30.0, 0.4, 0.85), (math.inf, 0.3, 0.8))
_Reading = Callable[[str], tuple[Span | None, str]]
_Shape = Callable[[float, Span, Span, float], float]  # iou, said, truth, duration


def temporal_iou(
    rule: str = "corrected", shape: str = "iou", low: float | None = None, high: float | None = None
) -> Reward:
    """How well the span in the answer covers the true one, read from the question's answer.

    rule: corrected — the last answer after the thought, which must hold exactly one span (`read_span`).
        time_r1 — the last "a to b" or "a and b" of the last answer tag, the thought's included; a minus sign
        is dropped (Time-R1, arXiv 2503.13377; www-Ye/Time-R1 at bb6eac5). onethinker — the first answer tag,
        or the whole text, as JSON `{"time": [s, e]}` (OneThinker at 768b20f).
    shape: iou — |∩|/|∪| in seconds. distance — IoU · (1 − |Δstart|/d) · (1 − |Δend|/d) with d the clip's
        duration, `duration` in the question's evidence or extra fields (Time-R1's timestamp-aware IoU). As
        published (with rule time_r1) the factors fall below 0 for a time beyond the clip; corrected, they
        stop there. scaled — clip((IoU − low)/(high − low), 0, 1), by default 0.2 and 0.8 (VideoTemp-o3, arXiv
        2602.07801). banded — the same with low and high by the true span's length (DynFrame's bands:
        under 5 s 0.6 and 0.95, 15 s 0.5 and 0.9, 30 s 0.4 and 0.85, otherwise 0.3 and 0.8).

    NaN for a question whose own answer gives no span and, for distance, without a duration. Raises ValueError
    for another rule or shape and for low and high that do not ascend within [0, 1] or do not apply.
    """
    read = _READINGS[choose("rule", rule, RULES)]
    shaped = _shape(choose("shape", shape, SHAPES), low, high, clipped=rule != "time_r1")

    def grade(completion: str, question: Question) -> Graded:
        truth = read_span(question.answer)
        if truth.span is None:
            return Graded(math.nan, f"the question's own answer: {truth.reason}")
        seconds = duration(question)
        if shape == "distance" and seconds is None:
            return Graded(math.nan, "the question has no duration of its clip")
        said, reason = read(completion)
        if said is None:
            return Graded(0.0, reason)
        value = shaped(span_iou(said, truth.span), said, truth.span, seconds or 0.0)
        return Graded(value, f"said {_text(said)}, right is {_text(truth.span)}")

    return grade


def duration(question: Question) -> float | None:
    """Seconds that the question's clip lasts, where its row says so (`duration` or Time-R1's `durations`)."""
    for name in ("duration", "durations"):
        seconds = as_number(question.evidence.get(name, question.extra.get(name)))
        if seconds is not None and seconds > 0:
            return seconds
    return None


def _text(span: Span) -> str:
    return f"{span[0]:g} to {span[1]:g} s"


def _shape(shape: str, low: float | None, high: float | None, clipped: bool) -> _Shape:
    if shape != "scaled" and not (low is None and high is None):
        raise ValueError(f"low and high belong to shape 'scaled', got shape {shape!r}")
    if shape == "iou":
        return lambda iou, said, truth, seconds: iou
    if shape == "distance":
        return lambda iou, said, truth, seconds: _near(iou, said, truth, seconds, clipped)
    if shape == "banded":
        return lambda iou, said, truth, seconds: _scaled(iou, *_band(truth))
    bottom = within("low", 0.2 if low is None else low, 0, 1)
    top = within("high", 0.8 if high is None else high, 0, 1)
    if not bottom < top:
        raise ValueError(f"low must be below high, got {bottom:g} and {top:g}")
    return lambda iou, said, truth, seconds: _scaled(iou, bottom, top)


def _near(iou: float, said: Span, truth: Span, seconds: float, clipped: bool) -> float:
    if iou == 0:  # an endless time would make 0 · −∞
        return 0.0
    factors = [1 - abs(said[k] - truth[k]) / seconds for k in (0, 1)]
    return iou * math.prod(max(0.0, factor) if clipped else factor for factor in factors)


def _scaled(iou: float, low: float, high: float) -> float:
    return min(1.0, max(0.0, (iou - low) / (high - low)))


def _band(truth: Span) -> tuple[float, float]:
    return next((low, high) for below, low, high in _BANDS if truth[1] - truth[0] < below)


def _corrected(completion: str) -> tuple[Span | None, str]:
    answer = final_answer(completion)
    if answer.text is None:
        return None, answer.reason
    said = read_span(answer.text)
    return said.span, said.reason


def _onethinker(completion: str) -> tuple[Span | None, str]:
    numbers = floats((onethinker_fields(completion) or {}).get("time"), 2)
    return ((numbers[0], numbers[1]), "") if numbers else (None, 'no JSON with two numbers as "time"')


def _time_r1(completion: str) -> tuple[Span | None, str]:
    span = time_r1_span(completion)
    return span, "" if span else 'no "a to b" in an answer'


_READINGS: dict[str, _Reading] = {"corrected": _corrected, "onethinker": _onethinker, "time_r1": _time_r1}
