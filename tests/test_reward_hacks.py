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
