"""VSI-Bench's official rule, against rows its own code scored and by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tolman.bench.rows import read_rows
from tolman.bench.score import score_rows
from tolman.bench.vsibench import (
    aggregate,
    first_word,
    official,
    official_prompt,
    relative_accuracy,
    row_shares,
)


def row(kind: str, truth: str, prediction: object, **more: Any) -> dict[str, Any]:
    return {
        "id": 1,
        "question_type": kind,
        "ground_truth": truth,
        "options": None,
        "prediction": prediction,
    } | more


def test_every_row_the_official_code_scored(shared_data: Path) -> None:
    rows = read_rows(shared_data / "scorers" / "vsibench__official.jsonl")
    theirs = json.loads((shared_data / "scorers" / "vsibench__official.aggregate.json").read_text())[
        "aggregate"
    ]
    scored = score_rows(rows, "vsibench", "official")
    wrong = [
        r
        for r in scored.rows
        if r["score"] != pytest.approx(r["peer_score"], abs=1e-12) or r["extracted"] != r["peer_extracted"]
    ]
    assert wrong == []
    counts = {"answered": len(rows), "total": len(rows)}
    assert scored.aggregate == pytest.approx(
        {k: v for k, v in theirs.items() if isinstance(v, float)} | counts, abs=1e-9
    )
    assert next(iter(scored.aggregate)) == "overall"


@pytest.mark.parametrize(
    ("prediction", "extracted"),
    [
        ("B", "B"),
        ("B. left", "B"),
        ("B...", "B"),
        (" B", ""),  # a leading space separates first
        ("\nB", "\nB".strip()),  # a leading newline does not
        ("B.\n", "B."),  # the full stop is not last when it is looked for
        ("B .", "B"),
        ("3.5.", "3.5"),
        ("\u00a03\u00a0m", "3\u00a0m"),  # a no-break space is stripped but separates nothing
        ("", ""),
    ],
)
def test_first_word(prediction: str, extracted: str) -> None:
    assert first_word(prediction) == extracted


def test_relative_accuracy_by_hand() -> None:
    # |p - 10| / 10 <= 1 - t: 0.2 <= .5, .45, …, .25 holds for t = .50 … .75, six of ten; 1 - .80 is
    # 0.19999999999999996 in float64, so that the seventh does not hold
    assert float(relative_accuracy(8, 10)) == pytest.approx(0.6)
    assert float(relative_accuracy(7.5, 10)) == pytest.approx(0.6)  # 0.25 <= 1 - 0.75 exactly
    assert float(relative_accuracy(10, 10)) == 1.0
    assert float(relative_accuracy(15, 10)) == pytest.approx(0.1)  # 0.5 <= 1 - 0.5 exactly
    assert float(relative_accuracy(15.0001, 10)) == 0.0
    assert float(relative_accuracy(-10, 10)) == 0.0


@pytest.mark.parametrize(
    ("prediction", "truth", "score"),
    [
        ("nan", "3", 0.0),
        ("inf", "3", 0.0),
        ("3", "inf", 0.0),
        ("inf", "inf", 0.0),
        ("3", "nan", 0.0),
        ("3", "three", 0.0),
        ("three", "3", 0.0),
        ("1e308", "1e-5", 0.0),
        ("1_0", "10", 1.0),  # Python's float reads it
        ("+10", "10", 1.0),
        (
            "5",
            "-10",
            1.0,
        ),  # relative to a negative truth every error is below every bound: the official quirk
        (None, "3", 0.0),
        (3, "3", 1.0),
    ],
)
def test_numbers_at_the_edges(prediction: object, truth: str, score: float) -> None:
    assert official(row("object_abs_distance", truth, prediction)).score == score


def test_a_truth_of_zero_is_named_where_the_official_code_divides_by_it() -> None:
    with pytest.raises(ValueError, match="row 7: the ground truth of object_counting is '0'"):
        official(row("object_counting", "0", "3", id=7))
    assert official(row("object_counting", "0", "none")).score == 0.0  # no division is reached there


def test_letters_ignore_case_and_nothing_else() -> None:
    assert official(row("route_planning", "C", "c. Turn Left")).score == 1.0
    assert official(row("route_planning", "C", "(C)")).score == 0.0
    assert official(row("route_planning", "C", None)).score == 0.0


def test_unknown_type_lists_the_known() -> None:
    with pytest.raises(ValueError, match="'colour' is not one of VSI-Bench's: object_counting, "):
        official(row("colour", "A", "A"))


def test_aggregate_by_hand() -> None:
    # counting (1 + .5) / 2 = .75; direction: easy 1, hard (0 + 1) / 2 = .5, no medium → (1 + .5) / 2 = .75;
    # route 0. overall (.75 + .75 + 0) / 3 = .5
    kinds = ["object_counting"] * 2 + ["object_rel_direction_easy"] + ["object_rel_direction_hard"] * 2
    kinds += ["route_planning", "route_planning"]
    scores = [1.0, 0.5, 1.0, 0.0, 1.0, 0.0, float("nan")]
    assert aggregate(kinds, scores) == pytest.approx(
        {
            "overall": 50.0,
            "object_counting_MRA:.5:.95:.05": 75.0,
            "object_rel_direction_accuracy": 75.0,
            "route_planning_accuracy": 0.0,
        }
    )
    with pytest.raises(ValueError, match="no gradable row"):
        aggregate(["route_planning"], [float("nan")])


def test_row_shares_give_the_same_overall() -> None:
    kinds = ["object_counting"] * 2 + ["object_rel_direction_easy"] + ["object_rel_direction_hard"] * 2
    # two tasks of 1/2: counting rows 1/4 each; direction: easy 1/4, hard 1/8 each
    assert row_shares(kinds) == pytest.approx([0.25, 0.25, 0.25, 0.125, 0.125])
    scores = np.array([1.0, 0.5, 1.0, 0.0, 1.0])
    assert 100 * float(row_shares(kinds) @ scores) == pytest.approx(aggregate(kinds, list(scores))["overall"])


def test_official_prompt() -> None:
    assert official_prompt("How many chairs?", None) == (
        "These are frames of a video.\nHow many chairs?\n"
        "Please answer the question using a single word or phrase."
    )
    assert official_prompt("Which?", ["A. bed", "B. tv"]) == (
        "These are frames of a video.\nWhich?\nOptions:\nA. bed\nB. tv\n"
        "Answer with the option's letter from the given choices directly."
    )
