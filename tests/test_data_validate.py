"""Gold completions, and the check that they pay."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from tolman.data.gold import gold_completion
from tolman.data.rows import read_questions
from tolman.data.validate import ANSWER_REWARDS, ValidationReport, validate, wrong_answer
from tolman.questions.question import Question
from tolman.reward.graded import Graded
from tolman.reward.registry import REWARDS


def question(answer: str = "B", **changes: object) -> Question:
    row: dict[str, object] = {
        "problem_id": "q", "problem": "Where?", "problem_type": "multiple choice", "path": "",
        "options": ["A. left", "B. right"], "solution": f"<answer>{answer}</answer>",
    }  # fmt: skip
    return Question.from_row(row | changes)


def number(answer: str) -> Question:
    return question(answer, options=None, problem_type="numerical")


class TestGold:
    def test_with_its_map(self) -> None:
        asked = question(cognitive_map={"sofa": [[0, 9]], "chair": [[1.0, 2.0], [3, 4]]})
        expected = '<think><map>{"chair": [[1, 2], [3, 4]], "sofa": [[0, 9]]}</map></think><answer>B</answer>'
        assert gold_completion(asked) == expected

    def test_without(self) -> None:
        assert gold_completion(question()) == "<think></think><answer>B</answer>"
        asked = question(cognitive_map={"chair": [[1, 2]]})
        assert gold_completion(asked, with_map=False) == "<think></think><answer>B</answer>"

    def test_a_bare_solution(self) -> None:
        assert gold_completion(question(solution=" 0.35 ")) == "<think></think><answer>0.35</answer>"


class TestWrong:
    @pytest.mark.parametrize(
        ("asked", "wrong"),
        [
            (question("A"), "B"),
            (question("B"), "A"),
            (question("left"), "B"),  # the answer may be the option's text
            (question("A. left Bed"), "B"),  # a letter inside a word names no option
            (question("A, b", options=["A. a", "B. b", "C. c"]), "C"),
            (question("J", options=[f"{letter}. {letter}?" for letter in "ABCDEFGHIJ"]), "A"),
            (number("2"), "13"),  # 3 · 2 + 7
            (number("0"), "7"),
            (number("-2.5"), "-14.5"),  # 3 · −2.5 − 7
            (number("1,000"), "3007"),
            (question("a sofa", options=None), "none of what this question is about"),
        ],
    )
    def test_by_hand(self, asked: Question, wrong: str) -> None:
        assert wrong_answer(asked) == wrong

    def test_nothing_is_wrong(self) -> None:
        with pytest.raises(ValueError, match="no option is wrong"):
            wrong_answer(question("A", options=["A. left"]))


class TestValidate:
    def test_what_passes(self) -> None:
        report = validate([question(), number("2.3")], REWARDS["accuracy"]())
        assert report == ValidationReport(2, 2, [])
        assert str(report) == "2 of 2 questions pass"

    def test_a_gold_answer_that_does_not_pay(self) -> None:
        report = validate([question(), question("", problem_id=7)], lambda c, q: Graded(0.5, "half"))
        assert (report.total, report.passed) == (2, 0)
        assert report.failures[1].problem_id == 7
        assert report.failures[1].value == 0.5
        assert "falls short: half" in str(report)

    def test_a_row_that_cannot_be_graded(self) -> None:
        (failure,) = validate([number("many")], REWARDS["accuracy"]()).failures
        assert math.isnan(failure.value)

    def test_broken_rows_are_failures_of_their_own(self) -> None:
        alone = question("A", options=["A. left"], problem_id="alone")
        broken = question(layout={"chair": [[3, 3, 1, 1]]}, problem_id="layout")
        many = question("A", options=["A. left"] * 27, problem_id="many")
        report = validate([alone, broken, many, question()], REWARDS["accuracy"]())
        assert (report.total, report.passed) == (4, 1)
        assert [failure.problem_id for failure in report.failures] == ["alone", "layout", "many"]
        assert [failure.reason.split(":")[0] for failure in report.failures] == [
            "no option is wrong", "question layout", "27 options, but only 26 letters to name them",
        ]  # fmt: skip

    def test_a_wrong_answer_that_pays(self) -> None:
        (failure,) = validate([question()], lambda c, q: Graded(1.0, "always")).failures
        assert failure.reason == "the wrong answer 'A' earns full marks: always"

    def test_rewards_that_do_not_look_at_the_answer(self) -> None:
        assert validate([question()], lambda c, q: Graded(1.0, "always"), catches_wrong=False).passed == 1
        assert validate([question()], lambda c, q: Graded(0.9, "never"), catches_wrong=False).passed == 0

    def test_full_marks_other_than_one(self) -> None:
        def reward(completion: str, asked: Question) -> Graded:
            return Graded(1.5 if "<answer>B</answer>" in completion else 0.5, "")

        assert validate([question()], reward, full=1.5).passed == 1
        assert validate([question()], reward, full=2.0).passed == 0

    def test_published_rows(self, shared_data: Path) -> None:
        rows = read_questions(shared_data / "benchmarks" / "video_r1_format" / "eval_vsibench.json")
        report = validate(rows, REWARDS["accuracy"]())
        assert report.passed == report.total, str(report)


BOX, TRACK = [1, 2, 30, 40], {"1": [1, 2, 30, 40], "2": [2, 2, 31, 40]}
KEYED = {
    "key_frames": [{"idx": 7, "time": 3.0}, {"idx": 9, "time": 4.0}],
    "key_items": {"7": {"chair": [[0.1, 0.2, 0.6, 0.8]]}, "9": {"chair": [[0.1, 0.2, 0.5, 0.8]]}},
    "image_size": [100, 100],
}
CORNERS = {"chair": [[0, 0, 0.5, 0.5]], "table": [[2, 2, 3.5, 3]]}
ROWS = {
    "accuracy": question(),
    "soft_choice": question("A,B", options=["A. a", "B. b", "C. c"]),
    "ocr": question("EXIT", options=None, problem_type="OCR"),
    "free_form": question("left", options=None, problem_type="free-form"),  # a word has no pairs of words
    "regression": question("2.5", options=None, problem_type="regression"),
    "temporal_iou": question('{"time": [1.5, 3]}', options=None, problem_type="temporal grounding"),
    "box_iou": question(json.dumps({"boxes": BOX}), options=None, problem_type="spatial grounding"),
    "spatio_temporal_iou": question(
        json.dumps({"time": [1, 3], "boxes": TRACK}), options=None, problem_type="spatial-temporal grounding"
    ),
    "tracking": question(json.dumps({"boxes": TRACK}), options=None, problem_type="tracking"),
    "spacer_accuracy": question(cognitive_map={"chair": [[1, 2]], "table": [[7, 7]]}),
    "map": question(cognitive_map={"chair": [[1, 2], [8, 1]], "table": [[7, 7]]}),
    "layout": question(layout=CORNERS),
    "format": question(),
    "evidence_format": question(task="General video QA MCQ"),
    "evidence_times": question(**KEYED),
    "evidence_boxes": question(**KEYED),
    "evidence_segment": question("[2, 5]", options=None, problem_type="temporal grounding", **KEYED),
    "keyframes": question(**KEYED),
}
"""A row that each reward can grade. The rest need a judge or an embedding (two consistency rewards, semantic
similarity), pay for a length (length) or for form in half marks (answer_structure)."""
ELSEWHERE = {
    "think_answer_consistency", "semantic_consistency", "semantic_similarity", "length", "answer_structure",
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(set(REWARDS) - ELSEWHERE))
def test_gold_earns_full_marks_under_every_reward_and_a_wrong_answer_none(name: str) -> None:
    report = validate([ROWS[name]], REWARDS[name](), catches_wrong=name in ANSWER_REWARDS)
    assert report.passed == 1, str(report)


@pytest.mark.parametrize("name", sorted(set(ROWS) - ANSWER_REWARDS - {"evidence_segment"}))
def test_rewards_that_do_not_judge_the_answer_are_named_as_such(name: str) -> None:
    report = validate([ROWS[name]], REWARDS[name]())
    assert "earns full marks" in str(report)  # so they may not stand for the accuracy of a recipe
