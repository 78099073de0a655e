"""What a map is worth beside an answer; bonuses of length; rewards put together."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tolman.questions.question import GridMap, Question
from tolman.reward import REWARDS, Composed, Graded, Part, length_bonus_G

TRUTH: GridMap = {"chair": [[1, 2], [8, 8]], "table": [[5, 5]]}
PERFECT = '{"chair": [[1, 2], [8, 8]], "table": [[5, 5]]}'
CENTRE = '{"chair": [[5, 5], [5, 5]], "table": [[5, 5]]}'
NEAR = '{"chair": [[1, 3], [8, 8]], "table": [[5, 5]]}'
OFF = '{"chair": [[500, 500]], "table": [[500, 500]]}'
BLIND = 1 - (5 + 3 * math.sqrt(2)) / (10 * math.sqrt(2)) / 3  # 0.782, see test_cogmap_score
NEAR_PUBLISHED = 1 - 1 / (10 * math.sqrt(2)) / 3
NEAR_CALIBRATED = 1 - 1 / (5 + 3 * math.sqrt(2))


def ask(solution: str = "B", kind: str = "multiple choice", truth: GridMap | None = TRUTH) -> Question:
    return Question(1, "?", "video", kind, None, f"<answer>{solution}</answer>", "", "", cognitive_map=truth)


def said(answer: str, drawn: str | None = None) -> str:
    return f"<think>so{'' if drawn is None else f' <map>{drawn}</map>'}</think><answer>{answer}</answer>"


@pytest.mark.parametrize(
    ("answer", "drawn", "published", "calibrated"),
    [
        ("B", None, 0, 0),
        ("B", PERFECT, 1, 1),
        ("B", CENTRE, BLIND, 0),  # a map that knows nothing
        ("B", NEAR, NEAR_PUBLISHED, NEAR_CALIBRATED),
        ("B", OFF, -1, 0),  # published: a right answer with a bad map is worth nothing
        ("B", "{}", -1, 0),
        ("B", "nonsense", -1, 0),
        ("A", PERFECT, 0, 1),  # published: no map without a right answer
        ("A", "{}", 0, 0),
    ],
)
def test_map_terms(answer: str, drawn: str | None, published: float, calibrated: float) -> None:
    options = {"rule": "published", "gate": "half", "zero_map": "zeroes_answer", "accuracy_rule": "published"}
    as_published = REWARDS["map"](**options)(said(answer, drawn), ask())
    assert as_published.value == pytest.approx(published, abs=1e-12)
    assert REWARDS["map"]()(said(answer, drawn), ask()).value == pytest.approx(calibrated, abs=1e-12)


def test_accuracy_and_map_term_sum_to_the_published_reward() -> None:
    options = {"rule": "published", "gate": "half", "zero_map": "zeroes_answer", "no_truth": "zero_map"}
    composed = Composed(
        [
            Part("accuracy", REWARDS["accuracy"](rule="published")),
            Part("map", REWARDS["map"](**options, accuracy_rule="published")),
        ]
    )
    whole = REWARDS["spacer_accuracy"]()
    for question in (ask(), ask("2.5", "numerical"), ask(truth=None), ask("10", "regression"), ask(truth={})):
        for answer in ("B", "A", "2.5", "2", "10", ""):
            for drawn in (None, PERFECT, CENTRE, OFF, "{}"):
                completion = said(answer, drawn)
                assert composed.grade(completion, question).total == whole(completion, question).value


@pytest.mark.parametrize(
    ("gate", "answer", "term"),
    [  # 2 for 2.5 has accuracy 0.6, 3.75 has 0.1, 3.2 (28 % off) exactly 0.5: the gate wants more
        ("none", "3.75", 1), ("none", "2", 1), ("none", "2.5", 1),
        ("half", "3.75", 0), ("half", "3.2", 0), ("half", "2", 1), ("half", "2.5", 1),
        ("correct", "3.75", 0), ("correct", "2", 0), ("correct", "2.5", 1),
    ],
)  # fmt: skip
def test_gates(gate: str, answer: str, term: float) -> None:
    reward = REWARDS["map"](gate=gate)
    assert reward(said(answer, PERFECT), ask("2.5", "numerical")).value == term


def test_zero_map_takes_back_exactly_the_answers_worth() -> None:
    reward = REWARDS["map"](gate="half", zero_map="zeroes_answer")
    assert reward(said("2", CENTRE), ask("2.5", "numerical")).value == pytest.approx(-0.6)
    assert REWARDS["map"](gate="half")(said("2", CENTRE), ask("2.5", "numerical")).value == 0


def test_published_truth_missing_zeroes_the_answer_only_where_a_map_is_drawn() -> None:
    whole = REWARDS["spacer_accuracy"]()
    assert whole(said("B", PERFECT), ask(truth=None)).value == 0  # KeyError there
    assert whole(said("B"), ask(truth=None)).value == 1
    assert whole(said("B", PERFECT), ask(truth={"chair": []})).value == 0  # TypeError there
    assert whole(said("B", "x"), ask(truth={})).value == 2  # two empty maps agree
    assert whole(said("B", f"chair {'9' * 400} 1"), ask()).value == 0  # OverflowError there
    assert whole(said("2", PERFECT), ask("2", "OCR")).value == 1  # no map term for other types
    assert whole("</map><answer>B</answer><map>", ask()).value == 0  # both tags, but no map
    assert whole("<answer>B</answer><map>chair 1 2 8 8 table 5 5</map>", ask()).value == 2


@pytest.mark.parametrize("truth", [None, {}, {"chair": [[3, 3]]}])
@pytest.mark.parametrize("drawn", [None, PERFECT, "nonsense"])
def test_questions_that_cannot_grade_a_map(truth: GridMap | None, drawn: str | None) -> None:
    question = ask(truth=truth)
    assert REWARDS["map"]()(said("B", drawn), question).ungraded
    assert REWARDS["map"](no_truth="no_term")(said("B", drawn), question).value == 0
    zero = REWARDS["map"](no_truth="zero_map", zero_map="zeroes_answer")(said("B", drawn), question)
    assert zero.value == (0 if drawn is None else -1)


def test_calibrated_counts_the_last_map_of_the_thought_only() -> None:
    reward = REWARDS["map"]()
    assert reward(f"<think><map>{{}}</map><map>{PERFECT}</map></think>", ask()).value == 1
    assert reward(f"<think>so</think><map>{PERFECT}</map><answer>B</answer>", ask()).value == 0


def test_a_capital_in_the_true_category_is_no_trap_for_us() -> None:
    truth = {"TV": [[1, 1]], "Chair": [[5, 6]]}
    drawn = '{"TV": [[1, 1]], "Chair": [[5, 6]]}'
    assert (
        REWARDS["spacer_accuracy"]()(said("B", drawn), ask(truth=truth)).value == 0
    )  # published can never match
    assert REWARDS["map"]()(said("B", drawn), ask(truth=truth)).value == 1


def test_length_of_one_completion() -> None:
    reward = REWARDS["length"](low=2, high=3, bonus=0.2, count=lambda text: len(text.split()))
    assert [reward("a " * n, ask()).value for n in (1, 2, 3, 4)] == [0, 0.2, 0.2, 0]


def test_length_bonus_of_a_group() -> None:
    lengths = [319, 320, 512, 513, 400, 400]
    accuracy = [1, 1, 0.2, 1, 0.1, math.nan]  # 0.1 is not above 0.1
    np.testing.assert_array_equal(length_bonus_G(accuracy, lengths), [0, 0.2, 0.2, 0, 0, 0])
    # One correct completion alone gets nothing.
    np.testing.assert_array_equal(length_bonus_G([1, 0], [400, 400]), [0, 0])
    np.testing.assert_array_equal(length_bonus_G([1, 0], [400, 400], at_least=1), [0.2, 0])
    with pytest.raises(ValueError, match="lengths"):
        length_bonus_G([1, 0], [400])
    with pytest.raises(ValueError, match="low <= high"):
        length_bonus_G([1, 0], [400, 400], low=5, high=4)


def test_composed_rewards() -> None:
    parts = [
        Part("half", lambda completion, question: Graded(0.5, "half"), 2.0),
        Part("length", lambda completion, question: Graded(len(completion), "length"), -0.25),
    ]
    grading = Composed(parts).grade("abcd", ask())
    assert grading.total == 2 * 0.5 - 0.25 * 4
    assert grading.parts == {"half": (0.5, "half"), "length": (4, "length")}
    nan = Part("unknown", lambda completion, question: Graded(math.nan, "no idea"), 0.0)
    ungraded = Composed([*parts, nan]).grade("abcd", ask())
    assert ungraded.ungraded
    assert math.isnan(ungraded.total)


def test_a_bug_in_a_reward_is_not_a_low_score() -> None:
    def broken(completion: str, question: Question) -> Graded:
        raise KeyError("bug")

    with pytest.raises(KeyError):
        Composed([Part("broken", broken)]).grade("", ask())
    with pytest.raises(ValueError, match="two finite numbers"):
        REWARDS["map"]()(said("B", PERFECT), ask(truth={"chair": [[1, 2, 3]]}))


def test_mistakes_in_a_recipe_name_the_choices() -> None:
    with pytest.raises(ValueError, match=r"accuracy, .*, map, .*, tracking"):
        REWARDS["acuracy"]
    with pytest.raises(ValueError, match="its options are: rule"):
        REWARDS["accuracy"](rules="published")
    with pytest.raises(ValueError, match="its options are: low, high, bonus, count"):
        REWARDS["length"](low=1)
    with pytest.raises(ValueError, match="'corrected', 'published'"):
        REWARDS["accuracy"](rule="fair")
    for option in ("rule", "gate", "zero_map", "no_truth", "accuracy_rule"):
        with pytest.raises(ValueError, match=f"{option} must be one of"):
            REWARDS["map"](**{option: "x"})
    with pytest.raises(ValueError, match="different names"):
        Composed([])
    with pytest.raises(ValueError, match="finite"):
        Part("x", REWARDS["format"](), math.nan)
