"""The methods' advantages against numbers worked out by hand."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tolman.learn.advantage import Floats, RewardedGroup, group_mean_std, has_signal
from tolman.learn.advantage.bands import TaskBands, stretch
from tolman.learn.advantage.difficulty import DifficultyWeighted, difficulty_weight
from tolman.learn.advantage.duality import Duality, agreement
from tolman.learn.advantage.ema import EmaPerTask
from tolman.learn.advantage.segments import PerSegment
from tolman.learn.advantage.temporal import OrderWeighted, TemporalContrast
from tolman.learn.advantage.views import ViewConsistent, view_penalty
from tolman.learn.bonus import Group, TemporalBonus

NAN = math.nan


def group(rewards: list[float], **fields: Any) -> RewardedGroup:
    return RewardedGroup(np.array(rewards), **fields)


def graded(accuracy: list[float], shuffled: list[float] | None = None, **fields: Any) -> RewardedGroup:
    others = None if shuffled is None else {"accuracy": np.array(shuffled)}
    return group(accuracy, parts={"accuracy": np.array(accuracy)}, shuffled=others, **fields)


def test_ema_sets_the_moments_then_moves_them_before_use() -> None:
    ema = EmaPerTask()
    # first step: mean of r and of r^2 over both groups is 3/8; sigma^2 = 3/8 - 9/64 = 15/64
    first = ema([group([1, 0, 0, 0], problem_type="a"), group([1, 1, 0, 0], problem_type="a")])
    sigma = math.sqrt(15) / 8 + 1e-6
    assert first[0] == pytest.approx(np.array([0.75, -0.25, -0.25, -0.25]) / sigma)
    assert first[1] == pytest.approx(np.array([0.5, 0.5, -0.5, -0.5]) / sigma)
    # second step, all wrong: m1 = m2 = 0.99 * 3/8; a group without spread stays at 0
    [second] = ema([group([0, 0], problem_type="a")])
    assert second.tolist() == [0.0, 0.0]
    assert ema.state == {"a": pytest.approx([0.37125, 0.37125])}


def test_ema_keeps_tasks_apart_and_ungraded_ones_out() -> None:
    ema = EmaPerTask(task="question_type")
    small = group([1.0, 0.0], question_type="count")
    large = group([10.0, 0.0, NAN], question_type="size")
    lone = group([NAN, NAN], question_type="route")
    found = ema([small, large, lone])
    # scaling one task's reward by 10 changes nothing: sigma is 1/2 and 5
    assert found[0] == pytest.approx([1.0, -1.0], abs=1e-5)
    assert found[1][:2] == pytest.approx([1.0, -1.0], abs=1e-5)
    assert math.isnan(found[1][2])
    assert np.isnan(found[2]).all()
    assert set(ema.state) == {"count", "size"}


def test_ema_guard_uses_the_groups_own_std() -> None:
    ema = EmaPerTask()
    ema([group([0.5, 0.5])])  # sigma is the floor
    # m1 = 0.5, m2 = 0.99 * 0.25 + 0.01 * 0.5 = 0.2525, sigma = 0.05: 0.5 / 0.05 = 10 > 5
    [found] = ema([group([0.0, 1.0])])
    assert found == pytest.approx(group_mean_std([0.0, 1.0], 1e-6))


def test_ema_state_survives_json() -> None:
    ema, other = EmaPerTask(), EmaPerTask()
    ema([group([0.1, 0.7, 0.2], problem_type="a")])
    other.state.update(json.loads(json.dumps(ema.state)))
    step = [group([0.3, 0.9], problem_type="a")]
    assert other(step)[0].tolist() == ema(step)[0].tolist()


@pytest.mark.parametrize(
    ("rule", "power", "expected"), [("exp", 1.0, 2.1170000), ("power", 2.0, 0.64), ("log", 1.0, 1.3093333)]
)
def test_difficulty_weight_by_hand(rule: str, power: float, expected: float) -> None:
    # at a mean of 1/4: exp(0.75), (1.05 - 0.25)^2, -ln(0.27)
    assert difficulty_weight(0.25, rule, power) == pytest.approx(expected, abs=1e-6)


def test_difficulty_weights_the_advantages() -> None:
    weighted = DifficultyWeighted(of="accuracy")
    [found] = weighted([graded([1, 0, 0, 0])])
    assert found == pytest.approx(math.exp(0.75) * group_mean_std([1, 0, 0, 0]))
    [unknown] = weighted([group([1.0, 0.0], parts={"accuracy": np.array([NAN, NAN])})])
    assert unknown == pytest.approx(group_mean_std([1.0, 0.0]))
    with pytest.raises(ValueError, match=r"in \[0, 1\], got 1.5"):
        weighted([graded([2.0, 1.0])])
    with pytest.raises(ValueError, match="rule 'exp' has none"):
        DifficultyWeighted(of="accuracy", power=2.0)


def test_stretch_by_hand() -> None:
    # (0.7 - 0.6) / 0.35 = 2/7
    assert stretch([0.5, 0.7, 0.95, 1.0], 0.6, 0.95) == pytest.approx([0, 2 / 7, 1, 1])
    assert math.isnan(stretch([NAN], 0.6, 0.95)[0])


def test_task_bands_flatten_what_an_easy_task_gets_for_little() -> None:
    bands = TaskBands(of="accuracy", bands={"grounding": [0.6, 0.95]})
    easy, other = (graded([0.5, 0.6], question_type=name) for name in ("grounding", "counting"))
    found = bands([easy, other])
    assert found[0].tolist() == [0.0, 0.0]
    assert found[1] == pytest.approx(group_mean_std([0.5, 0.6]))
    for bad in ({}, {"grounding": [0.9, 0.2]}, {"grounding": 0.5}):
        with pytest.raises(ValueError, match="bands"):
            TaskBands(of="accuracy", bands=bad)


def test_temporal_contrast_survives_the_std() -> None:
    ordered, shuffled = [1.0, 1.0, 0.0, 0.0], [1.0, 0.0]
    published = TemporalBonus(of=("accuracy",), shuffled=2)
    bonus = published(
        Group({"accuracy": np.array(ordered)}, np.ones(4, int), {"accuracy": np.array(shuffled)})
    )
    assert bonus.tolist() == [0.3, 0.3, 0.0, 0.0]
    plain = group_mean_std(ordered)
    assert group_mean_std(np.array(ordered) + bonus) == pytest.approx(plain, abs=1e-3)
    contrast = TemporalContrast(of=("accuracy",), shuffled=2)
    assert contrast([graded(ordered, shuffled)])[0] == pytest.approx(plain + bonus)
    # all right in order, all wrong shuffled: GRPO alone has no signal here
    assert contrast([graded([1.0, 1.0], [0.0, 0.0])])[0].tolist() == [0.3, 0.3]
    # 1/4 < 0.8 * 1/2: order does not help
    assert contrast([graded([1, 0, 0, 0], [1, 0])])[0] == pytest.approx(group_mean_std([1, 0, 0, 0]))
    assert contrast([graded([1, 0], [NAN, NAN])])[0] == pytest.approx(group_mean_std([1, 0]))


@given(
    st.lists(st.booleans(), min_size=2, max_size=9),
    st.lists(st.booleans(), min_size=1, max_size=4),
    st.floats(0.05, 5),
    st.sampled_from([0.0, 1.0]),
)
def test_the_published_bonus_cancels_for_any_right_and_wrong(
    right: list[bool], shuffled: list[bool], value: float, form: float
) -> None:
    """r -> r + value on the rewarded set is affine in 0/1 rewards, whatever constant the format adds."""
    accuracy, others = np.array(right, dtype=float), np.array(shuffled, dtype=float)
    bonus = TemporalBonus(of=("accuracy",), shuffled=len(shuffled), value=value)(
        Group({"accuracy": accuracy}, np.ones(len(right), int), {"accuracy": others})
    )
    plain = group_mean_std(accuracy + form, eps=0.0)
    assert group_mean_std(accuracy + form + bonus, eps=0.0) == pytest.approx(plain, abs=1e-9)
    contrast = TemporalContrast(of=("accuracy",), shuffled=len(shuffled), value=value, eps=0.0)
    [found] = contrast([graded(list(accuracy), list(others))])
    earned = accuracy.mean() >= 0.8 * others.mean() and accuracy.any()
    assert np.allclose(found, group_mean_std(accuracy, eps=0.0)) == (not earned)


def test_the_published_bonus_acts_where_format_varies() -> None:
    # 2 2 2 1 1 1 1 1 (the fourth is right, its form is not): mean 1.375, variance 1.875 / 7,
    # -0.375 / 0.51755;
    # 2.3 2.3 2.3 1.3 1 1 1 1 with the bonus: mean 1.525, variance 2.955 / 7, -0.225 / 0.64973
    accuracy, form = np.array([1.0, 1, 1, 1, 0, 0, 0, 0]), np.array([1.0, 1, 1, 0, 1, 1, 1, 1])
    before, after = (group_mean_std(accuracy * worth + form)[3] for worth in (1.0, 1.3))
    assert (before, after) == pytest.approx((-0.72443, -0.34625), abs=1e-5)


@pytest.mark.parametrize(
    ("shuffled", "strength", "weight"),
    [([0, 0], 1.0, 1.5), ([1, 0], 1.0, 1.0), ([1, 1], 1.0, 0.5), ([1, 1], 4.0, 0.0), ([NAN, NAN], 1.0, 1.0)],
)
def test_order_weight_by_hand(shuffled: list[float], strength: float, weight: float) -> None:
    # ordered mean 1/2: the gap to the shuffled mean is 1/2, 0, -1/2
    weighted = OrderWeighted(of=("accuracy",), shuffled=2, strength=strength)
    [found] = weighted([graded([1.0, 0.0], shuffled)])
    assert found == pytest.approx(weight * group_mean_std([1.0, 0.0]))
    assert not has_signal(weighted([graded([1.0, 1.0], shuffled)])[0])


def test_the_better_view_pays() -> None:
    # means 0.8 and 0.5: the better view's completions above 0.5 pay 2 * 0.3
    better, worse = np.array([1.0, 0.9, 0.5]), np.array([1.0, 0.5, 0.0])
    assert view_penalty(better, worse, 2.0, 0.5) == pytest.approx([0.6, 0.6, 0.0])
    assert view_penalty(worse, better, 2.0, 0.5).tolist() == [0.0, 0.0, 0.0]
    assert view_penalty(better, np.array([NAN]), 2.0, 0.5).tolist() == [0.0, 0.0, 0.0]
    pair = [graded(list(better), pair=1), graded(list(worse), pair=0)]
    found = ViewConsistent(of=("accuracy",))(pair)
    assert found[0] == pytest.approx(group_mean_std([0.7, 0.6, 0.5]))
    assert found[1] == pytest.approx(group_mean_std(worse))


def test_duality_pays_answers_that_both_views_give() -> None:
    # of three answers in the other view two are A and one is B
    assert agreement(["A", "B", "C", None], ["A", "A", "B", None]) == pytest.approx([2 / 3, 1 / 3, 0, 0])
    assert agreement(["A"], [None, None]).tolist() == [0.0]
    pair = [group([1.0, 0.0], answers=("A", "B"), pair=1), group([1.0, 1.0], answers=("A", "A"), pair=0)]
    found = Duality(weight=0.5)(pair)
    assert found[0] == pytest.approx(group_mean_std([1.5, 0.0]))
    # half of the first view says A, so both completions of the second earn 0.25 and stay equal
    assert not has_signal(found[1])


def test_segments_have_advantages_of_their_own() -> None:
    parts: dict[str, Floats] = {
        "frames": np.array([1.0, 0.0]),
        "accuracy": np.array([0.0, 1.0]),
        "format": np.array([0.0, 1.0]),
    }
    segments = PerSegment(mark="</fps>", first=("frames",), second=("accuracy", "format"), eps=0.0)
    [found] = segments([group([1.0, 2.0], parts=parts)])
    half = math.sqrt(0.5)
    assert found == pytest.approx(np.array([[half, -half], [-half, half]]))
    [ungraded] = segments([group([NAN, 2.0], parts=parts)])
    assert np.isnan(ungraded[0]).all()
    assert not np.isnan(ungraded[1]).any()
    with pytest.raises(ValueError, match="second is empty"):
        PerSegment(mark="</fps>", first=("frames",), second=())
