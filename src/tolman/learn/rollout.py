"""A graded group: completions of one prompt, what each earned and why, and what that means for training.
Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tolman.cogmap import extract_map_text, parse_map
from tolman.learn.advantage import has_signal
from tolman.learn.bonus import Bonus, Group
from tolman.policy.generate import Sample
from tolman.questions.question import Question
from tolman.reward.compose import Composed, Grading

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Rollout:
    """G completions of one question.

    rewards_G: weighted sum of the rewards plus bonuses, NaN where a completion could not be graded.
    advantages_G: NaN in the same places.
    """

    question: Question
    samples: tuple[Sample, ...]
    gradings: tuple[Grading, ...]
    bonus_G: Floats
    rewards_G: Floats
    advantages_G: Floats

    @property
    def graded_mask_G(self) -> npt.NDArray[np.bool_]:
        """True where the completion was graded."""
        return ~np.isnan(self.rewards_G)

    @property
    def signal(self) -> bool:
        """Whether the group moves the policy at all."""
        return has_signal(self.advantages_G)


def grade_group(
    question: Question,
    samples: Sequence[Sample],
    shuffled: Sequence[Sample],
    composed: Composed,
    bonuses: Sequence[Bonus],
    advantage: Callable[[Floats], Floats],
) -> Rollout:
    """Grade a group and compute its advantages. shuffled: completions from shuffled frames, () for none."""
    gradings = tuple(composed.grade(sample.text, question) for sample in samples)
    others = [composed.grade(sample.text, question) for sample in shuffled]
    group = Group(
        _parts(gradings, composed),
        np.array([len(sample.token_ids) for sample in samples]),
        _parts(others, composed) if others else None,
    )
    bonus_G = np.zeros(len(samples))
    for bonus in bonuses:
        bonus_G = bonus_G + bonus(group)
    rewards_G = bonus_G + np.array([grading.total for grading in gradings], dtype=np.float64)
    return Rollout(question, tuple(samples), gradings, bonus_G, rewards_G, advantage(rewards_G))


def _parts(gradings: Sequence[Grading], composed: Composed) -> dict[str, Floats]:
    """Reward name → weighted values, one per completion."""
    return {
        part.name: part.weight * np.array([grading.parts[part.name].value for grading in gradings])
        for part in composed.parts
    }


def rollout_rows(rollout: Rollout) -> list[dict[str, Any]]:
    """Rows for rollouts.jsonl: one per completion, with every reward and its reason and the map it drew."""
    rows = []
    for index, (sample, grading) in enumerate(zip(rollout.samples, rollout.gradings, strict=True)):
        rows.append(
            {
                "problem_id": rollout.question.problem_id,
                "path": rollout.question.path,
                "question_type": rollout.question.question_type,
                "solution": rollout.question.solution,
                "completion": sample.text,
                "tokens": len(sample.token_ids),
                "finished": sample.finished,
                "rewards": {
                    name: {"value": graded.value, "reason": graded.reason}
                    for name, graded in grading.parts.items()
                },
                "bonus": float(rollout.bonus_G[index]),
                "reward": float(rollout.rewards_G[index]),
                "advantage": float(rollout.advantages_G[index]),
                "map": extract_map_text(sample.text, "published").text or "",
            }
        )
    return rows


def rollout_metrics(rollouts: Sequence[Rollout]) -> dict[str, float]:
    """Means over a step's completions; a mean over nothing is left out rather than called 0.

    reward, reward/<part>: means over graded completions; reward_std: mean over groups of the std within;
    reward_std/<part>: std over all. map_drawn: share with a map inside the thought that parses strictly.
    zero_signal: share of groups without a preference. ungraded: completions without a grade. entropy: mean of
    -log p over sampled tokens, one draw's estimate of the entropy in nats of the sampling distribution.
    """
    if not rollouts:
        return {}
    samples = [sample for rollout in rollouts for sample in rollout.samples]
    rewards = np.concatenate([rollout.rewards_G for rollout in rollouts])
    maps = [extract_map_text(sample.text).text for sample in samples]
    tokens = sum(len(sample.token_ids) for sample in samples)
    metrics = {
        "completion_length": tokens / len(samples),
        "finished": float(np.mean([sample.finished for sample in samples])),
        "map_drawn": float(np.mean([text is not None and parse_map(text).map is not None for text in maps])),
        "zero_signal": float(np.mean([not rollout.signal for rollout in rollouts])),
        "ungraded": float(np.isnan(rewards).sum()),
        "entropy": -float(sum(float(sample.log_probs.sum()) for sample in samples)) / max(tokens, 1),
    }
    _mean(metrics, "reward", rewards)
    spread = [np.std(rollout.rewards_G[rollout.graded_mask_G], ddof=1) for rollout in rollouts
              if rollout.graded_mask_G.sum() > 1]  # fmt: skip
    _mean(metrics, "reward_std", np.array(spread))
    _mean(metrics, "bonus", np.concatenate([rollout.bonus_G for rollout in rollouts]))
    for name in rollouts[0].gradings[0].parts:
        values = np.array([grading.parts[name].value for rollout in rollouts for grading in rollout.gradings])
        _mean(metrics, f"reward/{name}", values)
        if (~np.isnan(values)).any():
            metrics[f"reward_std/{name}"] = float(np.nanstd(values))
    return metrics


def _mean(metrics: dict[str, float], name: str, values: Floats) -> None:
    graded = values[~np.isnan(values)]
    if graded.size:
        metrics[name] = float(graded.mean())
