"""Auditing a foreign question file against the scenes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tolman.data.audit import AuditRow, agrees, audit, audit_row, read_audit_rows, report_table
from tolman.questions.ask import ask
from tolman.questions.recompute import Recomputed
from tolman.scenes import Box, Item, Scene
from tolman.scenes.vsibench import read_vsibench

ROOM = (
    "What is the size of this room (in square meters)? \n"
    "If multiple rooms are shown, estimate the size of the combined space."
)
COUNT = "How many chair(s) are in this room?"


def room() -> Scene:
    items = [
        Item("chair", Box(np.array([x, 0.0, 0.5]), np.ones(3), np.eye(3)), f"chair/{k}")
        for k, x in enumerate((0.0, 2.0, 4.0))
    ]
    return Scene("s1", tuple(items), floor_area=12.34)


def official(**changes: Any) -> dict[str, Any]:
    row = {
        "id": 5,
        "dataset": "scannet",
        "scene_name": "s1",
        "question_type": "object_counting",
        "question": COUNT,
        "options": None,
        "ground_truth": "3",
    }
    return row | changes


def test_counts_and_disagreements() -> None:
    rows = [
        official(),
        official(id=6, ground_truth="4"),
        official(id=7, scene_name="elsewhere"),
        official(id=8, question="How many sofa(s) are in this room?"),
        official(id=9, question_type="room_size_estimation", question=ROOM, ground_truth="12.3"),
    ]
    report = audit([room()], rows)
    result = report.to_json()
    assert result["tasks"] == {
        "object_counting": {"total": 4, "computable": 2, "agree": 1, "rate": 0.5},
        "room_size_estimation": {"total": 1, "computable": 1, "agree": 1, "rate": 1.0},
    }
    assert (result["total"], result["computable"], result["agree"]) == (5, 3, 2)
    (wrong,) = result["disagreements"]
    assert (wrong["id"], wrong["scene"], wrong["theirs"], wrong["ours"]) == ("6", "s1", "4", "3")
    assert "3 items" in wrong["why"]
    assert [row["id"] for row in result["uncomputable"]] == ["7", "8"]
    assert "no scene named 'elsewhere'" in result["uncomputable"][0]["why"]
    assert json.loads(json.dumps(result)) == result
    table = report_table(report)
    assert "object_counting           4           2      1   50.0 %" in table
    assert "theirs 4, ours 3" in table


@pytest.mark.parametrize(
    ("family", "theirs", "answer", "value", "same"),
    [
        ("object_rel_distance", "B", "B", 1.0, True),
        ("object_rel_distance", "B. sofa", "B", 1.0, True),
        ("object_rel_distance", "A", "B", 1.0, False),
        ("object_rel_distance", "Bed", "B", 1.0, False),
        ("object_rel_direction", "Right", "right", -40.0, True),
        ("object_rel_direction", "left", "right", -40.0, False),
        ("object_size_estimation", "91", "91", 90.84, True),
        ("object_size_estimation", "90", "91", 90.84, False),
        ("object_size_estimation", "90.84", "91", 90.8431, True),
        ("object_size_estimation", "90.83", "91", 90.8431, False),
        ("room_size_estimation", "26.4", "26.4", 26.371, True),
        ("room_size_estimation", "26", "26.4", 26.371, True),
        ("room_size_estimation", "large", "26.4", 26.371, False),
        # 0.1 m below 1 m, a tenth above it.
        ("object_abs_distance", "0.5", "0.4", 0.4, True),
        ("object_abs_distance", "0.5", "0.4", 0.39, False),
        ("object_abs_distance", "5.0", "4.5", 4.5, True),
        ("object_abs_distance", "5.0", "4.5", 4.49, False),
        ("object_abs_distance", "5.0", "5.5", 5.51, False),
    ],
)
def test_agreement(family: str, theirs: str, answer: str, value: float, same: bool) -> None:
    row = AuditRow("1", "s1", family, "?", None, theirs)
    assert agrees(row, Recomputed(answer, value, "")) is same


def test_other_layouts() -> None:
    spacer = {
        "problem_id": 1,
        "problem": f"Question:\n{COUNT}",
        "question_type": "object_counting",
        "solution": "3",
        "video": "ScanNet/video/scene0024_02.mp4",
    }
    expected = AuditRow("1", "scene0024_02", "object_counting", f"Question:\n{COUNT}", None, "3")
    assert audit_row(spacer) == expected
    video_r1 = {
        "problem_id": 0,
        "problem": COUNT,
        "original_question_type": "object_counting",
        "options": None,
        "solution": "<answer>4</answer>",
        "path": "./arkitscenes/41069025.mp4",
    }
    assert audit_row(video_r1) == AuditRow("0", "41069025", "object_counting", COUNT, None, "4")


def test_our_own_questions_agree(tmp_path: Path) -> None:
    scene = room()
    file = tmp_path / "questions.jsonl"
    questions = ask(scene, None, 0)
    file.write_text("".join(question.to_json() + "\n" for question in questions))
    report = audit([scene], read_audit_rows(file))
    assert report.sum.agree == report.sum.total == len(questions) > 0


def test_bad_files(tmp_path: Path) -> None:
    file = tmp_path / "rows.json"
    for text, message in (
        ("[1", "neither a JSON array nor JSON lines"),
        ("[1]", "row 1: must be an object"),
        ("[]", "no question"),
        (json.dumps([official(), official(question="")]), "row 2: lacks question or problem"),
        (json.dumps([official(options="A")]), "options must be a list"),
        (json.dumps([official(ground_truth=True)]), "row 1: lacks ground_truth or solution"),
    ):
        file.write_text(text)
        with pytest.raises(ValueError, match=message) as caught:
            read_audit_rows(file)
        assert "rows.json" in str(caught.value)
    with pytest.raises(ValueError, match="cannot be read"):
        read_audit_rows(tmp_path / "none.json")
    with pytest.raises(ValueError, match="two scenes are named 's1'"):
        audit([room(), room()], [])


def test_official_file(shared_data: Path) -> None:
    folder = shared_data / "vsibench"
    report = audit(read_vsibench(folder), read_audit_rows(folder / "questions_arkitscenes.json"))
    rates = {name: task.rate for name, task in report.tasks.items()}
    assert report.sum.total == 1601
    for name, least in (("object_counting", 0.99), ("object_abs_distance", 0.97)):
        assert (rates.pop(name) or 0) >= least
    assert set(rates.values()) == {1.0}
