"""Where something is, and where it goes: boxes, boxes over time and tracks in the answer."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from tolman.questions.question import Question
from tolman.reward.answer import final_answer
from tolman.reward.graded import Graded, Reward
from tolman.reward.options import choose
from tolman.reward.overlap import Box, box_iou, span_iou
from tolman.reward.published import floats, onethinker_fields
from tolman.reward.structured import (
    MAX_STRUCTURE,
    as_box,
    as_dict,
    as_span,
    as_track,
    read_fields,
    read_literal,
)

RULES = ("corrected", "onethinker")
_Fields = Mapping[str, object]
_Score = Callable[[_Fields, _Fields], Graded]


def box_overlap(rule: str = "corrected") -> Reward:
    """IoU of the box in the answer, `{"boxes": [x1, y1, x2, y2]}`, with that of the question's answer.

    corrected: the last answer after the thought, a dict literal with one box as "boxes", or the bare list,
    also in box tags; x1 < x2, y1 < y2, finite.
    onethinker: the first answer tag, or the whole text, as JSON (`spatial grounding` of its
    `accuracy_reward`, tulerfeng/OneThinker at 768b20f); a box turned inside out overlaps nothing.
    Coordinates are those of the row, whatever their unit. NaN for a question whose own answer holds no box.
    Raises ValueError for another rule.
    """
    score = _published_box if choose("rule", rule, RULES) == "onethinker" else _box
    return _grounding(score, rule, lambda truth: as_box(truth.get("boxes")) is not None)


def spatio_temporal_iou(rule: str = "corrected") -> Reward:
    """½ span IoU + ½ mean box IoU for `{"time": [s, e], "boxes": {"3": [x1, y1, x2, y2], …}}`.

    corrected: boxes are averaged over every frame that either side names, so that leaving frames out and
    adding others both cost; a span or a box that is none makes the answer worth 0.
    onethinker: boxes are averaged over the frames that both name (arXiv 2512.03043; `spatial-temporal
    grounding` of its `accuracy_reward`): one safe box earns as much as a whole track.
    NaN for a question whose own answer is not of this form. Raises ValueError for another rule.
    """
    score = _published_tube if choose("rule", rule, RULES) == "onethinker" else _tube
    return _grounding(
        score,
        rule,
        lambda truth: as_span(truth.get("time")) is not None and as_track(truth.get("boxes")) is not None,
    )


def tracking(rule: str = "corrected") -> Reward:
    """Mean box IoU for `{"boxes": {"1": [x1, y1, x2, y2], …}}`, frame by frame.

    corrected: over every frame that either side names. onethinker: over the true frames, so that boxes in
    other frames are free (`tracking` of its `accuracy_reward`).
    NaN for a question whose own answer is not of this form. Raises ValueError for another rule.
    """
    score = _published_track if choose("rule", rule, RULES) == "onethinker" else _track
    return _grounding(score, rule, lambda truth: as_track(truth.get("boxes")) is not None)


def answer_structure() -> Reward:
    """OneThinker's structure reward: how well the answer keeps the form asked for, in [0, 0.5].

    0.5 for a span (`temporal grounding`) or box (`spatial grounding`) of the right form; 0.25 for the form of
    `spatial-temporal grounding` and `tracking` and 0.25 · (share of the true frames named); 0.5 for other
    types, which have no structure, and NaN for `segmentation`, which is not read here. The form is checked as
    published (OneThinker at 768b20f, `answer_structure_bonus`): numbers, not their order. There it is 0
    without the format; give the format reward a weight of its own here.
    """

    def grade(completion: str, question: Question) -> Graded:
        if question.problem_type == "segmentation":
            return Graded(math.nan, "no structure known for segmentation")
        if question.problem_type not in _STRUCTURES:
            return Graded(0.5, "no structure asked for")
        said = onethinker_fields(completion)
        truth = read_fields(question.answer).fields
        return _STRUCTURES[question.problem_type](said or {}, truth or {})

    return grade


def _grounding(score: _Score, rule: str, usable: Callable[[_Fields], bool]) -> Reward:
    """A reward that compares the fields of the answer with those of the truth."""

    def grade(completion: str, question: Question) -> Graded:
        truth = _fields(question.answer)
        if truth is None or not usable(truth):
            return Graded(math.nan, f"the question's own answer {question.answer[:40]!a} holds no such truth")
        if rule == "onethinker":
            said = onethinker_fields(completion)
            return score(said, truth) if said is not None else Graded(0.0, "the answer is no JSON object")
        answer = final_answer(completion, MAX_STRUCTURE)
        if answer.text is None:
            return Graded(0.0, answer.reason)
        fields = _fields(answer.text)
        return score(fields, truth) if fields is not None else Graded(0.0, "the answer is no dict of fields")

    return grade


def _fields(text: str) -> _Fields | None:
    """The dict that a text is; a bare list of four, box tags around it or not, is a box."""
    box = as_box(read_literal(text.strip().removeprefix("<box>").removesuffix("</box>")))
    return {"boxes": list(box)} if box else read_fields(text).fields


def _box(said: _Fields, truth: _Fields) -> Graded:
    box, right = as_box(said.get("boxes")), as_box(truth["boxes"])
    assert right is not None
    return Graded(box_iou(box, right), "boxes compared") if box else Graded(0.0, "the answer holds no box")


def _tube(said: _Fields, truth: _Fields) -> Graded:
    span, right = as_span(said.get("time")), as_span(truth["time"])
    assert right is not None
    if span is None:
        return Graded(0.0, "the answer holds no span")
    boxes = _track(said, truth)
    if as_track(said.get("boxes")) is None:
        return boxes
    when = span_iou(span, right)
    return Graded(0.5 * when + 0.5 * boxes.value, f"span {when:.3f}, boxes {boxes.value:.3f}")


def _track(said: _Fields, truth: _Fields) -> Graded:
    track, right = as_track(said.get("boxes")), as_track(truth["boxes"])
    assert right is not None
    if track is None:
        return Graded(0.0, "the answer holds no boxes by frame")
    both = track.keys() & right.keys()
    value = math.fsum(box_iou(track[frame], right[frame]) for frame in both) / len({*track, *right})
    return Graded(value, f"{len(both)} frames in both, {len(track)} said, {len(right)} right")


def _published_box(said: _Fields, truth: _Fields) -> Graded:
    right = as_box(truth["boxes"])
    assert right is not None
    return Graded(_iou(said.get("boxes"), right), "boxes compared")


def _published_tube(said: _Fields, truth: _Fields) -> Graded:
    span, right = floats(said.get("time"), 2), as_span(truth["time"])
    assert right is not None
    when = span_iou((span[0], span[1]), right) if span else 0.0
    boxes, known = _by_name(said), as_track(truth["boxes"]) or {}
    both = [frame for frame in boxes if frame in known]
    mean = math.fsum(_iou(boxes[frame], known[frame]) for frame in both) / max(1, len(both))
    return Graded(0.5 * when + 0.5 * mean, f"span {when:.3f}, boxes of {len(both)} frames {mean:.3f}")


def _published_track(said: _Fields, truth: _Fields) -> Graded:
    boxes, known = _by_name(said), as_track(truth["boxes"]) or {}
    value = math.fsum(_iou(boxes.get(frame), box) for frame, box in known.items()) / len(known)
    return Graded(value, f"{len(known)} true frames")


def _by_name(said: _Fields) -> dict[str, object]:
    boxes = said.get("boxes")
    return boxes if isinstance(boxes, dict) else {}


def _iou(said: object, truth: Box) -> float:
    numbers = floats(said, 4)
    return box_iou((numbers[0], numbers[1], numbers[2], numbers[3]), truth) if numbers else 0.0


def _frames(said: _Fields, truth: _Fields, formed: bool) -> Graded:
    boxes, known = said.get("boxes"), as_dict(truth.get("boxes"))
    named = len(boxes.keys() & known.keys()) / len(known) if isinstance(boxes, dict) and known else 0.0
    return Graded(
        0.25 * formed + 0.25 * named, f"{'the' if formed else 'not the'} form, {named:.2f} of frames"
    )


def _by_frame(said: _Fields) -> bool:
    boxes = said.get("boxes")
    return isinstance(boxes, dict) and all(floats(box, 4) is not None for box in boxes.values())


def _half(formed: bool) -> Graded:
    return Graded(0.5 if formed else 0.0, "the form asked for" if formed else "not the form asked for")


def _two(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2


_STRUCTURES: dict[str, _Score] = {
    "temporal grounding": lambda said, truth: _half(floats(said.get("time"), 2) is not None),
    "spatial grounding": lambda said, truth: _half(floats(said.get("boxes"), 4) is not None),
    "spatial-temporal grounding": lambda said, truth: _frames(
        said, truth, _two(said.get("time")) and _by_frame(said)
    ),
    "tracking": lambda said, truth: _frames(said, truth, _by_frame(said)),
}
