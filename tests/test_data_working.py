"""Workings: every number by hand, in the question's own words, and silence where a map says nothing."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tolman.data.gold import gold_completion
from tolman.data.working import working
from tolman.questions.question import Question

MAP = {
    "washer": [[8, 6]], "refrigerator": [[6, 9]], "bathtub": [[6, 0]], "toilet": [[1, 9]],
    "chair": [[7, 8], [1, 2]],
}  # fmt: skip
NOTE = "(Note: for each [please fill in], choose either 'turn back,' 'turn left,' or 'turn right.')"


def asked(
    problem: str, options: list[str] | None = None, answer: str = "A", drawn: dict[str, Any] = MAP
) -> Question:
    """A question about the room of `drawn`."""
    row: dict[str, Any] = {
        "problem_id": "1", "problem": problem, "data_type": "video", "path": "a.mp4", "options": options,
        "problem_type": "multiple choice" if options else "numerical",
        "solution": f"<answer>{answer}</answer>", "cognitive_map": drawn,
    }  # fmt: skip
    return Question.from_row(row)


def direction(stand: str, face: str, target: str) -> str:
    """A question of the easy kind."""
    return (
        f"If I am standing by the {stand} and facing the {face}, is the {target} "
        f"to the left or the right of the {face}?"
    )


SIDES = ["A. left", "B. right"]


@pytest.mark.parametrize(
    ("question", "said"),
    [
        # (8, 6) to (6, 9): atan2(3, -2) = 123.7 degrees; to (6, 0): atan2(-6, -2) = 251.6
        (
            asked(direction("washer", "refrigerator", "bathtub"), ["A. right", "B. left"], "B"),
            " by the washer 8 6; facing the refrigerator 6 9: -2 3, 120; is the bathtub 6 0: -2 -6, 250; "
            "turn 250-120=130, left: A. right, B. left",
        ),
        # to the bathtub and from there back up: 250 to atan2(9, -5) = 119.05
        (
            asked(
                "You are a robot beginning at the washer and facing the bathtub. You want to navigate to the "
                f"toilet. You will perform the following actions {NOTE}: 1. Go forward until the bathtub "
                "2. [please fill in] 3. Go forward until the toilet. You have reached the final destination.",
                ["A. Turn Back", "B. Turn Left", "C. Turn Right"],
                "C",
            ),
            " at the washer 8 6; facing the bathtub 6 0: -2 -6, 250; 1. Go forward until the bathtub 6 0: "
            "-2 -6, 250; 3. Go forward until the toilet 1 9: -5 9, 120; turn 120-250=-130, Turn Right: "
            "A. Turn Back, B. Turn Left, C. Turn Right",
        ),
        # turns at once, goes to the toilet, turns there
        (
            asked(
                "You are a robot beginning at the washer and facing the bathtub. You want to navigate to the "
                f"refrigerator. You will perform the following actions {NOTE}: 1. [please fill in] "
                "2. Go forward until the toilet 3. [please fill in] 4. Go forward until the refrigerator. "
                "You have reached the final destination.",
                ["A. Turn Right, Turn Back", "B. Turn Back, Turn Left"],
            ),
            " at the washer 8 6; facing the bathtub 6 0: -2 -6, 250; 2. Go forward until the toilet 1 9: "
            "-7 3, 160; turn 160-250=-90, Turn Right; 4. Go forward until the refrigerator 6 9: 5 0, 0; "
            "turn 0-160=-160, Turn Back: A. Turn Right, Turn Back",
        ),
        (
            asked(
                "Measuring from the closest point of each object, what is the distance between the washer "
                "and the refrigerator (in meters)?",
                answer="0.7",
            ),
            " between the washer 8 6 and the refrigerator 6 9: 2 3, 3.6",
        ),
        (
            asked(
                "Measuring from the closest point of each object, which of these objects (chair, bathtub, "
                "refrigerator) is the closest to the toilet?",
                ["A. chair", "B. bathtub", "C. refrigerator"],
                "C",
            ),
            " closest to the toilet 1 9; A. chair 1 2: 0 7, 7.0 A; A. chair 7 8: 6 1, 6.1 < 7.0 A; "
            "B. bathtub 6 0: 5 9, 10.3 > 6.1 A; C. refrigerator 6 9: 5 0, 5.0 < 6.1 C: C",
        ),
        (asked("How many chair(s) are in this room?", answer="2"), " many chair(s): 1 2; 7 8"),
    ],
)
def test_workings(question: Question, said: str) -> None:
    assert working(question) == said
    whole = gold_completion(question, worked=True)
    assert whole.endswith(f"</map>{said}</think><answer>{question.answer}</answer>")
    assert gold_completion(question) == whole.replace(f"</map>{said}", "</map>")


@pytest.mark.parametrize(
    "question",
    [
        asked("What is the size of this room (in square meters)?", answer="20"),
        asked(direction("washer", "chair", "bathtub"), SIDES),  # two chairs: which?
        asked(direction("washer", "sofa", "bathtub"), SIDES),  # no sofa
        asked("How many sofa(s) are in this room?", answer="2"),
        asked(direction("washer", "refrigerator", "bathtub"), SIDES, drawn={}),
        asked("Where?", ["A", "B"]),
    ],
)
def test_nothing_is_said_where_the_map_does_not_decide(question: Question) -> None:
    assert working(question) == ""
    assert "</map></think>" in gold_completion(question, worked=True)


cells = st.tuples(st.integers(0, 9), st.integers(0, 9)).map(list)


@given(st.tuples(cells, cells, cells))
def test_a_turn_is_the_signed_angle_between_the_legs(places: tuple[list[int], list[int], list[int]]) -> None:
    stand, face, target = places
    drawn = {"washer": [stand], "bed": [face], "sofa": [target]}
    *_, end = working(asked(direction("washer", "bed", "sofa"), SIDES, drawn=drawn)).split("; ")
    difference, *sums = end.removeprefix("turn ").partition(",")[0].split("=")
    said = int(sums[-1])
    assert -180 < said <= 180
    assert (int(sums[0]) - said) % 360 == 0
    assert (len(sums) == 2) == (int(sums[0]) != said)
    bearing, ahead = (int(number) for number in difference.split("-"))
    assert int(sums[0]) == bearing - ahead
    legs = [complex(end[0] - stand[0], end[1] - stand[1]) for end in (face, target)]
    if 0 in legs:  # a leg without length has no bearing; it is written as 0
        return
    turn = math.degrees(math.atan2((legs[1] / legs[0]).imag, (legs[1] / legs[0]).real))
    assert abs((said - turn + 180) % 360 - 180) <= 10 + 1e-9  # both bearings are rounded to 10 degrees
