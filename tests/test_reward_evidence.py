"""Moments and boxes that a thought points to, the layout it draws, options it may choose several of."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rouge_score import rouge_scorer

from tolman.data.gold import gold_completion
from tolman.data.validate import validate
from tolman.questions.question import Question
from tolman.reward import REWARDS
from tolman.reward.claims import key_frames, read_claims
from tolman.reward.evidence import proximity_sigma
from tolman.reward.layout import read_layout
from tolman.reward.words import rouge_mean

FRAMES = {
    "key_frames": [{"idx": 3, "time": 3.0}, {"idx": 8, "time": 8.0}],
    "key_items": {"3": {"chair": [[0.1, 0.2, 0.3, 0.4]]}, "8": {"table": [[0.5, 0.5, 1, 1]]}},
    "image_size": [100, 100],
}
CHAIR = "<obj>chair</obj><box>[10, 20, 30, 40]</box>at<t>3.0</t>s"
TABLE = "<obj>table</obj><box>[50, 50, 100, 100]</box>at<t>8.0</t>s"


def ask(answer: str = "B", kind: str = "free-form", **extra: Any) -> Question:
    return Question(1, "?", "video", kind, None, f"<answer>{answer}</answer>", "", "", extra=extra)


def said(thought: str, answer: str = "B") -> str:
    return f"<think>{thought}</think><answer>{answer}</answer>"


def both(name: str, thought: str, question: Question, **options: Any) -> tuple[float, float]:
    """(published, corrected)"""
    published, corrected = (
        REWARDS[name](rule=rule, **options)(said(thought), question) for rule in ("published", "corrected")
    )
    return published.value, corrected.value


@pytest.mark.parametrize(
    ("thought", "published", "corrected"),
    [
        (CHAIR + TABLE, 1, 1),
        (CHAIR, 1, 2 / 3),  # one safe claim: precision 1, recall 1/2
        (CHAIR * 9, 1, 2 / 3),
        (CHAIR.replace("chair", "sofa") + TABLE, 1, 1 / 2),  # 1 of 2 claims, 1 of 2 objects
        (CHAIR.replace("chair", "CHAIR") + TABLE, 1, 1),
        (TABLE.replace("8.0", "60"), 1, 0),  # published: later is always near
        (CHAIR.replace("3.0", "1.9"), 0, 0),
        (CHAIR.replace("30, 40", "50, 40"), 1 / 2, 1 / 2),  # IoU 400 / 800: precision 1/2, recall 1/4 → 1/3
        (CHAIR.replace("<box>", "<box>[0, 0, 1, 1]</box><box>"), 1, 1 / 2),  # precision 1/2, recall 1/2
        (CHAIR.replace("[10, 20, 30, 40]", "[x]"), 0, 0),
        (CHAIR.replace("3.0", "three"), 0, 0),
        ("<t>3.0</t>s", 0, 0),
        ("", 0, 0),
    ],
)
def test_boxes(thought: str, published: float, corrected: float) -> None:
    if "50, 40" in thought:
        corrected = 2 * (1 / 2) * (1 / 4) / (3 / 4)
    assert both("evidence_boxes", thought, ask(**FRAMES)) == pytest.approx((published, corrected))


@pytest.mark.parametrize(
    ("thought", "precision", "recall"),
    [
        ("<t>3</t>s <t>8</t>s", 1, 1),
        ("<t>3</t>s", 1, (1 + math.exp(-25 / 2)) / 2),
        ("<t>4</t>s", math.exp(-1 / 2), (math.exp(-1 / 2) + math.exp(-16 / 2)) / 2),
        ("<t>3</t>s <t>8</t>s <t>90</t>s", 2 / 3, 1),
    ],
)
def test_moments(thought: str, precision: float, recall: float) -> None:
    published, corrected = both("evidence_times", thought, ask(**FRAMES))
    assert published == pytest.approx(precision)
    assert corrected == pytest.approx(2 * precision * recall / (precision + recall))


def test_moments_that_repeat_or_are_no_numbers() -> None:
    assert both("evidence_times", "<t>3</t>s " * 9, ask(**FRAMES)) == pytest.approx((1, 2 / 3), abs=1e-5)
    published, corrected = both("evidence_times", "<t>3</t>s <t>8</t>s <t>1.2.3</t>s", ask(**FRAMES))
    assert published == 0
    assert corrected == pytest.approx(2 * (2 / 3) / (5 / 3))
    assert both("evidence_times", "soon", ask(**FRAMES)) == (0, 0)


def test_the_width_of_nearness_follows_training() -> None:
    assert [proximity_sigma(p) for p in (0, 0.5, 0.75, 1)] == [4, 2, 1, 1]
    done = [0.0]
    reward = REWARDS["evidence_times"](rule="published", progress=lambda: done[0])
    assert reward(said("<t>4</t>s"), ask(**FRAMES)).value == pytest.approx(math.exp(-1 / 32))
    done[0] = 1.0
    assert reward(said("<t>4</t>s"), ask(**FRAMES)).value == pytest.approx(math.exp(-1 / 2))
    with pytest.raises(ValueError, match="sigma must be above 0"):
        REWARDS["evidence_times"](sigma=2.0, progress=lambda: 0.0)
    with pytest.raises(ValueError, match="sigma must be above 0"):
        REWARDS["evidence_times"](sigma=0)


@pytest.mark.parametrize(
    ("thought", "published", "corrected"),
    [
        ("<t>3</t>s to <t>7</t>s", 1, 1),
        ("<t>4</t>s <t>5</t>s <t>9</t>s", 2 / 3, 2 / 3),
        ("<t>4</t>s", 1, 1 / 2),
        ("<t>4</t>s" * 5, 1, 1 / 2),
        ("<t>4</t>s <t>5</t>s <t>4.4.4</t>s", 0, 2 / 3),
        ("", 0, 0),
    ],
)
def test_segments(thought: str, published: float, corrected: float) -> None:
    assert both("evidence_segment", thought, ask("[3, 7]")) == pytest.approx((published, corrected))


@pytest.mark.parametrize(
    ("thought", "tolerance", "overlap"),
    [
        ("<t>3</t>s <t>8</t>s", 0, 1),
        ("<t>3.5</t>s <t>20</t>s", 1, 2 / 4),
        ("<t>2.5</t>s <t>3.5</t>s", 1, 2 / 4),  # a key frame is found once
        ("".join(f"<t>{t}</t>s" for t in range(10)), 1, 4 / 12),  # every frame there is
        ("<t>never</t>s <t>3</t>s <t>8</t>s", 1, 4 / 5),
        ("", 1, 0),
    ],
)
def test_keyframes(thought: str, tolerance: float, overlap: float) -> None:
    assert REWARDS["keyframes"](tolerance=tolerance)(said(thought), ask(**FRAMES)).value == overlap


def test_where_open_o3_looks() -> None:
    late = f"<think>a</think><think>{CHAIR}{TABLE}</think><answer>B</answer>"
    never = f"<think>{CHAIR}{TABLE}<answer>B</answer>"
    for completion, published, corrected in ((late, 0, 1), (never, 0, 0), (CHAIR + TABLE, 0, 0)):
        assert REWARDS["evidence_boxes"](rule="published")(completion, ask(**FRAMES)).value == published
        assert REWARDS["evidence_boxes"]()(completion, ask(**FRAMES)).value == corrected


@pytest.mark.parametrize(
    ("task", "thought", "form"),
    [
        ("temporal-spatial free-form QA", CHAIR, 1),
        ("temporal-spatial free-form QA", "so", 0.5),
        ("temporal-spatial free-form QA", CHAIR + "<t>", 0),
        ("temporal QA", "<t>3</t>s", 0.5),
        ("temporal QA (MCQ)", "<t>3</t>s <t>7</t>s", 1),
        ("visual QA", "<obj>chair</obj><box>[1, 2, 3, 4]</box>", 1),
        ("visual QA", "<obj>chair</obj>\n<box>[1, 2, 3, 4]</box>", 0.5),
        ("General video QA MCQ", "so", 1),
    ],
)
def test_evidence_format(task: str, thought: str, form: float) -> None:
    assert REWARDS["evidence_format"]()(said(thought), ask(task=task)).value == form
    assert REWARDS["evidence_format"]()(f"<think>{thought}</think>", ask(task=task)).value == 0


def test_gold_completions_claim_what_is_to_be_seen() -> None:
    question = ask(**FRAMES)
    gold = gold_completion(question)
    assert gold == "<think>" + CHAIR.replace("[10, 20, 30, 40]", "[10.0, 20.0, 30.0, 40.0]") + "\n" + (
        TABLE.replace("[50, 50, 100, 100]", "[50.0, 50.0, 100.0, 100.0]") + "</think><answer>B</answer>"
    )
    for name in ("evidence_boxes", "evidence_times", "keyframes", "evidence_format"):
        assert validate([question], REWARDS[name](), catches_wrong=False).failures == []
    assert key_frames(ask()) == []


def test_evidence_that_is_missing_or_broken() -> None:
    for name in ("evidence_boxes", "evidence_times", "keyframes"):
        assert REWARDS[name]()(said(CHAIR), ask()).ungraded
    assert REWARDS["evidence_boxes"]()(said(CHAIR), ask(key_frames=FRAMES["key_frames"])).ungraded
    assert REWARDS["evidence_segment"]()(said(CHAIR), ask("soon")).ungraded
    foreign = ask(key_frames=[3, 8], layout="open plan")  # fields of somebody else's
    assert REWARDS["keyframes"]()(said(CHAIR), foreign).ungraded
    assert gold_completion(foreign) == "<think></think><answer>B</answer>"
    broken = [
        {"key_frames": [{"idx": 3}]},
        {**FRAMES, "image_size": [100]},
        {**FRAMES, "key_items": {"3": {"chair": [[1, 2]]}}},
    ]
    for extra in broken:
        with pytest.raises(ValueError, match="question 1"):
            REWARDS["keyframes"]()(said(CHAIR), ask(**extra))


# Centres (0.5, 0.5) and (4, 0.5), 3.5 m apart, in surroundings of 5 m by 1 m.
ROOM = {"chair": [[0, 0, 1, 1]], "table": [[3, 0, 5, 1]]}
DIAGONAL = math.sqrt(26)
BLIND = 1 - 3.5 / 2 / DIAGONAL  # both at any point between them


def layout(drawn: Any, truth: Any = ROOM) -> float:
    text = drawn if isinstance(drawn, str) else json.dumps(drawn)
    return REWARDS["layout"]()(said(f"<map>{text}</map>"), ask(layout=truth)).value


def above_blind(raw: float) -> float:
    return max(0.0, (raw - BLIND) / (1 - BLIND))


@pytest.mark.parametrize(
    ("drawn", "score"),
    [
        (ROOM, 1),
        ({"Table ": [[3, 0, 5, 1]], "CHAIR": [[0, 0, 1, 1]]}, 1),
        ({**ROOM, "chair": [[1, 0, 2, 1]]}, 1 - 1 / 3.5),  # one metre off
        ({**ROOM, "chair": [[0.25, 0.25, 0.75, 0.75]]}, above_blind((1 + (1 + 1 / 4) / 2) / 2)),
        ({**ROOM, "sofa": [[0, 0, 1, 1]]}, above_blind(2 / 3)),
        ({"table": [[3, 0, 5, 1]]}, above_blind(1 / 2)),
        ({"chair": [[2, 0, 3, 1]], "table": [[1.5, 0, 3.5, 1]]}, 0),  # all in the middle, true sizes
        ({"chair": [[3, 0, 5, 1]], "table": [[0, 0, 1, 1]]}, 0),  # swapped
        ({"chair": [[500, 500, 501, 501]], "table": [[500, 500, 502, 501]]}, 0),
        ({"chair": ROOM["chair"] * 200, "table": ROOM["table"] * 200}, 0),  # number soup
        ({"chair": ROOM["chair"] * 300, "table": ROOM["table"] * 300}, 0),
        ({}, 0),
        ('{"chair": [[0, 0, 1, 1]], "chair": [[0, 0, 1, 1]], "table": [[3, 0, 5, 1]]}', 0),
        ('{"chair": [[0, 0, 1, 1]], "Chair": [[0, 0, 1, 1]], "table": [[3, 0, 5, 1]]}', 0),
        ({**ROOM, "chair": [[1, 1, 0, 0]]}, 0),
        ({**ROOM, "chair": [0, 0, 1, 1]}, 0),
        ("[[0, 0, 1, 1]]", 0),
        ("__import__('os')", 0),
    ],
)
def test_layouts(drawn: Any, score: float) -> None:
    assert layout(drawn) == pytest.approx(score, abs=1e-6)


def test_where_a_layout_stands() -> None:
    drawn = f"<map>{json.dumps(ROOM)}</map>"
    assert read_layout(f"{drawn}<think>so</think><answer>B</answer>").outlines  # Video2Layout's order
    assert read_layout(f"<think>{drawn}</think><answer>B</answer>").outlines
    for text in (f"<think>so</think>{drawn}<answer>B</answer>", drawn, "</map><map></think>", ""):
        assert read_layout(text).outlines is None
    twice = f"<think>{drawn}<map>{{}}</map></think>"
    assert read_layout(twice).outlines == {}  # the last one counts
    question = ask(layout=ROOM)
    assert validate([question], REWARDS["layout"](), catches_wrong=False).failures == []


def test_layouts_that_cannot_be_graded() -> None:
    for truth in (None, {}, {"chair": [[0, 0, 1, 1]]}, {"chair": [[0, 0, 2, 2], [0.5, 0.5, 1.5, 1.5]]}):
        assert math.isnan(layout(ROOM, truth))
    with pytest.raises(ValueError, match="layout must map names"):
        layout(ROOM, {"chair": [[1, 2]]})


POINTS = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=2, max_size=6, unique=True)


@given(POINTS, st.floats(0, 10), st.floats(0, 10))
def test_no_single_place_is_worth_anything(points: list[tuple[int, int]], x: float, y: float) -> None:
    truth = {"chair": [[u, v, u + 1, v + 1] for u, v in points]}
    assert layout({"chair": [[x, y, x + 1, y + 1]] * len(points)}, truth) == pytest.approx(0, abs=1e-6)
    assert layout(truth, truth) == 1


OPTIONS = ("A. red", "B. blue", "C. green", "D. grey")


@pytest.mark.parametrize(
    ("answer", "corrected", "published"),
    [
        ("A,C", 1, 1), ("C, A", 1, 1), ("A and C.", 1, 0), ("(A), (C)", 1, 0), ("a,c", 1, 0), ("A;C", 1, 0),
        ("A", 1 / 2, 1 / 2), ("A,A", 1 / 2, 1 / 2),
        ("A,B", 0, 0), ("A,B,C", 0, 0), ("A,B,C,D", 0, 0), ("A or B or C", 0, 0), ("A or C", 0, 0),
        ("AC", 0, 0), ("E", 0, 0), ("", 0, 0), ("red, green", 0, 0),
    ],
)  # fmt: skip
def test_soft_choice(answer: str, corrected: float, published: float) -> None:
    question = Question(1, "?", "video", "multiple choice", OPTIONS, "<answer>A,C</answer>", "", "")
    assert REWARDS["soft_choice"]()(said("so", answer), question).value == corrected
    assert REWARDS["soft_choice"](rule="published")(said("so", answer), question).value == published


def test_soft_choice_reads_one_answer() -> None:
    question = Question(1, "?", "video", "multiple choice", OPTIONS, "<answer>A,C</answer>", "", "")
    inside = "<think><answer>A,C</answer></think><answer>B</answer>"
    for completion, corrected, published in ((inside, 0, 1), ("A,C", 0, 1), ("<answer>A,C</answer>", 1, 1)):
        assert REWARDS["soft_choice"]()(completion, question).value == corrected
        assert REWARDS["soft_choice"](rule="published")(completion, question).value == published
    assert REWARDS["soft_choice"]()(inside, ask("red and green")).ungraded


WORDS = st.lists(
    st.sampled_from(["the", "chairs", "chair", "running", "runs", "left", "Red-2", "happily", "skies"]),
    max_size=12,
).map(" ".join)


@given(WORDS, WORDS)
def test_rouge_agrees_with_rouge_score(reference: str, hypothesis: str) -> None:
    names = ["rouge1", "rouge2", "rougeL"]
    scores = rouge_scorer.RougeScorer(names, use_stemmer=True).score(reference, hypothesis)
    assert rouge_mean(reference, hypothesis) == pytest.approx(sum(scores[n].fmeasure for n in names) / 3)


def test_rewards_by_the_name_of_a_type_grade_any_question() -> None:
    assert REWARDS["ocr"]()(said("", "exit left"), ask("exit door left")).value == pytest.approx(2 / 3)
    assert REWARDS["regression"]()(said("", "12"), ask("10")).value == pytest.approx(0.8)
    assert REWARDS["free_form"]()(said("", "red chair"), ask("red chair", "OCR")).value == 1
    for name in ("ocr", "regression", "free_form"):
        with pytest.raises(ValueError, match="rule must be one of"):
            REWARDS[name](rule="x")


def test_claims_are_read_one_tag_after_the_other() -> None:
    text = f"<obj>a <obj>b</obj><box>[1, 2, 3, 4]</box><box>[0]</box>at<t> 3 </t>s {CHAIR[5:]}"
    (claim,) = read_claims(text)
    assert claim == ("b", ((1, 2, 3, 4), None), 3.0)
