"""Whether an answer is right: the published rule with its bugs, and the corrected one without."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tolman.questions.question import Question
from tolman.reward import REWARDS
from tolman.reward.accuracy import mean_relative_accuracy
from tolman.reward.letters import read_letter
from tolman.reward.numbers import published_number, read_number
from tolman.reward.stem import stem
from tolman.reward.words import rouge_mean, word_error_rate

OPTIONS = ("A. chair", "B. table", "C. A bed or sofa")


def ask(
    solution: str, kind: str = "multiple choice", options: tuple[str, ...] | None = None, unit: str = ""
) -> Question:
    return Question(1, "?", "video", kind, options, f"<answer>{solution}</answer>", "", "", answer_unit=unit)


def said(answer: str) -> str:
    return f"<think>let me see</think><answer>{answer}</answer>"


def both(completion: str, question: Question) -> tuple[float, float]:
    """(published, corrected) accuracy."""
    published, corrected = (
        REWARDS["accuracy"](rule=rule)(completion, question) for rule in ("published", "corrected")
    )
    return published.value, corrected.value


def test_published_rewards_agree_with_spacer_on_every_row(shared_data: Path) -> None:
    rows = (shared_data / "scorers" / "spacer_reward__published.jsonl").read_text().splitlines()
    assert len(rows) >= 399
    accuracy, form = REWARDS["spacer_accuracy"](), REWARDS["format"]()
    for row in map(json.loads, rows):
        question = Question(
            1,
            "",
            "video",
            row["problem_type"],
            None,
            row["solution"],
            "",
            "",
            cognitive_map=row["cognitive_map"],
        )
        assert accuracy(row["completion"], question).value == pytest.approx(row["accuracy"], abs=1e-12), row
        assert form(row["completion"], question).value == row["format"], row


@pytest.mark.parametrize(
    ("answer", "published", "corrected"),
    [
        ("B", 1, 1),
        (" B\n", 1, 1),
        ("b", 0, 1),
        ("B.", 0, 1),
        ("(B)", 0, 1),
        ("(B).", 0, 1),
        ("B)", 0, 1),
        ("B: table", 0, 1),
        ("B. Table.", 0, 1),
        ("(B) table", 0, 1),
        ("A", 0, 0),
        ("B. chair", 0, 0),  # the letter and the text disagree
        ("A or B", 0, 0),
        ("A or B or C", 0, 0),
        ("A, B, C", 0, 0),
        ("B. table or A. chair", 0, 0),
        ("B or not B", 0, 0),
        ("table", 0, 0),
        ("Bed", 0, 0),  # never a letter inside a word
        ("BB", 0, 0),
        ("The answer is B", 0, 0),
        ("\u0392", 0, 0),  # Greek
        ("", 0, 0),
        ("<answer>B", 0, 1),  # published takes the first open tag: "<answer>B" is not "B"
    ],
)
def test_letters(answer: str, published: float, corrected: float) -> None:
    assert both(said(answer), ask("B", options=OPTIONS)) == (published, corrected)


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("B. chair", "B"),
        ("b) the chair", "B"),
        ("B. A chair", None),
        ("B. this or that", None),
        ("a chair", None),
    ],
)
def test_letters_without_options(text: str, letter: str | None) -> None:
    assert read_letter(text, None).letter == letter


def test_an_option_that_says_or_is_still_an_option() -> None:
    assert read_letter("C. a bed or sofa", OPTIONS).letter == "C"
    assert read_letter("D", OPTIONS).letter is None


@pytest.mark.parametrize(
    ("completion", "published", "corrected"),
    [
        ("<think>a</think><answer>B</answer><answer>A</answer>", 1, 0),  # two answers: the first, the last
        ("<think>a</think><answer>A</answer><answer>B</answer>", 0, 1),
        ("<think><answer>B</answer></think>", 1, 0),  # an answer in the thought only
        ("<think><answer>B</answer></think><answer>A</answer>", 1, 0),
        ("<think>so <answer>B</answer>", 1, 0),  # never stops thinking
        ("<think>a</think><answer>B</answer><think>b</think>", 1, 0),  # thinks again and says nothing
        ("<answer>B</answer>", 1, 1),
        ("<think>a</think>B", 0, 0),
        ("<think>a</think><answer>B", 0, 0),
        ("<think>a</think><answer>B</answer><answer>A", 1, 1),
        ("<think>a</think></answer>B<answer>", 0, 0),
        ("", 0, 0),
        ("<think>a</think><answer>" + "B " * 5000 + "</answer>", 0, 0),
    ],
)
def test_which_answer_counts(completion: str, published: float, corrected: float) -> None:
    assert both(completion, ask("B", options=OPTIONS)) == (published, corrected)


def test_a_right_answer_says_so_and_a_wrong_one_why() -> None:
    accuracy = REWARDS["accuracy"](rule="corrected")
    assert accuracy(said("B"), ask("B")) == (1.0, "said B, right is B")
    assert "several numbers" in accuracy(said("1 2 3"), ask("2", "numerical")).reason


@pytest.mark.parametrize(
    ("answer", "truth", "published", "corrected"),
    [
        # |p − t|/t ≤ 1 − θ for θ = .50, .55, …, .95. 2 for 2.5: 0.2 ≤ .5 .45 .4 .35 .3 .25 and .2 in float64?
        # 1 − 0.8 = 0.19999999999999996 < 0.2, so six of ten.
        ("2", "2.5", 0.6, 0.6),
        ("2.6", "2.5", 1.0, 1.0),  # 0.04 ≤ 0.05
        ("3.75", "2.5", 0.1, 0.1),  # exactly 0.5 ≤ 0.5
        ("3.8", "2.5", 0.0, 0.0),
        ("-2.5", "2.5", 1.0, 0.0),  # published drops the sign
        ("\u22122.5", "2.5", 1.0, 0.0),
        ("2.5 m", "2.5", 1.0, 1.0),
        ("about 2.5", "2.5", 1.0, 1.0),
        ("a distance of 2.5", "2.5", 0.0, 1.0),  # "a" is 1, and |1 − 2.5|/2.5 = .6
        ("a", "1", 1.0, 0.0),
        ("an armchair, 7", "1", 1.0, 0.0),
        ("2.5, perhaps 1 to 9", "2.5", 1.0, 0.0),  # number soup: the first, none
        ("1 2 3 4 5 6 7 8 9", "1", 1.0, 0.0),
        ("9 or one", "1", 1.0, 0.0),  # words before digits
        ("four", "4", 1.0, 1.0),
        ("4 (four) chairs", "4", 1.0, 1.0),
        ("twenty-one", "21", 0.0, 1.0),  # published finds "one"
        ("1,234", "1234", 0.0, 1.0),  # published reads 1
        ("1,234.5", "1234.5", 0.0, 1.0),
        ("2,5", "2.5", 0.6, 0.0),  # published reads 2; it is no number of ours
        ("2.5.1", "2.5", 1.0, 0.0),
        ("1e1", "10", 0.0, 1.0),
        ("1e999", "10", 0.0, 0.0),
        ("nan", "2.5", 0.0, 0.0),
        ("inf", "2.5", 0.0, 0.0),
        ("", "2.5", 0.0, 0.0),
        ("9" * 1900, "2.5", 0.0, 0.0),
        ("0", "0", 0.0, 1.0),  # published fails on a truth of 0
        ("zero", "0", 0.0, 1.0),
        ("1", "0", 0.0, 0.0),
        ("99", "-2", 1.0, 0.0),  # published: any number is right for a negative truth
        ("-2", "-2", 1.0, 1.0),
    ],
)
def test_numbers(answer: str, truth: str, published: float, corrected: float) -> None:
    assert both(said(answer), ask(truth, "numerical")) == pytest.approx((published, corrected), abs=1e-12)


@pytest.mark.parametrize(
    ("text", "unit", "value"),
    [
        ("150 cm", "m", 1.5),
        ("150cm", "m", 1.5),
        ("1.5 meters", "cm", 150),
        ("1.5 Metres.", "cm", 150),
        ("1500 mm", "m", 1.5),
        ("10 feet", "m", 3.048),
        ("20 m²", "m²", 20),
        ("20 m2", "m²", 20),
        ("20 m^2", "m²", 20),
        ("20 square meters", "m²", 20),
        ("20 meters squared", "m²", 20),
        ("20 sq. m", "m²", 20),
        ("200000 cm²", "m²", 20),
        ("20 m", "m²", None),
        ("20 m²", "m", None),
        ("20 m", "", 20),
        ("4 chairs", "count", 4),
        ("3 in the room", "m", 3),
        (".5", "m", 0.5),
        ("2-3", "m", None),
        ("1/2", "m", None),
        ("m2", "m", None),
    ],
)
def test_units(text: str, unit: str, value: float | None) -> None:
    assert read_number(text, unit).value == (None if value is None else pytest.approx(value, rel=1e-12))


@pytest.mark.parametrize(
    ("answer", "published", "corrected"),
    [
        ("10", 1 - 1e-9 / (10 + 1e-9), 1.0),
        ("12", 1 - (2 + 1e-9) / (10 + 1e-9), 0.8),
        ("12 m", 0.0, 0.8),
        ("-10", 0.0, 0.0),
        ("nan", 1.0, 0.0),  # max(0.0, nan) is 0.0 in Python: published takes it for no error
        ("inf", 0.0, 0.0),
        ("1,0", 1 - 1e-9 / (10 + 1e-9), 0.0),
    ],
)
def test_regression(answer: str, published: float, corrected: float) -> None:
    assert both(said(answer), ask("10", "regression")) == pytest.approx((published, corrected), abs=1e-12)


@pytest.mark.parametrize(
    ("answer", "truth", "value"),
    [
        ("2.5", "2.50", 1),
        ("2.504", "2.5", 1),
        ("2.51", "2.5", 0),
        ("3", "3.0", 0),  # a point in one of them only
        ("1,234", "1234", 0),
        ("1,234", "1,234", 1),
        ("3 m", "3", 0),
        ("-3", "3", 0),
        ("nan", "3", 0),
        ("", "3", 0),
    ],
)
def test_video_r1_wants_equal_numbers(answer: str, truth: str, value: float) -> None:
    reward = REWARDS["accuracy"](rule="video_r1")
    assert reward(said(answer), ask(truth, "numerical")).value == value
    assert reward(said("B."), ask("B")).value == 0  # otherwise as published
    assert reward(said("12"), ask("10", "regression")).value == pytest.approx(0.8)


def test_mean_relative_accuracy_counts_thresholds() -> None:
    # Errors of .46, .44, .04 are ≤ 1 − θ for θ = .50 | .50, .55 | all ten.
    assert mean_relative_accuracy(1.46, 1.0) == pytest.approx(0.1)
    assert mean_relative_accuracy(1.44, 1.0) == pytest.approx(0.2)
    assert mean_relative_accuracy(0.96, 1.0) == 1.0
    assert mean_relative_accuracy(-2.0, -2.0) == 1.0
    assert mean_relative_accuracy(0.0, 0.0) == 1.0
    assert mean_relative_accuracy(1e-9, 0.0) == 0.0


def test_text_answers() -> None:
    gold = "exit door left"
    for rule in ("published", "corrected"):
        accuracy = REWARDS["accuracy"](rule=rule)
        assert accuracy(said("exit left"), ask(gold, "OCR")).value == pytest.approx(2 / 3)
        assert accuracy(said("EXIT DOOR LEFT"), ask(gold, "OCR")).value == 0
        # "red chair" in "a red chair near the window": ROUGE-1 P 1, R 1/3 → 1/2; -2 P 1, R 1/5 → 1/3; -L 1/2.
        graded = accuracy(said("red chair"), ask("a red chair near the window", "free-form"))
        assert graded.value == pytest.approx((1 / 2 + 1 / 3 + 1 / 2) / 3)


def test_word_error_rate() -> None:
    assert word_error_rate("a b c", "a x c d") == pytest.approx(2 / 3)  # one replaced, one inserted
    assert word_error_rate("a b c", "b") == pytest.approx(2 / 3)
    assert word_error_rate("", "") == 0
    assert word_error_rate("", "a b") == 2
    assert word_error_rate("a", "b " * 1_000_000) >= 1  # at once


def test_rouge_stems_words_and_finds_common_subsequences() -> None:
    assert rouge_mean("the chairs are running", "the chair is run") == pytest.approx(
        (3 / 4 + 1 / 3 + 3 / 4) / 3
    )
    assert rouge_mean("a b c d", "d c b a") == pytest.approx((1 + 0 + 1 / 4) / 3)
    assert rouge_mean("", "a") == rouge_mean("a", "") == 0


@pytest.mark.parametrize(
    ("word", "stemmed"),
    [  # Porter's own examples where NLTK keeps them, and NLTK's departures
        ("caresses", "caress"), ("ponies", "poni"), ("ties", "tie"), ("cats", "cat"), ("feed", "feed"),
        ("agreed", "agre"), ("plastered", "plaster"),
        ("motoring", "motor"), ("sing", "sing"), ("sized", "size"),
        ("hopping", "hop"), ("falling", "fall"), ("hissing", "hiss"), ("filing", "file"), ("happy", "happi"),
        ("sky", "sky"), ("relational", "relat"), ("valenci", "valenc"), ("hopefulness", "hope"),
        ("triplicate", "triplic"), ("electrical", "electr"), ("adoption", "adopt"), ("replacement", "replac"),
        ("probate", "probat"), ("rate", "rate"), ("cease", "ceas"), ("controll", "control"), ("roll", "roll"),
        ("dying", "die"), ("died", "die"), ("enjoy", "enjoy"), ("by", "by"), ("chairs", "chair"),
    ],
)  # fmt: skip
def test_stems(word: str, stemmed: str) -> None:
    assert stem(word) == stemmed


def test_what_cannot_be_graded_is_not_zero() -> None:
    for rule in ("published", "corrected"):
        graded = REWARDS["accuracy"](rule=rule)(said("B"), ask("B", "segmentation"))
        assert graded.ungraded
        assert "segmentation" in graded.reason
    corrected = REWARDS["accuracy"](rule="corrected")
    assert corrected(said("B"), ask("A and B")).ungraded
    assert corrected(said("2"), ask("two or three", "numerical")).ungraded
    assert corrected(said("2"), ask("", "free-form")).ungraded


def test_published_number_words_in_table_order() -> None:
    assert published_number("two or one") == 1
    assert published_number("ninety zero") == 90
    assert published_number("armchair 5") == 5
    assert published_number("none") is None


@given(
    st.text(max_size=200) | st.text("<>/answerthik B.()0123456789,-e m²", max_size=200),
    st.sampled_from(range(5)),
)
@settings(max_examples=300, deadline=None)
def test_any_completion_is_graded_between_0_and_1(text: str, k: int) -> None:
    kind = ("multiple choice", "numerical", "regression", "OCR", "free-form")[k]
    question = ask(("B", "2.5", "10", "exit door", "a red chair")[k], kind, OPTIONS if k == 0 else None, "m")
    for rule in ("published", "corrected"):
        for completion in (text, said(text)):
            assert 0 <= REWARDS["accuracy"](rule=rule)(completion, question).value <= 1


TAGS = ["<think>", "</think>", "<answer>", "</answer>", "<map>", "</map>", "x", " ", "\n"]


@given(st.lists(st.sampled_from(TAGS), max_size=10).map("".join))
@settings(max_examples=500, deadline=None)
def test_format_is_the_published_full_match(text: str) -> None:
    expected = re.fullmatch(r"<think>.*?</think>\s*<answer>.*?</answer>", text, re.DOTALL) is not None
    assert REWARDS["format"]()(text, ask("B")).value == expected
    if REWARDS["format"](rule="strict")(text, ask("B")).value:
        assert expected


@pytest.mark.parametrize(
    ("text", "published", "strict"),
    [
        ("<think>a</think>\n<answer>B</answer>", 1, 1),
        ("<think><map>{}</map></think><answer>B</answer>", 1, 1),
        ("<think>a</think><map>{}</map><answer>B</answer>", 0, 0),
        ("<think>a</think><answer>A</answer><answer>B</answer>", 1, 0),
        ("<think>a</think><answer>B</answer>\n", 0, 0),
        ("<think>a</think><answer> </answer>", 1, 0),
        ("<think></think><answer>", 0, 0),
    ],
)
def test_format(text: str, published: float, strict: float) -> None:
    values = [REWARDS["format"](rule=rule)(text, ask("B")).value for rule in ("published", "strict")]
    assert values == [published, strict]


def test_nan_never_hides_in_a_published_number() -> None:
    for solution in ("nan", "inf", "1e999", "none"):
        value = REWARDS["accuracy"](rule="published")(said("2"), ask(solution, "numerical")).value
        assert not math.isnan(value)
