"""What a metric map is worth: the outlines of objects seen from above, in metres (Video2Layout)."""

from __future__ import annotations

import json
import math
from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

from tolman.cogmap.literal import LiteralError, Pairs, parse_literal
from tolman.questions.question import Question
from tolman.reward.graded import Graded, Reward
from tolman.reward.overlap import Box
from tolman.reward.structured import as_box, as_dict, as_many
from tolman.scenes.types import Floats

MAX_OUTLINES = 500
_OPEN, _CLOSE = "<map>", "</map>"


class Layout(NamedTuple):
    """Category → outlines (x1, y1, x2, y2) in metres; None with the reason where a text draws none."""

    outlines: dict[str, list[Box]] | None
    reason: str


def layout() -> Reward:
    """The score of the metric map that a completion draws before its answer, in [0, 1].

    The map is the last `<map>…</map>` before the last `</think>` (Video2Layout, arXiv 2511.16160, draws it
    before the thought, SpaceR in it): a dict of category → [[x1, y1, x2, y2], …], corners in metres in the
    frame that the question sets. The truth has the same form: `layout` in the question's evidence or extra
    fields. The published training has no map reward; this score is ours, the metric counterpart of
    `cogmap.score.grade_map`:

        place = max(0, 1 − distance of centres / diagonal of the truth's surroundings)
        size = product over both sides of shorter / longer
        credit = place · (1 + size) / 2, over an optimal one-to-one matching within each category
        raw = Σ credit / Σ_c max(drawn, true)
        value = clip((raw − blind) / (1 − blind), 0, 1)

    with blind the raw score of the true counts and sizes all in the best single place. So everything at the
    centre earns 0, the true map 1, and missing, extra and misnamed objects cost. 0 without a map, with
    several objects of one name spelt twice, or with one outline that is none. NaN where the truth is missing
    or all in one place. Raises ValueError for a truth of another form.
    """

    def grade(completion: str, question: Question) -> Graded:
        truth = true_layout(question)
        if truth is None:
            return Graded(math.nan, "the question has no true layout")
        every = _corners([box for boxes in truth.values() for box in boxes])
        if len(every) == 0 or np.ptp(_centres(every), axis=0).max() == 0:
            return Graded(math.nan, "the true layout is in one place, where a blind guess also is")
        drawn = read_layout(completion)
        if drawn.outlines is None:
            return Graded(0.0, drawn.reason)
        return _score(drawn.outlines, truth, every)

    return grade


def true_layout(question: Question) -> dict[str, list[Box]] | None:
    """The question's layout, None where it has no dict of that name. Raises ValueError for a broken one."""
    rows = question.evidence.get("layout", question.extra.get("layout"))
    if not isinstance(rows, dict):
        return None
    truth = _outlines(rows)
    if truth is None:
        need = "its layout must map names to lists of [x1, y1, x2, y2]"
        raise ValueError(f"question {question.problem_id}: {need}")
    return truth


def layout_text(outlines: dict[str, list[Box]]) -> str:
    """A layout as it is drawn between map tags, names in alphabetical order."""
    return json.dumps({name: [list(box) for box in outlines[name]] for name in sorted(outlines)})


def read_layout(completion: str) -> Layout:
    """The metric map that a completion draws before its answer; names lower-cased, blanks joined."""
    before = completion[: max(0, completion.rfind("</think>"))]
    close = before.rfind(_CLOSE)
    start = before.rfind(_OPEN, 0, close) if close >= 0 else -1
    if start < 0:
        return Layout(None, "no <map>…</map> before the end of the thought")
    try:
        value = parse_literal(before[start + len(_OPEN) : close].strip())
    except LiteralError as flaw:
        return Layout(None, f"not a layout: {flaw}")
    outlines = _outlines(value) if isinstance(value, Pairs) else None
    return Layout(outlines, "" if outlines is not None else "not a dict of lists of outlines")


def _outlines(value: object) -> dict[str, list[Box]] | None:
    """Category → outlines; None unless it is all of that form, each name once, at most MAX_OUTLINES."""
    fields = as_dict(value)
    boxes = {name: as_many(entry, as_box) for name, entry in (fields or {}).items()}
    found = {_plain(name): entry for name, entry in boxes.items() if entry is not None}
    if fields is None or len(found) < len(fields) or sum(map(len, found.values())) > MAX_OUTLINES:
        return None
    return found


def _score(drawn: dict[str, list[Box]], truth: dict[str, list[Box]], every: Floats) -> Graded:
    span = every[:, 2:].max(axis=0) - every[:, :2].min(axis=0)
    diagonal = float(np.hypot(*span))
    credit, total = 0.0, 0
    for category in sorted({*drawn, *truth}):
        a, b = _corners(drawn.get(category, [])), _corners(truth.get(category, []))
        total += max(len(a), len(b))
        credits = _place(_centres(a), _centres(b), diagonal) * (1 + _size(a, b)) / 2
        credit += float(credits[linear_sum_assignment(credits, maximize=True)].sum())
    raw, blind = credit / total, _blind(_centres(every), diagonal)
    value = min(1.0, max(0.0, (raw - blind) / (1 - blind)))
    return Graded(value, f"layout raw {raw:.3f}, blind {blind:.3f}")


def _place(a: Floats, b: Floats, diagonal: float) -> Floats:
    """(n, m) credit for how near the centres are."""
    gaps = np.linalg.norm(a[:, None] - b[None], axis=-1)
    return np.asarray(np.maximum(0.0, 1 - gaps / diagonal), dtype=np.float64)


def _size(a: Floats, b: Floats) -> Floats:
    """(n, m) credit for how alike the sides are."""
    first, second = (a[:, 2:] - a[:, :2])[:, None], (b[:, 2:] - b[:, :2])[None]
    ratios = np.minimum(first, second) / np.maximum(first, second)
    return np.asarray(ratios.prod(axis=-1), dtype=np.float64)


def _blind(centres: Floats, diagonal: float) -> float:
    """The largest mean place credit of a single point: that of the geometric median (Weiszfeld's steps).

    No true centre is further than the diagonal from a point among them, so the credit is linear in the
    distance. The median may be one of the centres, where the steps cannot end.
    """
    point = centres.mean(axis=0)
    for _ in range(200):
        weights = 1 / np.maximum(np.linalg.norm(centres - point, axis=1), 1e-9)
        point = (centres * weights[:, None]).sum(axis=0) / weights.sum()
    places = np.concatenate([point[None], centres])
    return float(_place(places, centres, diagonal).mean(axis=1).max())


def _corners(boxes: list[Box]) -> Floats:
    return np.array(boxes, dtype=np.float64).reshape(-1, 4)


def _centres(corners: Floats) -> Floats:
    return np.asarray((corners[:, :2] + corners[:, 2:]) / 2, dtype=np.float64)


def _plain(name: str) -> str:
    return " ".join(name.lower().split())
