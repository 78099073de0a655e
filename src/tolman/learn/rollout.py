"""A graded group: completions of one prompt, what each earned and why, and what that means for training.
Pure.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tolman.cogmap import extract_map_text, parse_map
from tolman.learn.advantage import Advantage, RewardedGroup, has_signal
from tolman.learn.bonus import Bonus, Group
from tolman.policy.generate import Sample
from tolman.questions.question import Question
from tolman.reward.answer import final_answer
from tolman.reward.compose import Composed, Grading
from tolman.reward.letters import read_letter
from tolman.reward.numbers import read_number

Floats = npt.NDArray[np.float64]


class Sampled(NamedTuple):
    """One prompt's completions, not yet graded.

    shuffled: completions from shuffled frames, () for none. pair: index among the step's prompts of the
    mirrored twin, or None.
    """

    question: Question
    samples: Sequence[Sample]
    shuffled: Sequence[Sample] = ()
    pair: int | None = None


@dataclass(frozen=True, eq=False)
class Rollout:
    """G completions of one question.

    rewards_G: weighted sum of the rewards plus bonuses, NaN where a completion could not be graded.
    advantages: (G,), or (G, 2) with the tokens before `cuts_G[g]` weighted with the first; NaN in the same
    places. dropped: a filter left the group out; its advantages are 0 and nothing of it is trained on.
    """

    question: Question
    samples: tuple[Sample, ...]
    gradings: tuple[Grading, ...]
    bonus_G: Floats
    rewards_G: Floats
    advantages: Floats
    cuts_G: npt.NDArray[np.int64] | None = None
    dropped: bool = False

    @property
    def graded_mask_G(self) -> npt.NDArray[np.bool_]:
        """True where the completion was graded."""
        return ~np.isnan(self.rewards_G)

    @property
    def signal(self) -> bool:
        """Whether the group moves the policy at all."""
        return has_signal(self.advantages)

    def token_advantages(self, index: int) -> list[float]:
        """Of each token of completion number `index`."""
        tokens = len(self.samples[index].token_ids)
        if self.cuts_G is None:
            return [float(self.advantages[index])] * tokens
        cut = int(self.cuts_G[index])
        first, second = self.advantages[index].tolist()
        return [first] * cut + [second] * (tokens - cut)


class GradedGroup(NamedTuple):
    """A group before its advantages: what those may look at, the verdicts, and the bonuses (G,)."""

    sampled: Sampled
    group: RewardedGroup
    gradings: tuple[Grading, ...]
    bonus_G: Floats


def weigh_step(
    graded: Sequence[GradedGroup], advantage: Advantage, kept_mask: Sequence[bool]
) -> list[Rollout]:
    """Advantages of a step's groups, computed together. kept_mask: False for a group that is dropped; the
    advantage does not see it."""
    kept = iter(advantage([entry.group for entry, keep in zip(graded, kept_mask, strict=True) if keep]))
    return [
        Rollout(
            entry.sampled.question,
            tuple(entry.sampled.samples),
            entry.gradings,
            entry.bonus_G,
            entry.group.rewards_G,
            next(kept) if keep else 0.0 * entry.group.rewards_G,  # NaN stays NaN
            entry.group.cuts_G if keep else None,
            not keep,
        )
        for entry, keep in zip(graded, kept_mask, strict=True)
    ]


def grade_group(
    sampled: Sampled,
    composed: Composed,
    bonuses: Sequence[Bonus],
    advantage: Advantage,
    decode: Callable[[Sequence[int]], str],
) -> GradedGroup:
    """One group's verdicts and bonuses. decode: token ids to text."""
    question, mark = sampled.question, advantage.mark
    texts = [sample.text for sample in sampled.samples]
    token_ids = [sample.token_ids for sample in sampled.samples]
    gradings = tuple(composed.grade(text, question) for text in texts)
    others = [composed.grade(sample.text, question) for sample in sampled.shuffled]
    lengths_G = np.array([len(ids) for ids in token_ids])
    parts, shuffled = _parts(gradings, composed), _parts(others, composed) if others else None
    bonus_G = np.zeros(len(texts))
    for bonus in bonuses:
        bonus_G = bonus_G + bonus(Group(parts, lengths_G, shuffled))
    group = RewardedGroup(
        rewards_G=bonus_G + np.array([grading.total for grading in gradings], dtype=np.float64),
        parts=parts,
        shuffled=shuffled,
        problem_type=question.problem_type,
        question_type=question.question_type,
        answers=tuple(comparable_answer(text, question) for text in texts) if advantage.mirrored else (),
        cuts_G=np.array([cut_after(ids, mark, decode) for ids in token_ids]) if mark else None,
        pair=sampled.pair,
    )
    return GradedGroup(sampled, group, gradings, bonus_G)


def comparable_answer(completion: str, question: Question) -> str | None:
    """The answer such that equal answers are equal strings: an option's letter, a number to three digits, or
    the text without case; None for no answer that can be read."""
    text = final_answer(completion).text
    if text is None:
        return None
    if question.options:
        return read_letter(text, question.options).letter
    if question.problem_type in ("numerical", "regression"):
        value = read_number(text, question.answer_unit).value
        return None if value is None else f"{value:.3g}"
    return text.casefold()


def cut_after(token_ids: Sequence[int], mark: str, decode: Callable[[Sequence[int]], str]) -> int:
    """Tokens up to and including the one that completes `mark`; all of them where it never comes."""
    if mark not in decode(token_ids):
        return len(token_ids)
    return bisect_left(range(len(token_ids)), True, key=lambda count: mark in decode(token_ids[:count]))


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
                "advantage": rollout.advantages[index].tolist(),
                "map": extract_map_text(sample.text, "published").text or "",
            }
        )
    return rows


def rollout_metrics(rollouts: Sequence[Rollout]) -> dict[str, float]:
    """Means over a step's completions; a mean over nothing is left out rather than called 0.

    reward, reward/<part>: means over graded completions; reward_best, reward_std: means over groups of the
    best within and of the std within; reward_std/<part>: std over all. groups: how many. map_drawn: share
    with a map inside the thought that parses strictly. zero_signal: share of groups without a preference.
    ungraded: completions without a grade. entropy: mean of -log p over sampled tokens, one draw's estimate of
    the entropy in nats of the sampling distribution. truncation, with top-p or top-k: mean over sampled
    tokens of their log-probability where they were drawn from minus the one that the loss sees (both at the
    recipe's temperature).
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
        "groups": float(len(rollouts)),
        "zero_signal": float(np.mean([not rollout.signal for rollout in rollouts])),
        "ungraded": float(np.isnan(rewards).sum()),
        "entropy": -float(sum(float(sample.log_probs.sum()) for sample in samples)) / max(tokens, 1),
    }
    gaps = [
        sample.log_probs - sample.full_log_probs for sample in samples if sample.full_log_probs is not None
    ]
    if gaps:
        metrics["truncation"] = float(sum(float(gap.sum()) for gap in gaps)) / max(tokens, 1)
    _mean(metrics, "reward", rewards)
    best = [rollout.rewards_G[rollout.graded_mask_G].max(initial=-np.inf) for rollout in rollouts]
    _mean(metrics, "reward_best", np.array([value for value in best if np.isfinite(value)]))
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
