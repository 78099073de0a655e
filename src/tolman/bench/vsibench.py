"""VSI-Bench: its tasks, its question files and its official rule.

The official rule is that of vision-x-nyu/thinking-in-space (`lmms_eval/tasks/vsibench/utils.py`): the answer
is the text before the first blank, and nothing else is looked for. Where that code ends in an exception we
say what happens instead: a prediction of None counts as the empty answer; a numerical truth of zero, by which
it would divide, is a ValueError naming the row; a task or direction level without rows is left out of the
averages it belongs to.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tolman.bench.rules.common import relative_error, share_within, to_number
from tolman.bench.verdict import Row, Verdict, text_of, truth_of
from tolman.reward.accuracy import THRESHOLDS

NUMERICAL = ("object_counting", "object_abs_distance", "object_size_estimation", "room_size_estimation")
DIRECTIONS = ("object_rel_direction_easy", "object_rel_direction_medium", "object_rel_direction_hard")
CHOICE = ("object_rel_distance", *DIRECTIONS, "route_planning", "obj_appearance_order")
DIRECTION_TASK = "object_rel_direction"
TASKS = (*NUMERICAL, "object_rel_distance", DIRECTION_TASK, "route_planning", "obj_appearance_order")
UNITS = {
    "object_counting": "count",
    "object_abs_distance": "m",
    "object_size_estimation": "cm",
    "room_size_estimation": "m²",
}
_MRA_NAME = "MRA:.5:.95:.05"


def task_of(question_type: str) -> str:
    """The benchmark's task a question type counts for: the three direction levels are one task.

    Raises ValueError for a type VSI-Bench does not have.
    """
    if question_type in DIRECTIONS:
        return DIRECTION_TASK
    if question_type not in TASKS:
        raise ValueError(
            f"question_type {question_type!r} is not one of VSI-Bench's: {', '.join((*NUMERICAL, *CHOICE))}"
        )
    return question_type


def first_word(prediction: str) -> str:
    """The official reading: the text before the first space, without full stops at its end, stripped.

    Only U+0020 separates; a leading space therefore leaves the empty answer, a leading newline does not.
    """
    return prediction.split(" ")[0].rstrip(".").strip()


def relative_accuracy(predictions_N: npt.ArrayLike, truths_N: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """MRA: the share of t in .50, .55, …, .95 with |prediction - truth| / truth <= 1 - t, in float64,
    elementwise.

    The two arguments broadcast. Not a number and infinite predictions score 0. A truth of 0 scores 0 here.
    """
    predictions = np.asarray(predictions_N, dtype=np.float64)
    truths = np.asarray(truths_N, dtype=np.float64)
    with np.errstate(all="ignore"):
        relative = np.abs(predictions - truths) / truths
    relative = np.where(truths == 0, np.nan, relative)
    return np.asarray((relative[..., None] <= 1 - THRESHOLDS).mean(axis=-1))


def official(row: Row) -> Verdict:
    """The official verdict on a row with `question_type`, `ground_truth` and `prediction`.

    Raises ValueError for an unknown question type and for a numerical truth of zero.
    """
    task = task_of(row["question_type"])
    extracted, truth = first_word(text_of(row)), truth_of(row)
    if task not in NUMERICAL:
        return Verdict(float(extracted.lower() == truth.lower()), extracted, failed=len(extracted) != 1)
    number, true_number = to_number(extracted), to_number(truth)
    if number is None or true_number is None:
        return Verdict(0.0, extracted, "not a number", failed=number is None)
    if true_number == 0:
        raise ValueError(
            f"row {row.get('id', '?')}: the ground truth of {task} is {truth!r}, "
            "by which relative accuracy divides; mend or leave out the row"
        )
    return Verdict(share_within(relative_error(number, true_number)), extracted)


def metric_name(task: str) -> str:
    """The official name of a task's figure: `<task>_accuracy` or `<task>_MRA:.5:.95:.05`."""
    return f"{task}_{_MRA_NAME if task in NUMERICAL else 'accuracy'}"


def row_shares(question_types: Sequence[str]) -> npt.NDArray[np.float64]:
    """(N,) what each row's score counts in the overall figure (sums to 1).

    overall = mean over the tasks that occur; a task = mean of its rows; direction = mean of the levels that
    occur.
    """
    if not question_types:
        raise ValueError("no rows: there is nothing to average")
    tasks = {task_of(kind) for kind in question_types}
    levels = {kind for kind in question_types if kind in DIRECTIONS}
    counts = {kind: question_types.count(kind) for kind in set(question_types)}
    shares = [
        1 / len(tasks) / counts[kind] / (len(levels) if kind in DIRECTIONS else 1) for kind in question_types
    ]
    return np.array(shares)


def aggregate(question_types: Sequence[str], scores: Sequence[float]) -> dict[str, float]:
    """The official figures in percent: `overall` first, then one per task that occurs, in the official order.

    Rows whose score is NaN (not gradable) are left out. Raises ValueError where no row is left.
    """
    kept = [
        (kind, score) for kind, score in zip(question_types, scores, strict=True) if not math.isnan(score)
    ]
    by_type: dict[str, list[float]] = {}
    for kind, score in kept:
        task_of(kind)
        by_type.setdefault(kind, []).append(score)
    means = {kind: float(np.mean(values)) for kind, values in by_type.items()}
    levels = [means[level] for level in DIRECTIONS if level in means]
    if levels:
        means[DIRECTION_TASK] = sum(levels) / len(levels)
    figures = {metric_name(task): 100 * means[task] for task in TASKS if task in means}
    if not figures:
        raise ValueError("no gradable row: there is nothing to average")
    return {"overall": sum(figures.values()) / len(figures)} | figures


def macro(rows: Sequence[Row]) -> dict[str, float]:
    """`aggregate` of scored rows."""
    return aggregate([row["question_type"] for row in rows], [row["score"] for row in rows])


def official_prompt(problem: str, options: Sequence[str] | None) -> str:
    """The benchmark's own words around a question (`_default_template_yaml` of the official repository)."""
    if options:
        asked = ["Options:", *options, "Answer with the option's letter from the given choices directly."]
    else:
        asked = ["Please answer the question using a single word or phrase."]
    return "\n".join(["These are frames of a video.", problem, *asked])
