"""Groups without signal, questions chosen by repeated inference, and curricula."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from learn_world import question_row, rl_table, tiny_policy, write_dataset
from tolman.learn.corpus import ClipQuestions, draw, load_corpus
from tolman.learn.curriculum import by_level, difficulty
from tolman.learn.filtering import Selected, count_reasons, passes, redraw, select_rows
from tolman.learn.recipe import apply_overrides, parse_recipe
from tolman.learn.rl import Rl
from tolman.learn.sections import Data, Filter, Select
from tolman.questions.question import Question
from tolman.reward.graded import Graded
from tolman.reward.registry import REWARDS

NAN = math.nan


def question(name: str = "q", **extra: object) -> Question:
    return Question.from_row(question_row(name, f"{name}.mp4", 3) | extra)


@pytest.mark.parametrize(
    ("values", "rule", "kept"),
    [
        ([1, 0], Filter(), True),
        ([1, 1], Filter(), False),
        ([0.3, 0.1 + 0.2], Filter(), False),  # rounding is no preference
        ([1, NAN], Filter(), False),
        ([1, NAN, 0], Filter(), True),
        ([NAN, NAN], Filter(), False),
        ([1, 1, 1, 0], Filter(of="a"), True),  # mean 0.75 within (0.01, 0.99)
        ([1, 1], Filter(of="a"), False),
        ([0.5, 0.5], Filter(of="a"), True),  # no spread, but the mean is what counts
        ([0, 0, NAN], Filter(of="a"), False),
        ([0.5], Filter(of="a", bounds=(0.5, 1.0)), False),  # the bounds are out
        ([1.0], Filter(of="a", bounds=(0.5, 1.0)), False),
    ],
)
def test_passes(values: list[float], rule: Filter, kept: bool) -> None:
    assert passes(np.array(values), rule) is kept


def clips(count: int, questions: int, levels: list[float] | None = None) -> list[ClipQuestions]:
    return [
        ClipQuestions(
            str(c),
            Path(str(c)),
            tuple(question(f"{c}-{q}") for q in range(questions)),
            (levels or [0.0] * count)[c],
        )
        for c in range(count)
    ]


def test_redraw_takes_other_clips_and_as_many_questions_as_are_missing() -> None:
    world = clips(6, 3)
    drawn = redraw(world, {"1", "4"}, 5, 2, 11)
    assert [len(entry.questions) for entry in drawn] == [2, 2, 1]
    names = [entry.clip.name for entry in drawn]
    assert len(set(names)) == 3
    assert not {"1", "4"} & set(names)
    assert redraw(world, {"1", "4"}, 5, 2, 11) == drawn
    assert redraw(world, {str(c) for c in range(6)}, 5, 2, 11) == []
    assert redraw(world, set(), 0, 2, 11) == []


TEXTS = ["good", "bad", "fair", "fine"]
SELECT = [
    # values, rule, reason, what the first row gains
    ([1, 0, 0.5, 0.5], Select(of="a"), "", {"difficulty": 0.5, "score_std": 0.125**0.5}),
    ([0, 0, 0, 0], Select(of="a"), "", {"difficulty": 1.0}),  # without a bound nothing is too hard
    ([0.5, 0.5, 0.5, 0.5], Select(of="a", low=0.5, high=0.5), "", {"difficulty": 0.5}),  # bounds are in
    ([0, 0, 0, 0.4], Select(of="a", low=0.2), "hard", None),
    ([1, 1, 1, 0.4], Select(of="a", high=0.8), "easy", None),
    ([0.5, 0.5, 0.5, 0.5], Select(of="a", spread=0.01), "flat", None),
    ([1, 1, 1, 1], Select(of="a", solved=0.0), "solved", None),
    ([1, 1, 1, NAN], Select(of="a", solved=1.0), "", {"difficulty": 0.0}),
    ([NAN] * 4, Select(of="a"), "ungraded", None),
    # variance 3 / 4 * 1 / 4 over all four: the population's, sqrt(3) / 4 = 0.4330127
    ([0, 1, 1, 1], Select(of="a", spread=0.44), "flat", None),
    ([0, 1, 1, 1], Select(of="a", spread=0.43), "", {"score_std": 0.4330127, "score_mean": 0.75}),
    ([0, 1, 1, 0], Select(of="a", keep="answers"), "", {"turns": [{"role": "assistant", "content": "bad"}]}),
    ([0, 0.9, 0, 0], Select(of="a", keep="answers"), "no right one", None),
    ([NAN, 1, 0.5, 0], Select(of="a", keep="pairs"), "", {"chosen": "bad", "rejected": "fine"}),
    ([1, 0.5, 1, 1], Select(of="a", keep="pairs"), "no contrast", None),
    ([0.8, 0.3, 1, 1], Select(of="a", keep="pairs", right=0.8, wrong=0.3), "", {"chosen": "good"}),
    ([0.5, 0.5, 0.5, 0.5], Select(of="a", keep="verdicts"), "no contrast", None),
    ([0.5, 0, 0.5, 1], Select(of="a", keep="verdicts"), "", {"completion": "fine", "label": True}),
]


@pytest.mark.parametrize(("values", "rule", "reason", "gained"), SELECT)
def test_select_rows(values: list[float], rule: Select, reason: str, gained: dict[str, Any] | None) -> None:
    found = select_rows(question(), TEXTS, values, rule)
    assert found.reason == reason
    assert bool(found.rows) == (gained is not None)
    for key, value in (gained or {}).items():
        assert found.rows[0].extra[key] == (pytest.approx(value) if isinstance(value, float) else value)


def test_verdicts_come_as_two_rows() -> None:
    found = select_rows(question(), TEXTS, [0.5, 0, 0.5, 1], Select(of="a", keep="verdicts"))
    assert [(row.extra["completion"], row.extra["label"]) for row in found.rows] == [
        ("fine", True),
        ("bad", False),
    ]


def test_a_share_of_solved_questions_is_kept() -> None:
    kept = [
        bool(select_rows(question(str(k)), ["x"], [1.0], Select(of="a", solved=0.2)).rows) for k in range(400)
    ]
    assert (
        50 < sum(kept) < 110
    )  # 80 expected, standard deviation 8; a hash of the id decides, so always the same


def test_reasons_are_counted() -> None:
    entries = [Selected([question()] * 2, ""), Selected([], "hard"), Selected([], "hard")]
    assert count_reasons(entries) == {"questions": 3, "rows": 2, "hard": 2, "kept": 1}


def test_a_curriculum_goes_from_easy_to_hard_within_an_epoch() -> None:
    levels = [0.9, 0.1, 0.5, 0.1]
    world = clips(4, 1, levels)
    for seed in range(4):
        drawn = [entry.clip for step in range(4) for entry in draw(world, seed, step, 2, 1)]
        assert [clip.level for clip in drawn] == [0.1, 0.1, 0.5, 0.9] * 2
    firsts = {draw(world, seed, 0, 1, 1)[0].clip.name for seed in range(20)}
    assert firsts == {"1", "3"}  # equals in random order
    assert by_level(np.array([2, 0, 1]), [0.0, 0.0, 0.0]).tolist() == [2, 0, 1]


def test_equals_keep_the_epochs_order_however_many_they_are() -> None:
    order = np.random.default_rng(0).permutation(200)
    levels = [float(k % 2) for k in range(200)]
    expected = [k for k in order if k % 2 == 0] + [k for k in order if k % 2]
    assert by_level(order, levels).tolist() == expected


def test_difficulty_is_a_number_of_every_row() -> None:
    assert difficulty([question(difficulty=1), question(difficulty=0.5)]) == 0.75
    for bad in (None, "hard", True, NAN):
        with pytest.raises(ValueError, match=r"question q: data.easy_first needs a number `difficulty`"):
            difficulty([question(difficulty=bad)])


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("data"), clips=5, questions=2)


def test_easy_first_reads_the_rows(data: Path) -> None:
    with pytest.raises(ValueError, match=r"data.easy_first needs a number `difficulty`, got None"):
        load_corpus(Data(path=str(data), easy_first=True))


def test_groups_without_signal_make_room_for_others(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Groups of odd clips earn 1 throughout and are dropped, those of even clips differ."""
    seen = iter(range(10**6))

    def grade(completion: str, question: Question) -> Graded:
        odd = int(Path(question.path).stem) % 2
        return Graded(1.0 if odd else float(next(seen) % 2), "")

    monkeypatch.setitem(REWARDS, "odd", lambda: grade)
    table = rl_table(data, tmp_path) | {"rewards": [{"name": "odd"}], "filter": {"redraws": 3}}
    found: dict[int, dict[str, float]] = {}
    for redraws in (0, 3):
        recipe = parse_recipe(apply_overrides(table, [f"filter.redraws={redraws}", "batch.clips=3"]))
        objective = Rl(recipe, tiny_policy(), load_corpus(recipe.data))
        batch = objective.batch(0)
        trees = [clip for part in batch.parts for clip in part.clips]
        assert all(int(clip.clip.file.stem) % 2 == 0 for clip in trees)  # KL would have wanted the odd ones
        trained = sum(len(clip.completion_nodes) for clip in trees)
        assert trained == batch.parts[0].count.completions
        odd = [row for row in batch.rows if int(Path(row["path"]).stem) % 2]
        assert all(row["advantage"] == 0 for row in odd)
        found[redraws] = batch.metrics | {"trained": trained}
    drawn = draw(load_corpus(Data(path=str(data))).training, 3, 0, 3, 2)
    dropped = 2 * sum(int(entry.clip.name[6]) % 2 for entry in drawn)  # clips/3.mp4
    assert dropped > 0
    assert found[0]["dropped"] == dropped
    assert found[0]["redrawn"] == 0
    assert found[0]["trained"] == 4 * (6 - dropped)
    assert found[3]["redrawn"] > 0
    # three of five clips are even: with redraws all their six groups are in, the two odd ones out
    assert found[3]["trained"] == 4 * 6
    assert found[3]["dropped"] == 6 + found[3]["redrawn"] - 6


def test_the_filter_is_checked(data: Path, tmp_path: Path) -> None:
    table = rl_table(data, tmp_path)
    for rule, message in (
        ({"of": "map"}, "filter.of names 'map'; valid choices: accuracy, format"),
        ({"bounds": [0.2, 0.8]}, "filter.of names no reward"),
        ({"of": "format", "bounds": [0.8, 0.2]}, "filter.bounds must ascend"),
    ):
        with pytest.raises(ValueError, match=message):
            parse_recipe(table | {"filter": rule})
    pairs = {"name": "duality", "options": {"weight": 0.1}}
    with pytest.raises(ValueError, match="would tear apart the pairs of 'duality'"):
        parse_recipe(table | {"filter": {}, "advantage": pairs})
