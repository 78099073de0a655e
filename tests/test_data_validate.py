"""Gold completions, and the check that they pay."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from tolman.data.gold import gold_completion
from tolman.data.rows import read_questions
from tolman.data.validate import ValidationReport, validate, wrong_answer
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
