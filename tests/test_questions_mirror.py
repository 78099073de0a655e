"""A mirrored question keeps its right answer right."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tolman.questions.mirror import mirror_question, swap_sides
from tolman.questions.question import Question

ROW = {
    "problem_id": 1,
    "problem": "Standing left of the bed, is the lamp to my front-left or front-right?",
    "problem_type": "multiple choice",
    "options": ["A. front-left", "B. front-right", "C. back"],
    "solution": "<answer>A</answer>",
    "path": "a.mp4",
    "cognitive_map": {"bed": [[0, 3]], "lamp": [[7.5, 9]]},
    "evidence": {"angle": 30},
}


def test_sides_change_and_letters_stay() -> None:
    mirrored = mirror_question(Question.from_row(ROW))
    assert mirrored.problem == "Standing right of the bed, is the lamp to my front-right or front-left?"
    assert mirrored.options == ("A. front-right", "B. front-left", "C. back")
    assert mirrored.answer == "A"
    assert mirrored.cognitive_map == {"bed": [[9, 3]], "lamp": [[1.5, 9]]}
    assert mirrored.evidence == {}


def test_an_answer_in_words_is_turned_over() -> None:
    row = ROW | {"options": None, "problem_type": "free-form", "solution": "<answer>Turn left</answer>"}
    assert mirror_question(Question.from_row(row)).answer == "Turn right"


@pytest.mark.parametrize(
    ("text", "mirrored"),
    [
        ("Left, LEFT, lEFT", "Right, RIGHT, right"),
        ("leftmost, rightward, left-hand, righthand", "rightmost, leftward, right-hand, lefthand"),
        ("bright leftover copyright", "bright leftover copyright"),
        ("front_left2 left_right", "front_left2 right_left"),
    ],
)
def test_only_whole_words_change(text: str, mirrored: str) -> None:
    assert swap_sides(text) == mirrored


@given(st.lists(st.sampled_from(["left", "Right", "back", "front-left", "cleft", "RIGHT", "-", "."])))
def test_twice_mirrored_is_the_same(words: list[str]) -> None:
    text = " ".join(words)
    assert swap_sides(swap_sides(text)) == text
