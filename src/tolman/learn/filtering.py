"""Which groups are worth training on, and which questions, told by what sampled completions earned. Pure."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tolman.learn.corpus import ClipQuestions, Drawn, in_share
from tolman.learn.sections import Filter, Select
from tolman.questions.question import Question

_FULL = 1 - 1e-9


def passes(values_G: npt.NDArray[np.float64], rule: Filter) -> bool:
    """Whether a group is trained on.

    values_G: the total rewards, which must not all be equal; with `rule.of` that reward's, whose mean must
    lie within the bounds. NaN (no grade) does not count; a group without any grade does not pass.
    """
    graded = values_G[~np.isnan(values_G)]
    if not graded.size:
        return False
    if rule.of:
        return bool(rule.bounds[0] < graded.mean() < rule.bounds[1])
    return bool(np.ptp(graded) > 1e-9)


def redraw(
    clips: Sequence[ClipQuestions], taken: set[str], missing: int, per_clip: int, seed: int
) -> list[Drawn]:
    """Clips in place of those that gave no signal: `missing` questions, up to `per_clip` of each clip.

    taken: names of the clips that the step has had; they do not come again. A pure function of its arguments,
    in a random order that does not move the epochs. Fewer questions where clips run out.
    """
    rng = np.random.default_rng(seed)
    drawn = []
    for index in rng.permutation(len(clips)):
        if missing <= 0:
            break
        clip = clips[index]
        if clip.name in taken:
            continue
        order = rng.permutation(len(clip.questions))[: min(per_clip, missing)]
        drawn.append(Drawn(clip, tuple(clip.questions[at] for at in order)))
        missing -= len(order)
    return drawn


class Selected(NamedTuple):
    """What a question gave: rows for the next stage, none of them with the reason."""

    rows: list[Question]
    reason: str


def select_rows(
    question: Question, texts: Sequence[str], values_G: Sequence[float], rule: Select
) -> Selected:
    """Keep a question by what its G completions earned, in the form that the rule asks for.

    values_G: of the reward `rule.of`, NaN where it could not be graded (left out). Rows gain `difficulty`
    (1 - mean), `score_mean` and `score_std` (population). reason is "", `ungraded`, `hard`, `easy`, `flat`,
    `solved`, `no right one` or `no contrast`. Of several right (or wrong) completions the first is taken.
    """
    graded = [(text, value) for text, value in zip(texts, values_G, strict=True) if not np.isnan(value)]
    if not graded:
        return Selected([], "ungraded")
    scores: npt.NDArray[np.float64] = np.array([value for _, value in graded], dtype=np.float64)
    mean, std = float(scores.mean()), float(scores.std())
    if reason := _out_of_bounds(question, scores, rule):
        return Selected([], reason)
    found = {"difficulty": 1 - mean, "score_mean": mean, "score_std": std}
    base = replace(question, extra=question.extra | found)
    if rule.keep == "questions":
        return Selected([base], "")
    right = next((text for text, value in graded if value >= rule.right - 1e-9), None)
    wrong = next((text for text, value in graded if value <= rule.wrong + 1e-9), None)
    return _as_rows(base, right, wrong, rule.keep)


def _out_of_bounds(question: Question, scores: npt.NDArray[np.float64], rule: Select) -> str:
    mean = float(scores.mean())
    if mean < rule.low:
        return "hard"
    if mean > rule.high:
        return "easy"
    if float(scores.std()) < rule.spread:
        return "flat"
    if bool((scores >= _FULL).all()) and not in_share(_key(question), rule.solved):
        return "solved"
    return ""


def _key(question: Question) -> str:
    return hashlib.sha256(f"{question.problem_id}\n{question.problem}".encode()).hexdigest()


def _as_rows(base: Question, right: str | None, wrong: str | None, keep: str) -> Selected:
    def row(**extra: object) -> Question:
        return replace(base, extra=base.extra | extra)

    if keep == "answers":
        if right is None:
            return Selected([], "no right one")
        return Selected([row(turns=[{"role": "assistant", "content": right}])], "")
    if keep == "pairs":
        if right is None or wrong is None:
            return Selected([], "no contrast")
        return Selected([row(chosen=right, rejected=wrong)], "")
    rows = [row(completion=text, label=label) for text, label in ((right, True), (wrong, False)) if text]
    return Selected(rows, "" if rows else "no contrast")


def count_reasons(selected: Sequence[Selected]) -> dict[str, int]:
    """How many questions were kept and, by reason, left out; and how many rows there are."""
    reasons = Counter(entry.reason or "kept" for entry in selected)
    return {
        "questions": len(selected),
        "rows": sum(len(entry.rows) for entry in selected),
        **dict(sorted(reasons.items())),
    }
