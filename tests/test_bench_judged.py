"""OpenEQA's rule: what its judge is asked, what is made of the marks, and by the command line."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from chat_world import serving
from judge_world import Scripted
from tolman.bench.rules import openeqa
from tolman.bench.score import find_rule, score_rows
from tolman.cli.main import main


def row(number: int, prediction: Any, **more: Any) -> dict[str, Any]:
    return {
        "id": number, "question_type": "object state", "question": "Is it on?", "ground_truth": "no",
        "prediction": prediction,
    } | more  # fmt: skip


def test_marks_become_shares_and_what_is_not_marked_is_not_graded() -> None:
    judge = Scripted("5", "Your mark: 2\nso", "7", "good", None)
    rows = [row(k, f"It is off {k}. Or") for k in range(5)] + [row(5, None)]
    found = score_rows(rows, "openeqa", "official", judge)
    scores = [each["score"] for each in found.rows]
    assert scores[:3] == [1.0, 0.25, 1.0]  # marks beyond 5 are 5
    assert all(math.isnan(score) for score in scores[3:5])
    assert scores[5] == 0.0  # no answer: nobody is asked
    assert found.ungraded == 2
    assert found.aggregate["overall"] == pytest.approx(100 * 2.25 / 4)
    assert [each["reason"] for each in found.rows[3:5]] == ["the judge gives no mark: 'good'", "gone"]
    assert len(judge.prompts) == 5


def test_the_judge_is_told_question_answer_and_what_was_said_to_its_last_full_stop() -> None:
    plain = openeqa.words(row(1, "It is off. Or so"))
    assert plain.endswith("Your Turn:\nQuestion: Is it on?\nAnswer: no\nResponse: It is off.")
    assert "Extra Answers" not in plain
    assert plain.count("Your mark:") == 3
    more = openeqa.words(row(1, "off", extra_answers=["it is off", "off"]))
    assert more.endswith("Answer: no\nExtra Answers: ['it is off', 'off']\nResponse: off")
    assert "any of the extra answers" in more


def test_without_a_judge_it_says_so() -> None:
    with pytest.raises(
        ValueError, match="this rule asks a model: name one, as tolman score does with --judge"
    ):
        score_rows([row(1, "off")], "openeqa", "official")
    assert find_rule("openeqa", "official").asks is openeqa.marked


def test_by_the_command_line_with_a_server(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "predictions.jsonl"
    file.write_text("\n".join(json.dumps(row(k, f"off {k}")) for k in range(3)))
    figures = tmp_path / "figures.json"
    asked = ["score", str(file), "--benchmark", "openeqa", "--json", str(figures)]
    with serving(lambda body: "4") as world:
        server = ["--judge", world.url, "--judge-model", "marker"]
        assert main([*asked, *server]) == 0
        assert main([*asked, *server]) == 0
    assert len(world.got) == 3  # the second time, replies are those beside the predictions
    assert all(body["messages"][0]["content"].startswith("You are an AI assistant") for body in world.got)
    found = json.loads(figures.read_text())
    assert (found["rule"], found["overall"], found["strict"]["overall"]) == ("judge", 75.0, 0.0)
    capsys.readouterr()
    assert main([*asked, "--judge", "http://localhost:1/v1"]) == 2
    assert "--judge needs --judge-model NAME" in capsys.readouterr().err
    assert main(["eval", "--benchmark", "openeqa"]) == 2
    assert "asks a model: ask the questions with --rule strict" in capsys.readouterr().err
