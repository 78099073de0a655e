"""The strict rule by kind of answer: what it reads, what it will not guess."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tolman.bench.benchmark import KINDS
from tolman.bench.strict import judge

TEXTS = [
    "a" * 300,
    "the answer is " * 50,
    "<answer>B",
    "<answer></answer>",
    "<think>B",
    "\\boxed{",
    "\x00\ud800",
    "[[[[",
    "1,2,3.4.5",
    "(" * 200,
    "\n\n\n",
]


def score(kind: str, prediction: Any, truth: Any, options: list[str] | None = None, unit: str = "") -> float:
    row = {"question_type": "x", "ground_truth": truth, "prediction": prediction, "options": options}
    return judge(row, kind, unit).score


@pytest.mark.parametrize(
    "prediction",
    [
        "B",
        "**B**",
        "`B`",
        "$B$",
        "\\boxed{B}",
        "I look around.\nAnswer: B",
        "A is behind. The answer is **B**.",
        "**Answer: B**",
        "The correct option is (B)",
        "B\n\nBecause it is to the right.",
        "<answer>**B. right**</answer>",
        "<think>use <answer> tags</think>B",
        "so " * 2000 + "\nB",
    ],
)
def test_an_answer_that_is_stated_is_read(prediction: str) -> None:
    assert score("choice", prediction, "B", ["left", "right", "back"]) == 1.0


@pytest.mark.parametrize(
    "prediction",
    [
        "A or B",
        "The answer is A or B",
        "B\nA",
        "Because of the bed",
        "<answer>B",
        "B, not A",
        "",
        "the bed",
        None,
    ],
)
def test_what_names_no_single_option_is_not(prediction: str | None) -> None:
    assert score("choice", prediction, "B", ["left", "right", "back"]) == 0.0


@pytest.mark.parametrize(
    ("kind", "prediction", "truth", "expected"),
    [
        ("choice", "B", "right", 1.0),  # a truth that is the option's text
        ("letters", "A, C", "CA", 1.0),
        ("letters", "A and C", "A,C", 1.0),
        ("letters", "A", "A,C", 0.0),
        ("letters", "Cab", "A,B,C", 0.0),  # letters in a word
        ("yes or no", "Yes, it is.", "yes", 1.0),
        ("yes or no", "nothing", "no", 0.0),
        ("numeric", "I see 3 chairs and 1 table.\nThe answer is 4.", "4", 1.0),
        ("numeric", "between 3 and 7", "3", 0.0),
        ("numeric", "four", "4", 1.0),
        ("span", "[2.0, 6.0]", [4.0, 8.0], 1 / 3),  # 2 of 6 seconds
        ("span", "2 - 6 seconds", "[4.0, 8.0]", 1 / 3),
        ("span", "from 2 to 6 of 30", [2.0, 6.0], 0.0),
        ("span", "6 - 2", [2.0, 6.0], 0.0),
        ("span", [2.0, 6.0], [2.0, 6.0], 1.0),
        ("text", "The kitchen.", "the Kitchen", 1.0),
        ("text", "in the kitchen", "kitchen", 0.0),
        ("text", "Option 2", "Option 2: A man eats.", 1.0),
        ("motion", "move_right:0.5", "move_right:0.5", 1.0),
        ("motion", "right", "move_right:0.5", 0.0),
    ],
)
def test_kinds_by_hand(kind: str, prediction: Any, truth: Any, expected: float) -> None:
    assert score(kind, prediction, truth, ["left", "right"]) == pytest.approx(expected)


def test_boxes_by_hand() -> None:
    truth = [{"timestamp": k, "xmin": 0, "ymin": 0, "xmax": 10, "ymax": 10} for k in range(2)]
    # frame 0: half of it, 50 / 100; frame 1 is left out
    assert score("boxes", {"0": [0, 0, 5, 10]}, truth) == pytest.approx(0.25)
    assert score("boxes", "[0, 0, 5, 10]", truth) == 0.0


@pytest.mark.parametrize("kind", ["choice", "letters", "yes or no", "numeric", "motion", "text"])
def test_a_truth_that_cannot_be_read_is_not_graded(kind: str) -> None:
    assert math.isnan(score(kind, "B", "?" if kind != "text" else " ", ["left", "right"]))


def test_another_kind_is_named() -> None:
    with pytest.raises(ValueError, match="answer kind 'smell' is not one of choice, letters"):
        score("smell", "B", "B")


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"boxes", "span"}))
@given(text=st.one_of(st.text(max_size=60), st.sampled_from(TEXTS)))
def test_no_text_breaks_it_and_no_score_leaves_the_unit_interval(kind: str, text: str) -> None:
    found = score(kind, text, "1" if kind == "numeric" else "B", ["left", "right"])
    assert math.isnan(found) or 0 <= found <= 1


@given(text=st.one_of(st.text(alphabet="0123456789.-–to, []()s", max_size=40), st.sampled_from(TEXTS)))
def test_no_text_breaks_spans(text: str) -> None:
    assert 0 <= score("span", text, [1.0, 2.0]) <= 1
