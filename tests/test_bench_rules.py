"""Peers' rules by hand where a quirk decides, and against any text."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tolman.bench.asking import question
from tolman.bench.benchmark import Judge, registry
from tolman.bench.rules import common, flagevalmm, grounding, mmmu, spatialscore, vlmevalkit
from tolman.bench.score import find_rule
from tolman.bench.verdict import RANDOM

OPTIONS = ["left", "right", "back", "front"]
RULES = [(name, rule) for name, entry in registry().items() for rule in entry.rules]
PIECES = [
    "A", "b", " ", "\n", "(", ")", ".", "1", "2.5", ",", "-", "to", "and", "answer is ", "Option A: ", "**",
    "[", "]", "<answer>", "</answer>", "<think>", "</think>", "start", "0:12", "\\boxed{", "}", "right",
    "two", "=", "答案", "\u200b", "_", "yes", "'", '"answer": ', "1e5", "nan",
]  # fmt: skip
TEXTS = st.lists(st.sampled_from(PIECES), max_size=12).map("".join)


def row(prediction: Any, truth: Any = "B", kind: str = "", options: Any = OPTIONS) -> dict[str, Any]:
    return {
        "id": 1,
        "question_type": kind,
        "ground_truth": truth,
        "options": options,
        "prediction": prediction,
    }


def rows_of(name: str, prediction: str) -> Iterator[dict[str, Any]]:
    """A row per kind of truth, some of which a benchmark has no use for."""
    entry = registry()[name]
    for kind in entry.tasks or ("", "multi-choice", "judgment"):
        for truth, options in (("B", OPTIONS), ("3", None), ([1.0, 2.0], None), ("yes", None)):
            yield row(prediction, truth, kind, options) | {"question": "Which?", "source": "x"}


@cache
def judged() -> list[tuple[str, Judge, dict[str, Any]]]:
    """Every rule with the rows it takes."""
    found = []
    for name, rule in RULES:
        judge = find_rule(name, rule).judge
        for each in rows_of(name, "B"):
            with suppress(ValueError, KeyError, TypeError, IndexError, AttributeError):
                judge(each)
                judge(each | {"prediction": ""})
                found.append((f"{name}, {rule}, {each['ground_truth']}", judge, each))
    return found


def test_every_rule_takes_some_row() -> None:
    told = {", ".join(name.split(", ")[:2]) for name, _, _ in judged()}
    lacking = {f"{name}, {rule}" for name, rule in RULES} - told
    assert lacking <= {"3dsrbench, lmms_eval_aggregation", "vstar, official_when_where", "openeqa, judge"}


@given(text=TEXTS)
@settings(max_examples=40)
def test_no_text_breaks_a_rule_and_no_score_leaves_the_unit_interval(text: str) -> None:
    for name, judge, each in judged():
        verdict = judge(each | {"prediction": text})
        assert math.isnan(verdict.score) or 0 <= verdict.score <= 1, name
        assert not verdict.guessed or verdict.extracted == RANDOM, name


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("<answer>c, the sofa</answer>", "C"),
        ("It is B", "B"),  # the only lone capital of the last line
        ("A or B", None),
        ("the answer is (d)", "D"),
        ("Because", None),
        ("Option A: left\nOption B: right\nB", "B"),
        ("<think>A</think> then **B**", "A"),  # a letter right before a closing tag comes first
    ],
)
def test_vlmevalkit_letters(text: str, letter: str | None) -> None:
    assert vlmevalkit.match_option(text) == letter


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("<answer>3 m</answer>", 3.0),
        ("two chairs and three", 3.0),  # the last
        ("[4, 5]", 4.0),  # of a list the first
        ("<think>9</think> about -2.5e1", -25.0),
        ("none", None),
    ],
)
def test_vlmevalkit_numbers(text: str, number: float | None) -> None:
    assert vlmevalkit.match_number(text) == number


def test_mmmu_takes_the_last_letter_of_the_most_trusted_shape() -> None:
    options = dict(zip("ABCD", OPTIONS, strict=True))
    assert mmmu.read_drawing("(A) or (C), and B.", options) == "C"
    assert mmmu.read_drawing("NA or else", options) == "A"  # nothing need stand before it
    assert mmmu.read_drawing("it is on the right of the table", options) == "B"
    assert mmmu.read_drawing("right", options) == ""  # five words or fewer: the text does not count
    assert mmmu.drawing(row("?")).score == pytest.approx(1 / 4)


def test_spans_by_hand() -> None:
    assert grounding.overlap((2, 6), (4, 8)) == pytest.approx(1 / 3)
    assert grounding.overlap((0, 1), (2, 3)) == 0.0
    assert grounding.lmms_eval("the event happens from 12.5 to 20 seconds") == (12.5, 20.0)
    assert grounding.lmms_eval("between 00:10 - 00:20") == (10.0, 20.0)
    assert grounding.time_r1("from 3 to 5, or 6 and 7.5") == (6.0, 7.5)
    assert grounding.time_r1("none") is None


def test_first_letter_stands_inside_a_word() -> None:
    assert common.first_letter("The best answer is Actually C", "ABCD", common.choice_prefixes()) == "A"
    assert common.first_letter("no", "ABCD", common.choice_prefixes()) == ""


@pytest.mark.parametrize(
    ("task", "truth", "said", "score"),
    [
        ("EPM", "B", "Option B.", 1.0),
        ("EPM", "B", "b", 0.0),
        ("REC", "12", "1 of 2", 1.0),  # all digits joined
        ("REC", "7", "07", 0.0),
        ("SSR", "Yes", "Y", 1.0),
        ("SSR", "Yes", "I say Yes", 1.0),  # anywhere
        ("SSR", "Yes", "yes", 0.0),  # capitals as written
        ("CRR", "No", "Nothing", 1.0),
        ("CRR", "No", "N.", 0.0),
    ],
)
def test_ovobench_by_hand(task: str, truth: str, said: str, score: float) -> None:
    assert find_rule("ovobench", "official").judge(row(said, truth, task)).score == score


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("twenty-one", 21),
        ("two-point-five", 2.5),
        ("point-five", 0.5),
        ("two-point-ten", 2),  # only digits may follow the point
        ("two-hundred-five", 205),
        ("two-point-point", None),
    ],
)
def test_flagevalmm_number_words(text: str, number: float | None) -> None:
    assert flagevalmm.word_to_number(text) == number


def test_flagevalmm_writes_out_what_is_wrong() -> None:
    assert flagevalmm.clean("×") == "错误"
    assert flagevalmm.clean("$×$") == "×"


def test_spatialscore_asks_as_the_question_s_own_benchmark_is_asked() -> None:
    asked = question("spatialscore", 1, "How far?", "2 m", kind="open-ended", answer_kind="text")
    starts = {
        "BLINK": "**Please select",
        "VGBench": "You will be provided",
        "VSI-Bench_8": "**Answer concisely",
    }
    for source, start in starts.items():
        told = spatialscore.prompt(replace(asked, extra={"source": source}))
        assert told.startswith(start)
        assert told.endswith("Question: How far?")
    assert "\\scalar{scalar} \\distance_unit{distance unit}" in spatialscore.prompt(
        replace(asked, extra={"source": "QSpatialBench-Plus"})
    )


def test_open_questions_of_mmvu_cannot_be_graded() -> None:
    judge = find_rule("mmvu", "official").judge
    assert math.isnan(judge(row("Dolly Zoom", "Dolly Zoom", "open-ended", None)).score)
    assert judge(row("B", "B", "multiple-choice", OPTIONS)).score == 1.0


def test_rules_that_look_for_the_tag_are_given_the_whole_output() -> None:
    told = row("B") | {"raw": "<think>so</think><answer>B</answer>"}
    for name, rule in (
        ("dsi_bench", "official"),
        ("seed_bench_r1", "official"),
        ("video_holmes", "vlmevalkit"),
    ):
        assert find_rule(name, rule).judge(told).score == 1.0
        assert find_rule(name, rule).judge(row("B")).score == 0.0


def test_relative_accuracy_bounds() -> None:
    # .2 keeps the bounds .50, .45, …, .25, six of ten; .20 as 1 - .80 is 0.19999999999999996
    assert common.share_within(0.2) == pytest.approx(0.6)
    assert common.share_within(0.5) == pytest.approx(0.1)
    assert common.share_within(0.5, strict=True) == 0.0
    assert common.share_within(math.nan) == 0.0


@pytest.mark.parametrize(
    "unit",
    [
        "A", " ", "\n", "1", "1.", "(", "*", "- ", "1 - ", "A ", "<answer>", "<answer ", "</answer>",
        "answer is ", "Option A:\n", "start 1.\n", "so 1 is \n", "1:11 ", "1e", "[",
    ],
)  # fmt: skip
def test_long_text_of_anything_is_read(unit: str) -> None:
    """Ends at all: a rule that takes quadratic time would hold the suite for minutes. `perf/scoring.py` times
    every rule.
    """
    text = unit * (200_000 // len(unit))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        vlmevalkit.match_option(text)
        vlmevalkit.match_number(text)
        mmmu.open_answer(row(text, "3"))
        grounding.lmms_eval(text)
        grounding.lmms_eval_script(text)
        grounding.time_r1(text)
        for name in ("vsibench", "sparbench", "stibench"):
            kind = registry()[name].tasks[-1] if registry()[name].tasks else ""
            find_rule(name, "strict").judge(row(text, "B", kind))
