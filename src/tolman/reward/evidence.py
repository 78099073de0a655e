"""Whether the moments and boxes that a thought points to are the right ones (Open-o3 Video, and keyframes).

How claims are written and where the truth stands: `tolman.reward.claims`. Rules of all rewards here:

published: reward_func.py of marinero4972/Open-o3-Video at 1eb6eca (arXiv 2510.20579), over the first
`<think>…</think>`. Each is a mean over what is claimed, so that one safe claim earns everything and the same
claim may be repeated.
corrected: over all before the last `</think>`; each claim counts once, and what is left out costs as much as
what is made up (F1 of precision and recall).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

from tolman.questions.question import Question
from tolman.reward.answer import thought
from tolman.reward.claims import (
    Claim,
    KeyFrame,
    first_thought,
    key_frames,
    published_moments,
    read_claims,
    read_moments,
)
from tolman.reward.graded import Graded, Reward
from tolman.reward.options import choose, within
from tolman.reward.overlap import Box, box_iou
from tolman.reward.structured import read_span

RULES = ("corrected", "published")
_NONE = Graded(math.nan, "the question has no key frames")


def evidence_times(
    rule: str = "corrected", sigma: float = 1.0, progress: Callable[[], float] | None = None
) -> Reward:
    """How near the moments named in the thought are to key frames: exp(−Δt²/(2σ²)), Δt in seconds.

    sigma: seconds. progress: returns the share of training that is done, in [0, 1]; σ is then the published
    schedule `proximity_sigma` of it, and sigma must stay 1. published: mean over the moments, 0 where one of
    them is no number. corrected: F1 of the mean over different moments (nearness to the nearest key frame)
    and of the mean over key frames (nearness to the nearest moment). NaN without key frames. Raises
    ValueError for another rule, for sigma not above 0 and for both sigma and progress.
    """
    published = choose("rule", rule, RULES) == "published"
    if within("sigma", sigma, 0) == 0 or (progress is not None and sigma != 1.0):
        raise ValueError(f"sigma must be above 0, and 1 where progress sets it; got {sigma:g}")

    def grade(completion: str, question: Question) -> Graded:
        keys = [frame.time for frame in key_frames(question)]
        if not keys:
            return _NONE
        width = sigma if progress is None else proximity_sigma(progress())
        moments = published_moments(completion) if published else read_moments(completion)
        if not moments:
            return Graded(0.0, "no moment in the thought")
        precision = _nearness(moments, keys, width)
        if published:
            return Graded(precision, f"{len(moments)} moments")
        return _f1(precision, _nearness(keys, [m for m in moments if m is not None], width))

    return grade


def proximity_sigma(progress: float) -> float:
    """Open-o3 Video's σ in seconds after a share `progress` of training: 4·(1 − progress), at least 1."""
    return max(1.0, 4 * (1 - progress))


def evidence_segment(rule: str = "corrected") -> Reward:
    """Share of the moments named in the thought that lie in the true span, the question's answer.

    published: every mention counts, and a moment that is no number makes the reward 0. corrected: different
    moments count once, one that is no number lies outside, and a single one earns half: a guess is no span.
    NaN for a question whose own answer is no span. Raises ValueError for another rule.
    """
    published = choose("rule", rule, RULES) == "published"

    def grade(completion: str, question: Question) -> Graded:
        truth = read_span(question.answer)
        if truth.span is None:
            return Graded(math.nan, f"the question's own answer: {truth.reason}")
        moments = published_moments(completion) if published else read_moments(completion)
        start, end = truth.span
        inside = sum(moment is not None and start <= moment <= end for moment in moments)
        value = inside / max(1 if published else 2, len(moments))
        return Graded(value, f"{inside} of {len(moments)} moments inside")

    return grade


def evidence_boxes(rule: str = "corrected", near: float = 1.0) -> Reward:
    """IoU of the boxes claimed in the thought with those of the nearest key frame.

    near: seconds; a claim so far or further from every key frame earns nothing.
    published: mean over claims of the best object's IoU, whatever it is called; a claim after a key frame
    passes as near however late it is (`gt − pred < 1` without an absolute value). corrected: only objects of
    the claimed name; F1 of the mean over claimed boxes (the best true one) and of the mean over true boxes of
    all key frames (the best claimed one). NaN without key frames that show items. Raises ValueError for
    another rule or near not above 0.
    """
    published = choose("rule", rule, RULES) == "published"
    if within("near", near, 0) == 0:
        raise ValueError("near must be above 0, got 0")

    def grade(completion: str, question: Question) -> Graded:
        frames = [frame for frame in key_frames(question) if any(frame.items.values())]
        if not frames:
            return _NONE
        claims = read_claims(first_thought(completion) if published else thought(completion))
        if not claims:
            return Graded(0.0, "no claim with a box and a moment in the thought")
        if not published:
            return _matched(list(dict.fromkeys(claims)), frames, near)
        value = math.fsum(_published_claim(claim, frames, near) for claim in claims) / len(claims)
        return Graded(value, f"{len(claims)} claims")

    return grade


def keyframes(tolerance: float = 1.0) -> Reward:
    """Overlap of the moments that the thought selects with the true key frames: F1 of both.

    A moment `<t>3.2</t>s` and a key frame at most `tolerance` seconds apart make a pair; each is used once
    and as many pairs as possible are made. EgoVLM's keyframe reward (arXiv 2506.03097) is the idea; its
    formula is not public, this one is ours. NaN without key frames. Raises ValueError for a tolerance below
    0.
    """
    within("tolerance", tolerance, 0)

    def grade(completion: str, question: Question) -> Graded:
        keys = sorted({frame.time for frame in key_frames(question)})
        if not keys:
            return _NONE
        moments = read_moments(completion)
        hits = _pairs(sorted(moment for moment in moments if moment is not None), keys, tolerance)
        value = 2 * hits / (len(moments) + len(keys))
        return Graded(value, f"{hits} of {len(keys)} key frames, {len(moments)} selected")

    return grade


def _nearness(moments: Sequence[float | None], others: Sequence[float], sigma: float) -> float:
    """Mean nearness of `moments` to the nearest of `others`; what is no number is near nothing."""
    gaps = (math.inf if m is None else min((abs(m - o) for o in others), default=math.inf) for m in moments)
    return math.fsum(math.exp(-((gap / sigma) ** 2) / 2) for gap in gaps) / len(moments)


def _f1(precision: float, recall: float) -> Graded:
    value = 2 * precision * recall / (precision + recall) if precision + recall > 0 else 0.0
    return Graded(value, f"precision {precision:.3f}, recall {recall:.3f}")


def _published_claim(claim: Claim, frames: list[KeyFrame], near: float) -> float:
    """Best mean IoU over the objects of the key frame nearest in time among those less than `near` later."""
    time = claim.time
    passing = [frame for frame in frames if time is not None and frame.time - time < near]
    if time is None or not passing:
        return 0.0
    frame = min(passing, key=lambda frame: abs(frame.time - time))
    ious = [[_best(box, claim.boxes) for box in boxes] for boxes in frame.items.values() if boxes]
    return max((math.fsum(each) / len(each) for each in ious), default=0.0)


def _matched(claims: list[Claim], frames: list[KeyFrame], near: float) -> Graded:
    """F1 of how well claims are borne out and how well the frames' objects are claimed."""
    said = []
    shown = [
        (k, name.casefold(), box) for k, f in enumerate(frames) for name in f.items for box in f.items[name]
    ]
    claimed: list[list[Box | None]] = [[] for _ in shown]
    for claim in claims:
        k, name = _nearest(claim.time, frames, near), claim.name.casefold()
        places = [i for i, (frame, item, _) in enumerate(shown) if frame == k and item == name]
        said += [_best(box, [shown[i][2] for i in places]) if box else 0.0 for box in claim.boxes]
        for i in places:
            claimed[i] += claim.boxes
    recalled = [_best(box, boxes) for (_, _, box), boxes in zip(shown, claimed, strict=True)]
    return _f1(math.fsum(said) / max(1, len(said)), math.fsum(recalled) / len(recalled))


def _nearest(time: float | None, frames: list[KeyFrame], near: float) -> int | None:
    """The key frame nearest in time, if less than `near` away."""
    if time is None:
        return None
    gap, k = min((abs(frame.time - time), k) for k, frame in enumerate(frames))
    return k if gap < near else None


def _best(box: Box, others: Iterable[Box | None]) -> float:
    return max((box_iou(box, other) for other in others if other), default=0.0)


def _pairs(a: list[float], b: list[float], tolerance: float) -> int:
    """How many pairs two ascending lists make, each entry used once, at most `tolerance` apart."""
    i = j = pairs = 0
    while i < len(a) and j < len(b):
        if abs(a[i] - b[j]) <= tolerance:
            i, j, pairs = i + 1, j + 1, pairs + 1
        elif a[i] < b[j]:
            i += 1
        else:
            j += 1
    return pairs
