"""Scoring files of predictions: the registry, the strict rule, the table."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from tolman.bench.figures import compare, figures_of
from tolman.bench.load import load_questions
from tolman.bench.rows import read_rows, vsibench_question, write_rows
from tolman.bench.score import find_rule, score_rows

OPTIONS = ["A. left", "B. right", "C. back"]


def row(
    prediction: object, truth: str = "B", kind: str = "object_rel_direction_medium", **more: Any
) -> dict[str, Any]:
    options = None if kind.startswith(("object_size", "object_abs")) else OPTIONS
    return {
        "id": 1,
        "question_type": kind,
        "ground_truth": truth,
        "options": options,
        "prediction": prediction,
    } | more


@pytest.mark.parametrize(
    ("prediction", "score"),
    [
        ("B", 1.0),
        ("b.", 1.0),
        ("(B)", 1.0),
        ("B. right", 1.0),
        ("<answer>B</answer>", 1.0),
        ("<think>A? No.</think><answer>(B)</answer>", 1.0),
        ("<think>A, then B.</think>\nB", 1.0),
        ("<answer>A</answer> no: <answer>B</answer>", 1.0),
        ("<answer>B</answer> no: <answer>A</answer>", 0.0),
        ("Because of the sofa", 0.0),  # a letter inside a word is none
        ("A or B", 0.0),
        ("<answer>B", 0.0),  # opened and never closed: no answer, and no guess
        ("<think>B", 0.0),
        ("", 0.0),
        (None, 0.0),
    ],
)
def test_strict_letters(prediction: object, score: float) -> None:
    assert find_rule("vsibench", "strict").judge(row(prediction)).score == score


@pytest.mark.parametrize(
    ("prediction", "truth", "kind", "score"),
    [
        ("200 cm", "2", "object_abs_distance", 1.0),
        ("about 2 m", "2", "object_abs_distance", 1.0),
        ("-2", "2", "object_abs_distance", 0.0),
        ("2 m", "200", "object_size_estimation", 1.0),
        ("1,000", "1000", "object_size_estimation", 1.0),
        ("between 3 and 7", "3", "object_abs_distance", 0.0),
        ("1.5", "2", "object_abs_distance", 0.6),  # off by a quarter: .50 … .75, six of ten
    ],
)
def test_strict_numbers(prediction: str, truth: str, kind: str, score: float) -> None:
    assert find_rule("vsibench", "strict").judge(row(prediction, truth, kind)).score == pytest.approx(score)


def test_a_truth_that_is_none_is_not_graded_and_not_zero() -> None:
    scored = score_rows([row("B"), row("B", truth="?")], "vsibench", "strict")
    assert scored.ungraded == 1
    assert math.isnan(scored.rows[1]["score"])
    assert scored.aggregate["overall"] == 100.0


def test_unknown_names_list_what_exists() -> None:
    with pytest.raises(ValueError, match=r"no benchmark 'vsi'; there are: .*vsibench"):
        score_rows([row("B")], "vsi", "official")
    with pytest.raises(ValueError, match="no rule 'robust'; it has: official, strict"):
        score_rows([row("B")], "vsibench", "robust")


def test_names_may_have_hyphens_and_say_what_the_rows_are() -> None:
    for name in ("lmms-eval", "LMMS_EVAL", "lmms_eval_log_gpt", "lmms_eval_full2"):
        assert score_rows([row("B")], "vsibench", name).rule == "lmms_eval"
    assert score_rows([row("B")], "video-holmes", "official_log").rule == "official"
    # the authors of LongVideoBench point at lmms-eval
    assert score_rows([row("B")], "longvideobench", "official").rule == "lmms_eval_official"


def test_guesses_count_and_are_told() -> None:
    scored = score_rows([row("B"), row("no idea")], "nextqa", "lmms_eval")
    figures = figures_of(scored.rows, "nextqa")
    assert [each["guessed"] for each in scored.rows] == [False, True]
    assert scored.rows[1]["score"] == pytest.approx(1 / 3)  # what a draw among three earns
    assert (figures.guessed, figures.denominator, figures.dropped) == (1, 2, 0)
    assert figures.overall == pytest.approx(100 * (1 + 1 / 3) / 2)
    assert figures.failure_rate == pytest.approx(50.0)


def test_dropped_rows_leave_the_average_and_are_told() -> None:
    scored = score_rows([row("B"), row("A"), row("")], "videomme", "official")
    figures = figures_of(scored.rows, "videomme")
    assert (figures.dropped, figures.denominator, figures.total) == (1, 2, 3)
    assert figures.overall == pytest.approx(50.0)
    assert (figures.failed, figures.failure_rate) == (1, pytest.approx(100 / 3))  # of all rows
    strict = figures_of(score_rows([row("B"), row("A"), row("")], "videomme", "strict").rows, "videomme")
    assert (strict.dropped, strict.denominator) == (0, 3)
    assert strict.overall == pytest.approx(100 / 3)


def test_micro_and_macro_by_hand() -> None:
    rows = [row("B", kind="x"), row("B", kind="x"), row("B", kind="x"), row("A", kind="y")]
    figures = figures_of(score_rows(rows, "viewspatial", "official").rows, "viewspatial")
    assert (figures.micro, figures.macro) == (pytest.approx(75.0), pytest.approx(50.0))
    # the best constants, B for three of three and C for one of two, are averaged as the rows are: 4 of 5
    rows = [*rows[:3], row("A", truth="C", kind="y"), row("A", truth="A", kind="y")]
    figures = figures_of(score_rows(rows, "viewspatial", "official").rows, "viewspatial")
    assert [line.best_constant for line in figures.tasks.values()] == pytest.approx([100, 50])
    assert figures.best_constant == pytest.approx(80.0)


def test_the_best_number_is_chosen_among_truths_that_can_be_divided_by() -> None:
    rows = [row("2", truth=truth, kind="object_abs_distance", score=1.0) for truth in ("0", "2")]
    figures = figures_of(rows)
    assert figures.tasks["object_abs_distance"].best_answer == "2"


def test_errors_are_clustered_by_clip_where_a_scene_has_several() -> None:
    rows = [row("B", clip=clip, scene_name="s") for clip in ("a", "b", "b")]
    figures = figures_of(score_rows(rows, "vsibench", "official").rows)
    assert figures.tasks["object_rel_direction"].clips == 2


def test_a_row_that_lacks_a_field_is_named() -> None:
    with pytest.raises(ValueError, match=r"row 2 \(id x\) lacks ground_truth, prediction"):
        score_rows([row("B"), {"id": "x", "question_type": "route_planning"}], "vsibench", "official")


def test_figures_by_hand() -> None:
    # medium: clip a right, right; clip b wrong, right → 3/4. Sizes on a only: 2 of 2 → 1.
    # overall 7/8. Shares: medium 1/8 each, size 1/2. Pulls: a 2 · 1/8 · 1/4 = 1/16, b (-3/4 + 1/4)/8 = -1/16.
    # variance 2 · 2/256 = 1/64 → 12.5 points
    rows = [
        row("B", clip="a"),
        row("B", clip="a"),
        row("A", clip="b"),
        row("C", truth="C", clip="b"),
        row("30", truth="30", kind="object_size_estimation", clip="a"),
    ]
    figures = figures_of(score_rows(rows, "vsibench", "official").rows)
    assert figures.overall == pytest.approx(87.5)
    assert figures.stderr == pytest.approx(12.5)
    direction, size = figures.tasks["object_rel_direction"], figures.tasks["object_size_estimation"]
    assert (direction.n, direction.clips, direction.score) == (4, 2, pytest.approx(75.0))
    assert direction.stderr == pytest.approx(25.0)
    assert direction.chance == pytest.approx(100 / 3)
    assert (direction.best_constant, direction.best_answer) == (pytest.approx(75.0), "B")
    assert (size.stderr, size.chance, size.best_constant, size.best_answer) == (None, None, 100.0, "30")
    assert figures.best_constant == pytest.approx(87.5)
    assert json.loads(json.dumps(figures.to_json()))["tasks"]["object_size_estimation"]["n"] == 1


def test_compare_by_hand() -> None:
    before = [row("A", id=1, clip="a") | {"score": 0.0}, row("A", id=2, clip="b") | {"score": 0.0}]
    after = [before[1] | {"score": 1.0}, before[0]]
    found = compare(before, after)
    assert found is not None
    assert found["overall"]["difference"] == pytest.approx(50.0)
    assert found["n"] == 2
    assert compare(before[:1], after) is None  # one clip: its error cannot be known
    with pytest.raises(ValueError, match="share no graded question"):
        compare(before, [])


def test_official_chance_and_constants_of_the_arkit_part(shared_data: Path) -> None:
    questions = load_questions("vsibench", shared_data / "vsibench" / "questions_arkitscenes.json")
    assert len(questions) == 1601
    rows = [
        row("A", q.answer, q.question_type, options=q.options, clip=q.scene_id, id=q.problem_id)
        for q in questions
    ]
    figures = figures_of(score_rows(rows, "vsibench", "official").rows)
    # 2, 3 and 4 options: (1/2 + 1/3 + 1/4) / 3 = 36.1 %, the paper's chance level for direction
    assert figures.tasks["object_rel_direction"].chance == pytest.approx(100 * 13 / 36)
    assert figures.tasks["object_rel_distance"].chance == pytest.approx(25.0)
    assert figures.tasks["object_counting"].chance is None
    for task in figures.tasks.values():
        assert task.best_constant is not None
        assert task.score <= task.best_constant + 1e-9


def test_reading_questions(tmp_path: Path) -> None:
    official = {
        "id": 5,
        "dataset": "scannet",
        "scene_name": "scene0000_00",
        "question_type": "room_size_estimation",
        "question": "How large?",
        "options": None,
        "ground_truth": "26.4",
    }
    question = vsibench_question(official)
    assert (question.problem_type, question.answer, question.answer_unit) == ("numerical", "26.4", "m²")
    assert question.path == "scannet/scene0000_00.mp4"
    write_rows(tmp_path / "a.jsonl", [official])
    (tmp_path / "b.json").write_text(json.dumps([official]))
    (tmp_path / "ours.jsonl").write_text(question.to_json() + "\n")
    for name in ("a.jsonl", "b.json", "ours.jsonl"):
        assert load_questions("vsibench", tmp_path / name)[0].answer == "26.4"
    write_rows(tmp_path / "bad.jsonl", [official, official | {"options": ["A. 1"]}])
    with pytest.raises(ValueError, match=r"bad\.jsonl, row 2: .*has options \['A\. 1'\]"):
        load_questions("vsibench", tmp_path / "bad.jsonl")


def test_broken_files_name_the_line(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text('{"id": 1}\n{"id": \n')
    with pytest.raises(ValueError, match=r"x\.jsonl, line 2: not JSON"):
        read_rows(tmp_path / "x.jsonl")
    (tmp_path / "x.jsonl").write_text("[1, 2]")
    with pytest.raises(ValueError, match="expected objects"):
        read_rows(tmp_path / "x.jsonl")
    (tmp_path / "x.jsonl").write_text("\n")
    with pytest.raises(ValueError, match="no rows"):
        read_rows(tmp_path / "x.jsonl")
    with pytest.raises(ValueError, match=r"absent\.jsonl: cannot be read"):
        read_rows(tmp_path / "absent.jsonl")
