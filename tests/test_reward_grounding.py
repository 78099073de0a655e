"""Spans, boxes and tracks in answers: values by hand, and what other projects' code makes of real rows."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tolman.data.gold import gold_completion
from tolman.data.validate import validate
from tolman.questions.question import Question
from tolman.reward import REWARDS
from tolman.reward.overlap import box_iou, span_iou
from tolman.reward.structured import read_span

SQUARE, HALF_OFF = [0, 0, 10, 10], [5, 0, 15, 10]  # IoU 50 / 150
TUBE = {"time": [3, 7], "boxes": {"1": SQUARE, "2": SQUARE}}


def ask(truth: Any, kind: str = "temporal grounding", **extra: Any) -> Question:
    solution = truth if isinstance(truth, str) else json.dumps(truth)
    return Question(1, "?", "video", kind, None, f"<answer>{solution}</answer>", "", "", extra=extra)


def said(answer: Any) -> str:
    text = answer if isinstance(answer, str) else json.dumps(answer)
    return f"<think>so</think><answer>{text}</answer>"


def value(name: str, answer: Any, question: Question, **options: Any) -> float:
    return REWARDS[name](**options)(said(answer), question).value


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ('{"time": [3.5, 7]}', (3.5, 7)), ('{"start": 3.5, "end": 7.0}', (3.5, 7)), ("[3.5, 7]", (3.5, 7)),
        ("3.5 to 7", (3.5, 7)), ("<t>3.5</t>s to <t>7</t>s", (3.5, 7)),
        ("3.5s-7s", (3.5, 7)), ("3.5 \u2013 7", (3.5, 7)),
        ("The event happens in the 4.3 - 9.5 seconds.", (4.3, 9.5)),
        ("starts at 0:03.5 and ends at 1:00:07", (3.5, 3607)),
        ("-5 - 10", None), ("5 to -10", None), ("\u22125 to 10", None),
        ("7 to 3.5", None), ("3 to 3", None), ("3", None), ("", None), ("from the first to the second", None),
        ("3 to 7 or 8 to 9", None), ("1 2 3 4 5 6 7", None),  # number soup
        ("1e3 to 5000", None), ("nan to inf", None), ("3 to 99999999", None), ("t1=3, t2=7", (3, 7)),
        ("99999999 3 7", None), ("1e3 3 7", None), ("3.5.7 3 7", None), ("1:2:3:4 3 7", None),
        ("3.5 to 7 \u0665", (3.5, 7)),  # an Arabic digit is no number here
    ],
)  # fmt: skip
def test_spans(text: str, span: tuple[float, float] | None) -> None:
    assert read_span(text).span == span


@pytest.mark.parametrize(
    ("answer", "options", "expected"),
    [  # the truth is 3 to 7 s of 20 s; 5 to 9 shares 2 of 6 s
        ("5 to 9", {}, 1 / 3),
        ("3 to 7", {}, 1),
        ("8 to 9", {}, 0),
        ("5 to 9", {"shape": "distance"}, 1 / 3 * (1 - 2 / 20) * (1 - 2 / 20)),
        ("0 to 100", {"shape": "distance"}, 0),  # 93 s too late in a clip of 20 s
        ("0 to 100", {"shape": "distance", "rule": "time_r1"}, 4 / 100 * (1 - 3 / 20) * (1 - 93 / 20)),
        ("5 to 9", {"shape": "scaled"}, (1 / 3 - 0.2) / 0.6),
        ("5 to 9", {"shape": "scaled", "low": 0.0, "high": 0.25}, 1),
        ("3 to 6.5", {"shape": "banded"}, (3.5 / 4 - 0.6) / 0.35),  # under 5 s
        ("5 to 9", {"shape": "banded"}, 0),
    ],
)
def test_temporal_iou(answer: str, options: dict[str, Any], expected: float) -> None:
    assert value("temporal_iou", answer, ask("[3, 7]", duration=20), **options) == pytest.approx(expected)


def test_bands_follow_the_length_of_the_true_span() -> None:
    # 0 to 10 for 0 to 20, 0 to 20 for 0 to 40: IoU 1/2 in the bands .4 to .85 and .3 to .8
    assert value("temporal_iou", "0 to 10", ask("[0, 20]"), shape="banded") == pytest.approx(0.1 / 0.45)
    assert value("temporal_iou", "0 to 20", ask("[0, 40]"), shape="banded") == pytest.approx(0.2 / 0.5)
    # a span of exactly 5, 15 or 30 s belongs to the longer band: .5 to .9, .4 to .85, .3 to .8
    for truth, said, expected in ((5, 4, 0.3 / 0.4), (15, 9, 0.2 / 0.45), (30, 15, 0.2 / 0.5)):
        found = value("temporal_iou", f"0 to {said}", ask(f"[0, {truth}]"), shape="banded")
        assert found == pytest.approx(expected)


def test_time_r1_reads_as_its_own_code(shared_data: Path) -> None:
    rows = (shared_data / "scorers" / "charades_sta__time_r1.jsonl").read_text().splitlines()
    assert len(rows) == 160
    reward = REWARDS["temporal_iou"](rule="time_r1")
    for row in map(json.loads, rows):
        text = row["prediction"]
        text = text if "<answer>" in text else f"<answer>{text}</answer>"  # its evaluation reads bare text
        got = reward(text, ask(row["ground_truth"])).value
        assert got == pytest.approx(row["peer_score"], abs=1e-12), row


def test_span_iou_agrees_with_v_star(shared_data: Path) -> None:
    compared = 0
    for row in map(json.loads, (shared_data / "scorers" / "vstar__official_when_where.jsonl").open()):
        span = row["prediction"]
        if row["question_type"] != "when" or not isinstance(span, list) or len(span) != 2:
            continue
        if all(isinstance(time, int | float) for time in span) and 0 <= span[0] < span[1]:
            got = value("temporal_iou", span, ask(row["ground_truth"]))
            assert got == pytest.approx(row["peer_score"], abs=1e-12), row
            compared += 1
    assert compared >= 20


def test_tracks_agree_with_v_star(shared_data: Path) -> None:
    compared = 0
    for row in map(json.loads, (shared_data / "scorers" / "vstar__official_when_where.jsonl").open()):
        boxes = row["prediction"]
        if row["question_type"] != "where" or any(isinstance(b[0], list) for b in boxes.values() if b):
            continue  # lists of boxes for one frame are V-STaR's own
        truth = {
            str(box["timestamp"]): [box["xmin"], box["ymin"], box["xmax"], box["ymax"]]
            for box in row["ground_truth"]
        }
        question = ask({"boxes": truth}, "tracking")
        got = value("tracking", {"boxes": boxes}, question, rule="onethinker")
        assert got == pytest.approx(row["peer_score"], abs=1e-9), row
        if boxes.keys() == truth.keys() and all(isinstance(b, list) and len(b) == 4 for b in boxes.values()):
            upright = all(b[0] < b[2] and b[1] < b[3] for b in boxes.values())
            assert value("tracking", {"boxes": boxes}, question) == pytest.approx(got if upright else 0.0)
            compared += 1
    assert compared >= 9


@pytest.mark.parametrize(
    ("answer", "corrected", "published"),
    [
        ({"boxes": HALF_OFF}, 1 / 3, 1 / 3),
        ("<box>[5, 0, 15, 10]</box>", 1 / 3, 0),
        (HALF_OFF, 1 / 3, 0),  # a bare list is no JSON object
        ({"boxes": [10, 10, 0, 0]}, 0, 0),
        ({"boxes": ["5", 0, 15, 10]}, 0, 1 / 3),  # published takes what float() takes
        ("{'boxes': [5, 0, 15, 10]}", 1 / 3, 0),
        ({"boxes": [SQUARE, HALF_OFF]}, 0, 0),  # two answers
        ('{"boxes": [0, 0, 10, 10], "boxes": [5, 0, 15, 10]}', 0, 1 / 3),  # the same name twice: JSON's last
        ('{"boxes": [0, 0, Infinity, Infinity]}', 0, 0),
        ({"boxes": [0, 0, 10]}, 0, 0),
        ("the whole picture", 0, 0),
    ],
)
def test_boxes(answer: Any, corrected: float, published: float) -> None:
    question = ask({"boxes": SQUARE}, "spatial grounding")
    assert value("box_iou", answer, question) == pytest.approx(corrected)
    assert value("box_iou", answer, question, rule="onethinker") == pytest.approx(published)


def test_onethinker_reads_the_first_answer_wherever_it_is() -> None:
    question = ask({"boxes": SQUARE}, "spatial grounding")
    right = json.dumps({"boxes": SQUARE})
    inside = f"<think><answer>{right}</answer></think><answer>x</answer>"
    blanks = f"<think>so</think>  < answer > {right} < / answer >"
    for completion, published, corrected in ((inside, 1, 0), (blanks, 1, 0), (right, 1, 0)):
        assert REWARDS["box_iou"](rule="onethinker")(completion, question).value == published
        assert REWARDS["box_iou"]()(completion, question).value == corrected


@pytest.mark.parametrize(
    ("boxes", "tube", "published_tube", "track", "published_track"),
    [
        (TUBE["boxes"], 1, 1, 1, 1),
        ({"1": SQUARE}, 0.75, 1, 1 / 2, 1 / 2),  # one safe box
        ({"1": SQUARE, "2": SQUARE, "3": SQUARE, "4": SQUARE}, 0.75, 1, 1 / 2, 1),  # every frame there is
        ({"1": SQUARE, "2": HALF_OFF}, 0.5 + 0.5 * 2 / 3, 0.5 + 0.5 * 2 / 3, 2 / 3, 2 / 3),
        ({"5": SQUARE}, 0.5, 0.5, 0, 0),
        ({"1": SQUARE, "2": "x"}, 0, 0.75, 0, 1 / 2),  # one flaw and there is no track
        ({}, 0, 0.5, 0, 0),
        ("x", 0, 0.5, 0, 0),
    ],
)
def test_tubes_and_tracks(
    boxes: Any, tube: float, published_tube: float, track: float, published_track: float
) -> None:
    answer, old = {"time": [3, 7], "boxes": boxes}, {"rule": "onethinker"}
    spatial, tracked = ask(TUBE, "spatial-temporal grounding"), ask({"boxes": TUBE["boxes"]}, "tracking")
    assert value("spatio_temporal_iou", answer, spatial) == pytest.approx(tube)
    assert value("spatio_temporal_iou", answer, spatial, **old) == pytest.approx(published_tube)
    assert value("tracking", {"boxes": boxes}, tracked) == pytest.approx(track)
    assert value("tracking", {"boxes": boxes}, tracked, **old) == pytest.approx(published_track)


def test_a_tube_is_half_its_span() -> None:
    half = {"time": [3, 5], "boxes": TUBE["boxes"]}  # 2 of 4 s
    for rule in ("corrected", "onethinker"):
        assert value("spatio_temporal_iou", half, ask(TUBE), rule=rule) == pytest.approx(0.75)


@pytest.mark.parametrize(
    ("kind", "answer", "bonus"),
    [
        ("temporal grounding", {"time": [9, 3]}, 0.5),
        ("temporal grounding", {"time": [9]}, 0),
        ("spatial grounding", {"boxes": SQUARE}, 0.5),
        ("spatial grounding", SQUARE, 0),
        ("spatial-temporal grounding", {"time": [0, 1], "boxes": {"1": SQUARE}}, 0.25 + 0.25 / 2),
        ("spatial-temporal grounding", {"boxes": {"1": SQUARE, "2": SQUARE}}, 0.25),
        ("tracking", {"boxes": {"1": SQUARE, "2": [1]}}, 0.25),
        ("tracking", {"boxes": {}}, 0.25),
        ("multiple choice", "A", 0.5),
    ],
)
def test_answer_structure(kind: str, answer: Any, bonus: float) -> None:
    assert value("answer_structure", answer, ask(TUBE, kind)) == pytest.approx(bonus)


def test_accuracy_routes_grounding_types() -> None:
    accuracy = REWARDS["accuracy"]()
    assert accuracy(said("5 to 9"), ask({"time": [3, 7]})).value == pytest.approx(1 / 3)
    assert accuracy(said(HALF_OFF), ask({"boxes": SQUARE}, "spatial grounding")).value == pytest.approx(1 / 3)
    rows = [
        ask({"time": [3, 7]}),
        ask({"boxes": SQUARE}, "spatial grounding"),
        ask(TUBE, "spatial-temporal grounding"),
        ask({"boxes": TUBE["boxes"]}, "tracking"),
        ask("a red chair", "open-ended"),
    ]
    assert validate(rows, accuracy).failures == []  # gold answers pay, wrong ones do not
    assert gold_completion(rows[0]) == '<think></think><answer>{"time": [3, 7]}</answer>'


def test_what_cannot_be_graded_is_not_zero() -> None:
    for name in ("temporal_iou", "box_iou", "spatio_temporal_iou", "tracking"):
        for truth in ("", "[7, 3]", {"time": [3, 3]}, {"boxes": {}}, "x" * 9000):
            assert REWARDS[name]()(said("3 to 7"), ask(truth)).ungraded
    assert REWARDS["temporal_iou"](shape="distance")(said("3 to 7"), ask("[3, 7]")).ungraded
    assert REWARDS["answer_structure"]()(said("x"), ask("x", "segmentation")).ungraded


def test_options_are_checked() -> None:
    for options, match in (
        ({"rule": "x"}, "rule must be one of"),
        ({"shape": "giou"}, "shape must be one of"),
        ({"low": 0.1}, "belong to shape 'scaled'"),
        ({"shape": "scaled", "high": 0.1}, "low must be below high"),
        ({"shape": "scaled", "low": math.nan}, "low must be a finite number"),
        ({"shape": "scaled", "high": "x"}, "high must be a number"),
    ):
        with pytest.raises(ValueError, match=match):
            REWARDS["temporal_iou"](**options)


TIMES = st.tuples(st.floats(0, 100), st.floats(0.01, 100)).map(lambda t: (t[0], t[0] + t[1]))


@given(TIMES, TIMES)
def test_overlap_of_spans_is_that_of_thin_boxes(a: tuple[float, float], b: tuple[float, float]) -> None:
    iou = span_iou(a, b)
    assert 0 <= iou <= 1
    assert iou == span_iou(b, a)
    assert span_iou(a, a) == 1
    assert iou == pytest.approx(box_iou((a[0], 0, a[1], 1), (b[0], 0, b[1], 1)), abs=1e-9)
