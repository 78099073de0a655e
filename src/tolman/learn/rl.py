"""Reinforcement learning with verifiable rewards over groups: the GRPO family.

A step draws clips and questions, samples G completions of each prompt, grades them, turns each group's
rewards into advantages, and trains on trees that hold every clip and prompt once. Which rewards, bonuses,
advantage and loss: the recipe says; nothing here knows a paper. Training is strictly on-policy: one optimiser
step per sampled batch.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from tolman.learn.batching import ClipTree, Reader, flat_log_probs, frozen_features, split, tree_scores_of
from tolman.learn.corpus import Corpus, draw
from tolman.learn.loss import BatchCount, divisors, policy_gradient
from tolman.learn.objective import Batch, LossOutput
from tolman.learn.recipe import Recipe, make_advantage, make_bonuses, make_rewards
from tolman.learn.rollout import Rollout, grade_group, rollout_metrics, rollout_rows
from tolman.learn.seeds import generator, stream_seed
from tolman.policy.generate import Sample, generate
from tolman.policy.policy import Policy
from tolman.policy.prompt import Prompt


@dataclass(frozen=True, eq=False)
class RlPart:
    """Trees with the trained completions as leaves, their advantages in the same order, the whole step's
    counts.
    """

    clips: list[ClipTree]
    count: BatchCount


class Rl:
    """Rewards over sampled groups."""

    def __init__(self, recipe: Recipe, policy: Policy, corpus: Corpus) -> None:
        assert recipe.loss is not None
        assert recipe.sampling is not None
        self.recipe, self.policy, self.corpus = recipe, policy, corpus
        self.loss_config, self.sampling = recipe.loss, recipe.sampling
        self.composed, self.bonuses = make_rewards(recipe), make_bonuses(recipe)
        self.advantage = make_advantage(recipe)
        self.reader = Reader(recipe, policy)
        self.reference = _frozen_copy(policy) if recipe.loss.beta > 0 else None
        self.modules: Mapping[str, nn.Module] = {}

    def batch(self, step: int) -> Batch:
        """Sample, grade, and hang what is worth training on into the clips' trees."""
        run, size = self.recipe.run, self.recipe.batch
        drawn = draw(self.corpus.training, run.seed, step, size.clips, size.questions_per_clip)
        clips, skipped = self.reader.read(drawn)
        rollouts = self._roll_out(clips, step)
        trained = self._grow(clips, rollouts)
        flat = [rollout for group in rollouts for rollout in group]
        lengths = [
            len(sample.token_ids)
            for rollout in flat
            for sample, graded in zip(rollout.samples, rollout.graded_mask_G, strict=True)
            if graded
        ]
        count = BatchCount(len(lengths), sum(lengths), self.sampling.max_new_tokens)
        return Batch(
            [RlPart(part, count) for part in split(trained, size.micro_clips)],
            samples=sum(len(rollout.samples) for rollout in flat),
            skipped=skipped,
            metrics=rollout_metrics(flat),
            rows=[row for rollout in flat for row in rollout_rows(rollout)],
        )

    def _roll_out(self, clips: Sequence[ClipTree], step: int) -> list[list[Rollout]]:
        """Per clip, per question: a graded group."""
        shuffles = max((bonus.shuffled for bonus in self.bonuses), default=0)
        self.policy.model.eval()
        ordered = self._sample([clip.prompts for clip in clips], self.sampling.group, step, "rollout")
        if shuffles:
            rng = np.random.default_rng(stream_seed(self.recipe.run.seed, step, "shuffle"))
            prompts = [self.reader.shuffled_prompts(clip, rng) for clip in clips]
            shuffled = self._sample(prompts, shuffles, step, "shuffled rollout")
        else:
            shuffled = [[[] for _ in clip.prompts] for clip in clips]
        return [
            [
                grade_group(question, samples, others, self.composed, self.bonuses, self.advantage)
                for question, samples, others in zip(clip.questions, groups, group_others, strict=True)
            ]
            for clip, groups, group_others in zip(clips, ordered, shuffled, strict=True)
        ]

    def _sample(
        self, prompts: Sequence[Sequence[Prompt]], group: int, step: int, purpose: str
    ) -> list[list[list[Sample]]]:
        """`group` completions of every prompt, nested as the prompts are."""
        config = self.sampling
        flat = generate(
            self.policy,
            [prompt for of_clip in prompts for prompt in of_clip],
            group,
            max_new_tokens=config.max_new_tokens,
            temperature=config.temperature,
            top_p=config.top_p,
            generator=generator(self.recipe.run.seed, step, purpose),
        )
        groups = iter(flat)
        return [[next(groups) for _ in of_clip] for of_clip in prompts]

    def _grow(self, clips: Sequence[ClipTree], rollouts: Sequence[Sequence[Rollout]]) -> list[ClipTree]:
        """Add the completions to train on; returns the clips that have any.

        A group whose rewards are all equal has no policy gradient and is left out, unless a KL term wants it.
        A completion that could not be graded is never trained on.
        """
        for clip, groups in zip(clips, rollouts, strict=True):
            for index, rollout in enumerate(groups):
                if not rollout.signal and not self.loss_config.beta:
                    continue
                for sample, advantage in zip(rollout.samples, rollout.advantages_G, strict=True):
                    if not np.isnan(advantage):
                        clip.add_completion(index, sample.token_ids, float(advantage))
        return [clip for clip in clips if clip.completion_nodes]

    def loss(self, part: RlPart) -> LossOutput:
        """The part's share of the policy-gradient loss."""
        temperature, config = self.sampling.temperature, self.loss_config
        features = frozen_features(self.policy, part.clips)
        log_probs_N = flat_log_probs(tree_scores_of(self.policy, part.clips, temperature, features))
        lengths = [length for clip in part.clips for length in clip.lengths]
        advantages = [advantage for clip in part.clips for advantage in clip.advantages]
        advantages_N = torch.tensor(advantages).repeat_interleave(torch.tensor(lengths))
        terms = policy_gradient(
            log_probs_N,
            log_probs_N.detach(),
            advantages_N.to(log_probs_N),
            divisors(lengths, config.normalise, part.count).to(log_probs_N),
            log_probs_ref_N=self._reference_log_probs(part, features),
            beta=config.beta,
            clamp=config.clamp,
        )
        metrics = {"loss": float(terms.loss.detach()), "policy_loss": terms.policy}
        if config.beta:
            metrics["kl"] = terms.kl
        return LossOutput(terms.loss, metrics, sum(lengths))

    @torch.no_grad()
    def _reference_log_probs(self, part: RlPart, features: Sequence[Tensor] | None) -> Tensor | None:
        if self.reference is None:
            return None
        scores = tree_scores_of(self.reference, part.clips, self.sampling.temperature, features)
        return flat_log_probs(scores)


def _frozen_copy(policy: Policy) -> Policy:
    """The policy as it is now, never to change."""
    model = copy.deepcopy(policy.model).eval()
    model.requires_grad_(False)
    return replace(policy, model=model)


def make_rl(recipe: Recipe, policy: Policy, corpus: Corpus) -> Rl:
    """The factory that the registry names."""
    return Rl(recipe, policy, corpus)
