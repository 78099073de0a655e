"""SPAR-Bench: its tasks and the authors' rule (fudan-zvg/spar 16798858, `sparbench/utils.py`)."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np

from tolman.bench.asking import DIRECT
from tolman.bench.rules.common import guarded_error, share_within, to_number
from tolman.bench.rules.vlmevalkit import spatial_choice, spatial_number
from tolman.bench.verdict import Row, Verdict, text_of, truth_of
from tolman.questions.question import Question

NUMERICAL = tuple(
    f"{kind}_prediction_{objects}{views}"
    for kind in ("depth", "distance")
    for objects in ("oc", "oo")
    for views in ("", "_mv")
)
VIEW_CHANGE = "view_change_infer"
MIDDLE = ("position_matching", "camera_motion_infer")
HIGH = (
    "distance_infer_center_oo", "distance_infer_center_oo_mv", "obj_spatial_relation_oc_mv",
    "obj_spatial_relation_oo",
    "obj_spatial_relation_oo_mv", "spatial_imagination_oc", "spatial_imagination_oc_mv",
    "spatial_imagination_oo",
    "spatial_imagination_oo_mv",
)  # fmt: skip
TASKS = (*NUMERICAL, VIEW_CHANGE, *MIDDLE, *HIGH)
BOX_NOTE = (
    "The values represent the bounding box coordinates normalized to a 0-1000 scale, with the top-left "
    "corner as the "
    "origin of the image."
)
_NUMBER = re.compile(r"(?<!\^)\d+\.\d+|(?<!\^)\d+")
_AXES = (
    ("move_right", "move_left"), ("move_up", "move_down"), ("move_forward", "move_backward"),
    ("rotate_right", "rotate_left"), ("rotate_up", "rotate_down"),
)  # fmt: skip


def kind_of(row: Row) -> str:
    """`numeric`, `motion` or `choice`. Raises ValueError for a task SPAR-Bench does not have."""
    task = row["question_type"]
    if task not in TASKS:
        raise ValueError(f"question_type {task!r} is not one of SPAR-Bench's: {', '.join(TASKS)}")
    return "numeric" if task in NUMERICAL else "motion" if task == VIEW_CHANGE else "choice"


def prompt(question: Question) -> str:
    """The authors' words around a question."""
    after = {
        "numeric": "Please answer the question using a single word or phrase.",
        "choice": DIRECT,
        "motion": "",
    }
    note = BOX_NOTE if question.question_type in MIDDLE else ""
    lines = (question.problem, note, after[kind_of({"question_type": question.question_type})])
    return "\n".join(line for line in lines if line)


def official(row: Row) -> Verdict:
    """Letters: the answer is the truth, stands in it or starts with it, so that no answer at all is right.

    Numbers: the first without its sign (the last in tasks over several views); camera motion: see
    `motion_accuracy`, its error relative to the prediction.
    """
    said, truth, kind = text_of(row), truth_of(row), kind_of(row)
    if kind == "choice":
        said, truth = said.lower(), truth.lower()
        return Verdict(float(said in truth or said[0] == truth), None, failed=not said)
    if kind == "motion":
        score = motion_accuracy(said, truth, parse_motion)
        return Verdict(
            score or 0.0, None, "" if score is not None else "not a list of motions", score is None
        )
    number, true_number = _number(said, row["question_type"]), to_number(truth)
    if number is None or true_number is None:
        return Verdict(0.0, None, "not a number", failed=True)
    return Verdict(share_within(guarded_error(number, true_number)), None)


def vlmevalkit(row: Row) -> Verdict:
    """VLMEvalKit's: `can_match_option`, `can_match_na`, and camera motion relative to the truth, where text
    that names no motion stands still.
    """
    kind = kind_of(row)
    if kind != "motion":
        return spatial_choice(row) if kind == "choice" else spatial_number(row)
    said, truth = parse_leniently(text_of(row)), parse_leniently(truth_of(row))
    return Verdict(mean_share(said, truth), None)


def motion_accuracy(said: str, truth: str, parse: Callable[[str], dict[str, float]]) -> float | None:
    """Mean over five axes of mean relative accuracy, the error relative to what was said; None where a text
    does not parse.
    """
    try:
        said_axes, true_axes = parse(said), parse(truth)
    except ValueError:
        return None
    return mean_share(true_axes, said_axes)


def parse_motion(text: str) -> dict[str, float]:
    """`move_right:0.3,rotate_up:10` as a dict. Raises ValueError for anything else."""
    pairs = [item.split(":") for item in text.split(",")]
    return {name: float(value) for name, value in pairs}


def parse_leniently(text: str) -> dict[str, float]:
    """The items of such a list that are well formed."""
    found = {}
    for item in text.split(","):
        name, colon, value = item.strip().partition(":")
        number = to_number(value.strip()) if colon else None
        if number is not None:
            found[name.strip()] = number
    return found


def aggregate(rows: Sequence[Row], with_view_change: bool) -> dict[str, float]:
    """Percent: overall = mean over tasks, then Low, Middle, High and each task.

    with_view_change: whether Middle holds camera motion; in the authors' code its name falls through.
    """
    scores: dict[str, list[float]] = {}
    for row in rows:
        scores.setdefault(row["question_type"], []).append(row["score"])
    means = {task: 100 * float(np.mean(scores[task])) for task in TASKS if task in scores}
    middle = (*MIDDLE, VIEW_CHANGE) if with_view_change else MIDDLE
    figures = {"overall": float(np.mean([*means.values()]))}
    for name, tasks in (("Low", NUMERICAL), ("Middle", middle), ("High", HIGH)):
        known = [means[task] for task in tasks if task in means]
        if known:
            figures[name] = float(np.mean(known))
    return figures | means


def mean_share(said: dict[str, float], truth: dict[str, float]) -> float:
    """Mean over the five axes of the relative accuracy of `said`, by the size of `truth`."""
    shares = []
    for plus, minus in _AXES:
        moved, true_move = (axes.get(plus, 0.0) - axes.get(minus, 0.0) for axes in (said, truth))
        shares.append(share_within(guarded_error(moved, true_move)))
    return float(np.mean(shares))


def _number(said: str, task: str) -> float | None:
    """None where there is none, or one longer than Python converts, at which the published code gives 0."""
    found = _NUMBER.findall(said)
    if any(len(number) > 4300 and "." not in number for number in found):
        return None
    last = task.endswith("_mv")
    if not found:
        return -1.0 if last else None
    return float(found[-1 if last else 0])
