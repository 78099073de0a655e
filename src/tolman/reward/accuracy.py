"""Whether the answer is right, by the question's type."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from tolman.questions.question import Question
from tolman.reward.answer import final_answer, published_answer
from tolman.reward.graded import Graded, Reward
from tolman.reward.grounding import box_overlap, spatio_temporal_iou, tracking
from tolman.reward.letters import read_letter
from tolman.reward.numbers import published_number, read_number
from tolman.reward.options import choose
from tolman.reward.temporal import temporal_iou
from tolman.reward.words import rouge_mean, word_error_rate

RULES = ("corrected", "published", "video_r1")
THRESHOLDS = np.linspace(0.5, 0.95, 10)  # .50, .55, …, .95 in float64, as VSI-Bench computes them


def accuracy(rule: str = "corrected") -> Reward:
    """Graded accuracy in [0, 1]: 0/1 for `multiple choice`, mean relative accuracy for `numerical`, 1 −
    relative error for `regression`, 1 − word error rate for `OCR`, mean ROUGE F1 for `free-form` and
    `open-ended`, and for OneThinker's grounding types what `temporal_iou`, `box_overlap`,
    `spatio_temporal_iou` and `tracking` give (corrected rule only). NaN for another type.

    corrected: the last well-formed answer after the thought; the letter as `read_letter` finds it; the
    number as `read_number` does (sign, unit, thousands commas); a truth of 0 wants exactly 0; NaN for a
    question whose own answer is no letter or no number.
    published: SpaceR's `accuracy_reward` without its map term (SG-RLVR.py at b623af5; arXiv 2504.01805):
    the first answer wherever it stands; letters as exact strings, so that "B." and "(B)" are wrong; the
    first number word, "a" included, or else the first digits without their sign, so that −2.5 is as good as
    2.5; a numerical truth of 0 earns nothing (a NameError in its error handler); any number is right for a
    negative truth; a regression answer of "nan" earns 1. Other problem types earn 0 there and are NaN here.
    video_r1: the same, but numbers must be equal after rounding to two decimals, and both or neither written
    with a point or comma (Video-R1, arXiv 2503.21776; also Video-R2's).
    Raises ValueError for another rule.
    """
    graders = _graders(rule)

    def grade(completion: str, question: Question) -> Graded:
        grader = graders.get(question.problem_type)
        if grader is None:
            return Graded(math.nan, f"no accuracy rule for problem type {question.problem_type!r}")
        return grader(completion, question)

    return grade


def ocr(rule: str = "corrected") -> Reward:
    """`accuracy` of type `OCR` whatever the question's: 1 − word error rate, at least 0."""
    return _graders(rule)["OCR"]


def free_form(rule: str = "corrected") -> Reward:
    """`accuracy` of type `free-form` whatever the question's: mean F1 of ROUGE-1, ROUGE-2 and ROUGE-L."""
    return _graders(rule)["free-form"]


def regression(rule: str = "corrected") -> Reward:
    """`accuracy` of type `regression` whatever the question's: 1 − relative error, at least 0."""
    return _graders(rule)["regression"]


def mean_relative_accuracy(said: float, truth: float) -> float:
    """Share of the thresholds θ in .50, .55, …, .95 with |said − truth| / |truth| ≤ 1 − θ (VSI-Bench,
    float64).

    Dimensionless, in [0, 1]. For a truth of 0 the limit is used: 1 where said is 0, otherwise 0.
    """
    if truth == 0:
        return float(said == 0)
    return float((abs(said - truth) / abs(truth) <= 1 - THRESHOLDS).mean())


def _graders(rule: str) -> dict[str, Reward]:
    tables = {"corrected": _CORRECTED, "published": _PUBLISHED, "video_r1": _VIDEO_R1}
    return tables[choose("rule", rule, RULES)]


def _choice(completion: str, question: Question) -> Graded:
    gold = read_letter(question.answer, question.options)
    if gold.letter is None:
        return Graded(math.nan, f"the question's own answer: {gold.reason}")
    answer = final_answer(completion)
    if answer.text is None:
        return Graded(0.0, answer.reason)
    said = read_letter(answer.text, question.options)
    if said.letter is None:
        return Graded(0.0, said.reason)
    return Graded(float(said.letter == gold.letter), f"said {said.letter}, right is {gold.letter}")


def _number(score: Callable[[float, float], float]) -> Reward:
    def grade(completion: str, question: Question) -> Graded:
        gold = read_number(question.answer, question.answer_unit)
        if gold.value is None:
            return Graded(math.nan, f"the question's own answer: {gold.reason}")
        answer = final_answer(completion)
        if answer.text is None:
            return Graded(0.0, answer.reason)
        said = read_number(answer.text, question.answer_unit)
        if said.value is None:
            return Graded(0.0, said.reason)
        return Graded(score(said.value, gold.value), f"said {said.value:g}, right is {gold.value:g}")

    return grade


def _words(score: Callable[[str, str], float]) -> Reward:
    def grade(completion: str, question: Question) -> Graded:
        if not question.answer:
            return Graded(math.nan, "the question's own answer is empty")
        answer = final_answer(completion)
        if answer.text is None:
            return Graded(0.0, answer.reason)
        if answer.text.split() == question.answer.split():  # ROUGE-2 of a single word is 0, even with itself
            return Graded(1.0, "the right text")
        return Graded(score(question.answer, answer.text), "text compared with the right one")

    return grade


def _relative(said: float, truth: float) -> float:
    """1 − relative error, at least 0; a truth of 0 wants exactly 0."""
    return float(said == 0) if truth == 0 else max(0.0, 1 - abs(said - truth) / abs(truth))


def _read_right(truth: str, said: str) -> float:
    return max(0.0, 1 - word_error_rate(truth, said))


def _published_choice(completion: str, question: Question) -> Graded:
    said, gold = published_answer(completion), published_answer(question.solution)
    return Graded(float(said == gold), f"said {said[:40]!a}, right is {gold[:40]!a}")


def _published_number(completion: str, question: Question) -> Graded:
    gold = _as_float(published_answer(question.solution))
    said = published_number(published_answer(completion))
    if gold is None or said is None:
        return Graded(0.0, "no number in the answer or in the solution")
    if gold == 0:
        return Graded(0.0, "a truth of 0: the published code fails and gives 0")
    with np.errstate(invalid="ignore"):
        value = float((np.float64(abs(said - gold)) / gold <= 1 - THRESHOLDS).mean())
    return Graded(value, f"said {said:g}, right is {gold:g}")


def _video_r1_number(completion: str, question: Question) -> Graded:
    said, gold = published_answer(completion), published_answer(question.solution)
    numbers = [_as_float(text.replace(",", "")) for text in (said, gold)]
    if None in numbers:
        return Graded(0.0, "no number in the answer or in the solution")
    if len({"." in text or "," in text for text in (said, gold)}) > 1:
        return Graded(0.0, "one has a point or comma, the other none")
    equal = len({round(number or 0.0, 2) for number in numbers}) == 1
    return Graded(float(equal), f"said {said[:40]!a}, right is {gold[:40]!a}")


def _published_regression(completion: str, question: Question) -> Graded:
    said = _as_float(published_answer(completion).replace(",", ""))
    gold = _as_float(published_answer(question.solution).replace(",", ""))
    if said is None or gold is None:
        return Graded(0.0, "no number in the answer or in the solution")
    error = (abs(said - gold) + 1e-9) / (abs(gold) + 1e-9)
    if math.isnan(error):  # Python's max(0.0, nan) is 0.0: the published clamp turns it into no error at all
        return Graded(1.0, "not a number, which the published code takes for right")
    return Graded(1 - min(1.0, error), f"said {said:g}, right is {gold:g}")


def _published_words(score: Callable[[str, str], float]) -> Reward:
    def grade(completion: str, question: Question) -> Graded:
        value = score(published_answer(question.solution), published_answer(completion))
        return Graded(value, "text compared with the right one")

    return grade


def _as_float(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


_CORRECTED: dict[str, Reward] = {
    "multiple choice": _choice,
    "numerical": _number(mean_relative_accuracy),
    "regression": _number(_relative),
    "OCR": _words(_read_right),
    "free-form": _words(rouge_mean),
    "open-ended": _words(rouge_mean),
    "temporal grounding": temporal_iou(),
    "spatial grounding": box_overlap(),
    "spatial-temporal grounding": spatio_temporal_iou(),
    "tracking": tracking(),
}
_PUBLISHED: dict[str, Reward] = {
    "multiple choice": _published_choice,
    "numerical": _published_number,
    "regression": _published_regression,
    "OCR": _published_words(_read_right),
    "free-form": _published_words(rouge_mean),
}
_VIDEO_R1 = _PUBLISHED | {"numerical": _video_r1_number}
