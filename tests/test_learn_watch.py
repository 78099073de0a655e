"""What a run says while it goes wrong: nothing is learnt, a step does not end, numbers are not finite."""

from __future__ import annotations

import json
import math
import re
import threading
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from learn_world import rl_table, sft_table, tiny_policy, write_dataset
from tolman.learn import watch
from tolman.learn.recipe import parse_recipe
from tolman.learn.train import train
from tolman.learn.watch import StallWatch, Watch
from tolman.questions.question import Question
from tolman.report.page import write_report
from tolman.reward.graded import Graded
from tolman.reward.registry import REWARDS


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("data"), clips=2, questions=2)


def one_reward(monkeypatch: pytest.MonkeyPatch, value: float) -> list[dict[str, Any]]:
    """A recipe's rewards: everything but a whole answer, which tiny policies never write, earns the same."""

    def grade(completion: str, question: Question) -> Graded:
        return Graded(1.0 if "</answer>" in completion else value, "always")

    monkeypatch.setitem(REWARDS, "same", lambda: grade)
    return [{"name": "same"}]


class TestSigns:
    def test_said_once_for_every_time_they_last(self) -> None:
        seen = Watch(steps=3)
        said = [seen.see({"zero_signal": value}) for value in (1.0, 1.0, 0.9, 1.0, 1.0, 1.0, 1.0, 0.0)]
        assert [len(texts) for texts in said] == [0] * 5 + [1] + [0] * 2
        assert re.search(r"last 3 steps.*sampling\.temperature", said[5][0])

    def test_completions_without_a_grade_are_no_collapse(self) -> None:
        seen = Watch(steps=1)
        # no mean over nothing: a step without any grade has no `reward`
        [said] = seen.see({"zero_signal": 1.0, "ungraded": 8.0})
        assert "no completion could be graded" in said
        assert seen.see({"zero_signal": 0.5, "ungraded": 7.0, "reward": 0.1}) == []

    def test_completions_that_never_end(self) -> None:
        seen = Watch(steps=2)
        said = [seen.see({"finished": value, "zero_signal": 0.0}) for value in (0.0, 0.1, 0.0, 0.0)]
        assert [len(texts) for texts in said] == [0, 0, 0, 1]
        assert "sampling.max_new_tokens" in said[3][0]

    def test_ten_steps_where_nothing_is_said(self) -> None:
        seen = Watch()
        said = [seen.see({"finished": 0.0, "zero_signal": 0.5}) for _ in range(12)]
        assert [len(texts) for texts in said] == [0] * 9 + [1] + [0] * 2
        assert said[9][0].startswith("in the last 10 steps no completion came to an end")

    def test_other_objectives_have_no_groups(self) -> None:
        assert Watch(steps=1).see({"loss": 0.0}) == []

    @pytest.mark.parametrize(("value", "said"), [(0.5, "zero_signal 1"), (math.nan, "could be graded")])
    def test_a_run_warns(
        self, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: float, said: str
    ) -> None:
        table = rl_table(data, tmp_path, steps=2, checkpoint_every=2)
        table |= {"optimiser": {"lr": 1e-3}, "rewards": one_reward(monkeypatch, value)}
        monkeypatch.setattr(watch, "STEPS", 2)
        monkeypatch.setattr(watch, "SIGNS", watch.SIGNS[:2])  # tiny policies never end anyway
        with pytest.warns(UserWarning, match="in the last 2 steps") as caught:
            train(parse_recipe(table), policy=tiny_policy())
        [text] = [str(entry.message) for entry in caught if "in the last" in str(entry.message)]
        assert said in text


class TestStall:
    def test_how_long_a_step_may_take(self, monkeypatch: pytest.MonkeyPatch) -> None:
        now = [0.0]
        monkeypatch.setattr(watch.time, "monotonic", lambda: now[0])
        stall = StallWatch(factor=20, least=60, first=1800)
        assert stall.limit == 1800
        for number, seconds in enumerate((2.0, 4.0, 90.0), 1):
            with stall.step(number):
                now[0] += seconds
        assert stall.limit == 80  # 20 times the median, 4
        with stall.step(4):
            now[0] += 1.0
        assert stall.limit == 60  # 20 times 3 s

    def test_half_an_hour_for_the_first_step_and_ten_minutes_at_least(self) -> None:
        stall = StallWatch()
        assert stall.limit == 1800
        with stall.step(1):
            pass
        assert stall.limit == 600

    def test_a_step_that_hangs_is_said_with_its_place(self, monkeypatch: pytest.MonkeyPatch) -> None:
        told, said = threading.Event(), []

        def tell(text: str, stacklevel: int) -> None:
            said.append(text)
            told.set()

        monkeypatch.setattr(watch.warnings, "warn", tell)

        def a_judge_that_does_not_answer() -> None:
            assert told.wait(60)

        with StallWatch(first=0.01).step(7):
            a_judge_that_does_not_answer()
        [text] = said
        assert text.startswith("step 7 has taken more than 0.01 s. It is at ")
        assert "a_judge_that_does_not_answer (" in text
        assert "--resume" in text

    def test_one_that_ends_is_not_spoken_of(self) -> None:
        before = threading.active_count()
        stall = StallWatch()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with stall.step(1):
                pass
            with pytest.raises(ZeroDivisionError), stall.step(2):
                _ = 1 / 0
        for thread in threading.enumerate()[before:]:
            thread.join()  # cancelled timers end at once
        assert threading.active_count() == before


class TestNotFinite:
    def test_a_gradient_stops_the_run_before_it_reaches_a_weight(self, data: Path, tmp_path: Path) -> None:
        policy = tiny_policy()
        before = {name: weight.clone() for name, weight in policy.model.state_dict().items()}
        weight = policy.model.get_input_embeddings().weight
        weight.register_hook(lambda grad: grad * math.inf)  # inf, and NaN where the gradient was 0
        with pytest.raises(ValueError, match=r"gradient norm of step 1 is (nan|inf).*Lower optimiser\.lr"):
            train(parse_recipe(sft_table(data, tmp_path)), policy=policy)
        assert all(torch.equal(before[name], weight) for name, weight in policy.model.state_dict().items())
        assert (tmp_path / "tiny" / "metrics.jsonl").read_text() == ""


def test_metrics_are_complete_and_the_page_shows_them(data: Path, tmp_path: Path) -> None:
    table = rl_table(data, tmp_path, steps=3)
    folder = train(parse_recipe(table), policy=tiny_policy())
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert len(rows) == 3
    always = {
        "loss", "policy_loss", "kl", "grad_norm", "lr",  # the update
        "reward", "reward/accuracy", "reward/format", "bonus", "reward_best",  # what was earned
        "groups", "reward_std", "reward_std/accuracy", "zero_signal", "ungraded",  # groups
        "completion_length", "finished", "map_drawn", "entropy",  # completions
        "samples", "tokens", "skipped", "seconds", "samples_per_second", "tokens_per_second",  # throughput
    }  # fmt: skip
    page = write_report(folder).read_text(encoding="utf-8")
    charts = set(re.findall(r'class="chart"[^>]*aria-label="([^"]+)"', page))
    for row in rows:
        assert always <= row.keys()
        assert row["samples_per_second"] == pytest.approx(row["samples"] / row["seconds"])
        assert row["tokens_per_second"] == pytest.approx(row["tokens"] / row["seconds"])
    assert charts == {name for row in rows for name in row} - {"step", "seconds"}
