"""What a step logs about its samples, against the loss path and by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from learn_world import digits, rl_table, tiny_policy, write_dataset
from tolman.learn.batching import flat_log_probs, tree_scores_of
from tolman.learn.corpus import load_corpus
from tolman.learn.recipe import parse_recipe
from tolman.learn.rl import Rl, RlPart
from tolman.learn.rollout import Rollout, rollout_metrics
from tolman.policy.generate import Sample
from tolman.questions.question import Question
from tolman.reward.compose import Composed, Grading, Part
from tolman.reward.graded import Graded


def rollout(*samples: Sample) -> Rollout:
    """A group of samples that earned nothing."""
    row = {"problem_id": 1, "problem": "How many?", "problem_type": "numerical", "path": "clip.mp4"}
    asked = Question.from_row(row | {"solution": "<answer>2</answer>"})
    zeros = np.zeros(len(samples))
    return Rollout(asked, samples, tuple(Grading(0.0, {}) for _ in samples), zeros, zeros, zeros)


def test_truncation_is_a_mean_over_tokens() -> None:
    # kept masses 0.8 and 0.5 in the first sample, 0.25 in the second: log p - log(p * mass) = -log mass
    logs = [torch.tensor(values).log() for values in ([0.5, 0.2], [0.4, 0.1], [0.8], [0.2])]
    group = rollout(
        Sample((7, 8), "", logs[0], False, full_log_probs=logs[1]),
        Sample((9,), "", logs[2], False, full_log_probs=logs[3]),
    )
    found = rollout_metrics([group])
    assert found["truncation"] == pytest.approx(-math.log(0.8 * 0.5 * 0.25) / 3, abs=1e-6)
    assert found["entropy"] == pytest.approx(-math.log(0.5 * 0.2 * 0.8) / 3, abs=1e-6)
    assert "truncation" not in rollout_metrics([rollout(Sample((7, 8), "", logs[0], False))])


def test_what_groups_earned() -> None:
    nothing = torch.zeros(1)
    earned = ([0.2, 0.8, math.nan], [0.5, 0.5, 0.5], [math.nan] * 3)
    groups = [
        replace(rollout(*[Sample((7,), "", nothing, False)] * 3), rewards_G=np.array(rewards))
        for rewards in earned
    ]
    found = rollout_metrics(groups)
    assert found["groups"] == 3
    assert found["ungraded"] == 4
    assert found["reward"] == pytest.approx((0.2 + 0.8 + 1.5) / 5)
    assert found["reward_best"] == pytest.approx((0.8 + 0.5) / 2)  # the third has none
    assert found["reward_std"] == pytest.approx(math.sqrt(2 * 0.3**2) / 2)  # of n - 1, and 0
    assert "reward_best" not in rollout_metrics(groups[2:])


@pytest.mark.parametrize(
    "options", [{"temperature": 0.6}, {"temperature": 1.7, "top_k": 4}, {"top_p": 0.5}], ids=str
)
def test_the_loss_path_computes_what_was_sampled(tmp_path: Path, options: dict[str, Any]) -> None:
    table = rl_table(write_dataset(tmp_path / "data"), tmp_path)
    table["sampling"] |= options
    recipe = parse_recipe(table)
    policy = tiny_policy()
    with torch.no_grad():
        for parameter in policy.model.parameters():
            parameter.mul_(3)  # far from uniform
    objective = Rl(recipe, policy, load_corpus(recipe.data))
    batch = objective.batch(0)
    clips = [clip for part in batch.parts for clip in part.clips]
    assert sum(len(clip.completion_nodes) for clip in clips) == len(batch.rows)  # the KL term wants all
    with torch.no_grad():
        log_probs = flat_log_probs(tree_scores_of(policy, clips, options.get("temperature", 1.0)))
    truncation = batch.metrics.get("truncation", 0.0)
    assert (truncation > 0.05) == ("temperature" not in options or "top_k" in options)
    assert float(log_probs.mean()) == pytest.approx(-batch.metrics["entropy"] - truncation, abs=1e-4)
    assert gap_of(objective, batch.parts) < 1e-4


def gap_of(objective: Rl, parts: Sequence[RlPart]) -> float:
    """The metric of a whole update."""
    return sum(objective.loss(part).metrics["sampling_gap"] for part in parts)


@pytest.mark.parametrize("beta", [0.0, 0.04])
def test_the_gap_is_a_mean_over_what_is_trained(tmp_path: Path, beta: float) -> None:
    table = rl_table(write_dataset(tmp_path / "data"), tmp_path)
    table["loss"] |= {"beta": beta, "clamp": 10.0 * (beta > 0)}
    table["batch"] = {"clips": 3, "questions_per_clip": 2, "micro_clips": 1}
    recipe = parse_recipe(table)
    objective = Rl(recipe, tiny_policy(), load_corpus(recipe.data))
    objective.composed = Composed([Part("digits", digits_of_some)])
    batch = objective.batch(0)
    trained = [length for part in batch.parts for clip in part.clips for length in clip.lengths]
    assert (len(trained) < len(batch.rows)) == (beta == 0)  # without a KL term some groups have no signal
    assert gap_of(objective, batch.parts) < 1e-4
    shifted = batch.parts[0].clips[0].sampled[0]
    assert shifted is not None
    shifted += 0.5
    assert gap_of(objective, batch.parts) == pytest.approx(0.5 * trained[0] / sum(trained), abs=1e-4)


def digits_of_some(completion: str, question: Question) -> Graded:
    """`digits` for the first question of each clip, else the same for all."""
    return digits(completion, question) if question.problem_id.endswith("-0") else Graded(1.0, "")
