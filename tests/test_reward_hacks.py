"""What every reward gives to the known ways of cheating, and that none is slow on any text."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tolman.questions.question import Question
from tolman.reward import REWARDS, Reward
from tolman.reward.judge import Reply

OPTIONS = ("A. red", "B. blue", "C. green")
SQUARE = [0, 0, 10, 10]
EXTRA: dict[str, Any] = {
    "key_frames": [{"idx": 3, "time": 3.0}, {"idx": 8, "time": 8.0}],
    "key_items": {"3": {"chair": [[0.1, 0.2, 0.3, 0.4]]}, "8": {"table": [[0.5, 0.5, 1, 1]]}},
    "image_size": [100, 100],
    "layout": {"chair": [[0, 0, 1, 1]], "table": [[3, 0, 5, 1]]},
    "description": "a chair stands before a table",
    "duration": 20,
}
TRUTHS = {
    "multiple choice": "B", "numerical": "2.5", "regression": "10", "OCR": "exit door",
    "free-form": "a red chair", "temporal grounding": "[3, 7]",
    "spatial grounding": json.dumps({"boxes": SQUARE}),
    "spatial-temporal grounding": json.dumps({"time": [3, 7], "boxes": {"1": SQUARE}}),
    "tracking": json.dumps({"boxes": {"1": SQUARE}}),
}  # fmt: skip


def ask(kind: str) -> Question:
    return Question(
        1, "?", "video", kind, OPTIONS if kind == "multiple choice" else None,
        f"<answer>{TRUTHS[kind]}</answer>", "", "", extra=EXTRA,
        cognitive_map={"chair": [[1, 2], [8, 8]], "table": [[5, 5]]},
    )  # fmt: skip


def made(name: str, **options: Any) -> Reward:
    """A reward with what it cannot do without."""
    if name == "length":
        options |= {"low": 1, "high": 9, "count": len}
    if name.endswith("_consistency"):
        options |= {"judge": lambda prompt: Reply("TRUE", ""), "gate": "none"}
    if name == "think_answer_consistency":
        options["style"] = "verdict"
    if name == "semantic_similarity":
        options["similarity"] = lambda text, question: 0.4
    return REWARDS[name](**options)


CORRECTED: list[tuple[str, dict[str, Any]]] = [(name, {}) for name in sorted(REWARDS)]
GROUNDING = ("temporal_iou", "box_iou", "spatio_temporal_iou", "tracking")
PUBLISHED = ("accuracy", "evidence_boxes", "evidence_times", "evidence_segment", "map", "soft_choice")
OTHERS: list[tuple[str, dict[str, Any]]] = [
    *((name, {"rule": "onethinker"}) for name in GROUNDING),
    *((name, {"rule": "published"}) for name in PUBLISHED),
    *(("temporal_iou", {"rule": "time_r1", "shape": shape}) for shape in ("distance", "scaled", "banded")),
    *(("format", {"rule": rule}) for rule in ("strict", "video2layout")),
    ("accuracy", {"rule": "video_r1"}),
]
EVERYTHING = CORRECTED + OTHERS


def value(name: str, completion: str, kind: str, **options: Any) -> float:
    return made(name, **options)(completion, ask(kind)).value


@pytest.mark.parametrize(
    ("name", "kind", "answer", "paid"),
    [
        ("accuracy", "multiple choice", "A or B or C", 0),
        ("accuracy", "multiple choice", "A, B, C", 0),
        ("soft_choice", "multiple choice", "A, B, C", 0),
        ("accuracy", "numerical", "1 2 2.5 3 4", 0),
        ("regression", "regression", "9 10 11", 0),
        ("ocr", "OCR", "exit door " * 900, 0),
        ("free_form", "free-form", "a red chair " * 160, 0.02),  # diluted
        ("temporal_iou", "temporal grounding", "3 to 7 or 8 to 9", 0),
        ("temporal_iou", "temporal grounding", "0 to 20", 4 / 20),  # the whole clip
        ("box_iou", "spatial grounding", '{"boxes": [0, 0, 100, 100]}', 1 / 100),  # the whole picture
        ("tracking", "tracking", json.dumps({"boxes": {str(k): SQUARE for k in range(100)}}), 1 / 100),
    ],
)
def test_answers_that_say_everything(name: str, kind: str, answer: str, paid: float) -> None:
    completion = f"<think>so</think><answer>{answer}</answer>"
    assert value(name, completion, kind) == pytest.approx(paid, abs=1e-2)


@pytest.mark.parametrize("kind", sorted(TRUTHS))
def test_an_answer_inside_the_thought_and_two_answers(kind: str) -> None:
    right, wrong = f"<answer>{TRUTHS[kind]}</answer>", "<answer>?</answer>"
    accuracy = REWARDS["accuracy"]()
    assert accuracy(f"<think>{right}</think>{wrong}", ask(kind)).value == 0
    assert accuracy(f"<think>{right}", ask(kind)).value == 0
    assert accuracy(f"<think>so</think>{right}{wrong}", ask(kind)).value == 0  # the last one counts
    assert accuracy(f"<think>so</think>{wrong}{right}", ask(kind)).value == pytest.approx(1)
    assert accuracy(f"<think>so</think>{right * 9}", ask(kind)).value == pytest.approx(1)
    repeated = f"<think>so</think>{right}{right}"
    assert REWARDS["format"](rule="strict")(repeated, ask(kind)).value == 0


ANSWERED = [
    ("accuracy", "multiple choice"), ("soft_choice", "multiple choice"), ("accuracy", "numerical"),
    ("regression", "regression"), ("ocr", "OCR"), ("free_form", "free-form"),
    ("temporal_iou", "temporal grounding"), ("box_iou", "spatial grounding"),
    ("spatio_temporal_iou", "spatial-temporal grounding"), ("tracking", "tracking"),
]  # fmt: skip
SOUPS = {
    "multiple choice": ["A or B or C", "A, B, C", "A B C", "B or not", "any of A-C", "A/B/C", "(A) (B) (C)"],
    "numerical": ["1 2 2.5 3 4", "2 or 2.5", "2-3", "1, 2, 2.5", "2.5 (or 3)", "2.5.1"],
    "regression": ["9 10 11", "9 or 10", "9-11", "ten or eleven"],
    "temporal grounding": ["3 to 7 or 8 to 9", "1 2 3 4 5 6 7", "[[3, 7], [0, 20]]", "3 to 7, 1e3"],
    "spatial grounding": [
        "[0, 0, 10, 10] [1, 2, 3, 4]", '{"boxes": [[0, 0, 10, 10], [1, 2, 3, 4]]}',
        '{"boxes": [0, 0, 10, 10], "boxes": [1, 2, 3, 4]}',
    ],
    "tracking": ['{"boxes": {"1": [0, 0, 10, 10], "1": [1, 2, 3, 4]}}'],
}  # fmt: skip


@pytest.mark.parametrize(("name", "kind"), ANSWERED)
def test_no_answer_reward_pays_for_a_guess_at_everything(name: str, kind: str) -> None:
    for soup in SOUPS.get(kind, []):
        assert value(name, f"<think>so</think><answer>{soup}</answer>", kind) == 0, soup


@pytest.mark.parametrize(("name", "kind"), ANSWERED)
def test_no_answer_reward_looks_into_the_thought_or_at_an_earlier_answer(name: str, kind: str) -> None:
    right, wrong = f"<answer>{TRUTHS[kind]}</answer>", "<answer>?</answer>"
    assert value(name, f"<think>so</think>{right}", kind) == pytest.approx(1)
    for completion in (
        f"<think>{right}</think>", f"<think>{right}</think>{wrong}", f"<think>{right}",
        f"<think>so</think>{right}{wrong}", f"{right}</think>{wrong}", f"<think>so</think>{TRUTHS[kind]}",
        f"<think>so</think><answer>{TRUTHS[kind]}",
    ):  # fmt: skip
        assert value(name, completion, kind) == 0, completion
    assert value(name, f"<think>so</think>{wrong}{right}", kind) == pytest.approx(1)  # the last one counts


def test_published_rules_pay_for_the_hacks_that_they_are_known_to_pay_for() -> None:
    inside = "<think><answer>B</answer></think><answer>A</answer>"
    for name in ("accuracy", "spacer_accuracy"):
        options = {"rule": "published"} if name == "accuracy" else {}
        assert value(name, inside, "multiple choice", **options) == 1  # the first answer, wherever it is
        assert value(name, "<answer>A or B or C</answer>", "multiple choice", **options) == 0
    assert value("accuracy", "<answer>2.5 99</answer>", "numerical", rule="published") == 1
    centre = '<think><map>{"chair": [[5, 5], [5, 5]], "table": [[5, 5]]}</map></think><answer>B</answer>'
    # chairs at (1, 2) and (8, 8): 1 - 5 / 14.142 and 1 - 4.243 / 14.142; the table is right: 2.3464 / 3
    assert value("map", centre, "multiple choice", rule="published") == pytest.approx(0.78215, abs=1e-5)
    assert value("spacer_accuracy", centre, "multiple choice") == pytest.approx(1.78215, abs=1e-5)
    off = centre.replace("5, 5", "500, 500")
    assert value("spacer_accuracy", off, "multiple choice") == 0  # a worthless map takes the answer's worth


@pytest.mark.parametrize(
    "drawn",
    [
        '{"chair": [[2, 0, 3, 1]], "table": [[2, 0, 3, 1]]}',  # everything at the centre
        '{"chair": [[2.5, 0.5, 2.6, 0.6]], "table": [[2.5, 0.5, 2.6, 0.6]]}',
        '{"chair": [[500, 500, 501, 501]], "table": [[503, 500, 505, 501]]}',  # far off
        '{"chair": [[0, 0, 1, 1]], "chair": [[3, 0, 5, 1]], "table": [[3, 0, 5, 1]]}',  # a name twice
        '{"chair": [[0, 0, 1, 1], [3, 0, 5, 1]], "table": [[0, 0, 1, 1], [3, 0, 5, 1]]}',  # all everywhere
        "{}", '{"chair": [[0, 0, 1e400, 1]]}', '{"chair": [[NaN, 0, 1, 1]]}',
    ],
)  # fmt: skip
def test_layouts_that_know_nothing(drawn: str) -> None:
    earned = value("layout", f"<think><map>{drawn}</map></think><answer>B</answer>", "multiple choice")
    assert earned <= 0.2  # half of everything drawn is right in the one that draws all everywhere
    assert earned == 0 or drawn.count("[3, 0, 5, 1], ") + drawn.count("[0, 0, 1, 1], ") > 1
    right = json.dumps(EXTRA["layout"])
    after = f"<think><map>{right}</map><map>{drawn}</map></think><answer>B</answer>"
    assert value("layout", after, "multiple choice") == earned  # repeated tags: the last one counts
    late = f"<think>so</think><map>{right}</map><answer>B</answer>"
    assert value("layout", late, "multiple choice") == 0


@pytest.mark.parametrize("name", ["evidence_times", "evidence_segment", "keyframes"])
def test_moments_all_over_the_clip_earn_what_they_hit(name: str) -> None:
    soup = "".join(f"<t>{k / 10}</t>s" for k in range(200))  # every 0.1 s of 20 s
    earned = value(name, f"<think>{soup}</think><answer>3 to 7</answer>", "temporal grounding")
    hits = {
        # recall is 1; the mean of exp(-dt^2 / 2) is 2 sqrt(2 pi) / 20 = 0.251 less the tails where both meet:
        "evidence_times": 2 * 0.249 / 1.249,
        "evidence_segment": 41 / 200,  # 3.0, 3.1, ..., 7.0
        "keyframes": 2 * 2 / (200 + 2),
    }
    assert earned == pytest.approx(hits[name], abs=5e-3)


def test_boxes_all_over_the_picture_earn_what_they_hit() -> None:
    boxes = "".join(f"<box>[{x}, {x}, {x + 20}, {x + 20}]</box>" for x in range(0, 80, 10))
    soup = f"<obj>chair</obj>{boxes}at<t>3.0</t>s"
    # the chair is [10, 20, 30, 40]: [20, 20, 40, 40] and [10, 10, 30, 30] share 200 of 600, others less
    earned = value("evidence_boxes", f"<think>{soup}</think><answer>B</answer>", "multiple choice")
    assert 0 < earned < 0.15
    assert value("evidence_boxes", f"<think>{soup * 9}</think>", "multiple choice") == pytest.approx(earned)


def test_a_right_claim_told_nine_times_counts_once() -> None:
    right, wrong = (
        f"<obj>chair</obj><box>{box}</box>at<t>3.0</t>s" for box in ([10, 20, 30, 40], [60, 60, 70, 70])
    )
    # one of two claims and one of two objects: precision and recall are 1/2 (published: 9 of 10 claims)
    for said in (right + wrong, right * 9 + wrong):
        assert value("evidence_boxes", f"<think>{said}</think>", "multiple choice") == pytest.approx(0.5)
    often = f"<think>{right * 9}{wrong}</think>"
    assert value("evidence_boxes", often, "multiple choice", rule="published") == pytest.approx(0.9)
    moments = "<t>3.0</t>s" * 9 + "<t>15.0</t>s"  # one of two moments and one of two key frames
    assert value("keyframes", f"<think>{moments}</think>", "multiple choice") == pytest.approx(0.5)


@pytest.mark.parametrize(("time", "paid"), [(2.1, 2 / 3), (2, 0), (3.9, 2 / 3), (4, 0)])
def test_a_claim_a_second_off_is_off(time: float, paid: float) -> None:
    # the one claim is right and one of two objects is claimed: F1 of 1 and 1/2
    claim = f"<obj>chair</obj><box>[10, 20, 30, 40]</box>at<t>{time}</t>s"
    assert value("evidence_boxes", f"<think>{claim}</think>", "multiple choice") == pytest.approx(paid)


@pytest.mark.parametrize("name", ["think_answer_consistency", "semantic_consistency"])
def test_no_judge_is_asked_about_a_guess_at_everything(name: str) -> None:
    asked: list[str] = []

    def judge(prompt: str) -> Reply:
        asked.append(prompt)
        return Reply("TRUE", "")

    reward = REWARDS[name](judge=judge)  # behind the gate, the default
    for answer in ("A or B or C", "A"):
        assert reward(f"<think>It is B.</think><answer>{answer}</answer>", ask("multiple choice")).value == 0
    assert reward("<think>It is <answer>B</answer></think>", ask("multiple choice")).value == 0
    assert asked == []


@pytest.mark.parametrize(
    ("drawn", "paid"),
    [
        ('{"chair": [[5, 5], [5, 5]], "table": [[5, 5]]}', 0),  # everything at the centre
        ('{"chair": [[500, 500], [500, 500]], "table": [[500, 500]]}', 0),  # off the grid
        ('{"chair": [[1, 2]], "chair": [[8, 8]], "table": [[5, 5]]}', 0),  # a name twice
        ('{"chair": [[1, 2], [8, 8]], "table": [[5, 5]]}', 1),
    ],
)
def test_maps_that_know_nothing(drawn: str, paid: float) -> None:
    completion = f"<think><map>{drawn}</map></think><answer>B</answer>"
    assert value("map", completion, "multiple choice") == paid
    spread = "<map>{}</map>" * 9 + f"<map>{drawn}</map>"  # repeated tags: the last map counts
    assert value("map", f"<think>{spread}</think><answer>B</answer>", "multiple choice") == paid


def test_every_reward_is_described() -> None:
    rows = (Path(__file__).parents[1] / "docs" / "rewards.md").read_text(encoding="utf-8").splitlines()
    named = [
        name for row in rows if row.startswith("| `") for name in re.findall(r"`(\w+)`", row.split("|")[1])
    ]
    assert sorted(named) == sorted(REWARDS)


def test_no_reward_pays_for_nothing() -> None:
    free = {"length": 1.0, "answer_structure": 0.5}
    for name, options in EVERYTHING:
        for completion in ("", "<think></think><answer></answer>"):
            got = value(name, completion, "multiple choice", **options)
            formed = name == "format" and completion and options.get("rule") != "strict"
            if name == "length":
                assert got == float(0 < len(completion) < 10)
            elif name == "evidence_format":
                assert got == (0.5 if completion else 0)
            elif formed:
                assert got == (0 if options.get("rule") == "video2layout" else 1)  # published: tags are all
            else:
                assert math.isnan(got) or got == free.get(name, 0), (name, options, completion)


TAGS = ["<think>", "</think>", "<answer>", "</answer>", "<map>", "</map>", "<obj>chair</obj>", "at"]
TAGS += [
    "<box>[10,20,30,40]</box>",
    "<t>3.0</t>s",
    '{"time": [3, 7]}',
    '{"boxes": [0, 0, 10, 10]}',
    "A,B",
    "B",
]
TAGS += ["2.5", "3 to 7", "-", " ", "NaN", "1e999", "\u0663", "\ud800", ".", "/", "<", "{", "}"]
TEXTS = st.lists(st.sampled_from(TAGS), max_size=25).map("".join) | st.text(max_size=60)


@given(TEXTS, st.sampled_from(sorted(TRUTHS)))
@settings(max_examples=60)
def test_any_text_gets_a_value_within_bounds(text: str, kind: str) -> None:
    for name, options in EVERYTHING:
        graded = made(name, **options)(text, ask(kind))
        low, high = (-4 if options.get("shape") == "distance" else 0), (2 if name == "spacer_accuracy" else 1)
        assert graded.ungraded or low <= graded.value <= high, (name, options, graded)
        assert isinstance(graded.reason, str)


MEGABYTE = 1_000_000
HOSTILE = [
    "<answer>" + "9" * MEGABYTE + "</answer>",
    "<answer>" + "1 to " * (MEGABYTE // 5) + "</answer>",
    "<answer>" + " to" * (MEGABYTE // 3) + " </answer>",
    "<answer>" * (MEGABYTE // 8),
    "<think>" + "<obj>a</obj><box>[1,2,3,4]</box>" * (MEGABYTE // 32) + "</think>",
    "<think>" + "<obj>" * (MEGABYTE // 5) + "</think><answer>B</answer>",
    "<think>" + "<t>3</t>s" * (MEGABYTE // 9) + "</think><answer>3 to 7</answer>",
    "<think><map>" + "[" * MEGABYTE + "</map></think><answer>B</answer>",
    " " * MEGABYTE + "<answer>",
    "</map>" + " " * MEGABYTE + "</think>" + " " * 9 + "<answer>",
    "<think>so</think><answer>" + "[" * MEGABYTE + "</answer>",
    "<think>so</think><answer>" + "{" * 7_900 + "</answer>",
]


@pytest.mark.parametrize("k", range(len(HOSTILE)))
def test_a_megabyte_of_anything_ends(k: int) -> None:
    """No time is asserted: a reward that is not linear would not come back from some of these for hours."""
    for name, options in EVERYTHING:
        for kind in ("multiple choice", "temporal grounding", "tracking"):
            if name not in ("accuracy", "answer_structure") and kind != "multiple choice":
                continue
            made(name, **options)(HOSTILE[k], ask("temporal grounding" if name == "temporal_iou" else kind))
