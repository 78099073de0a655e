"""Supervised fine-tuning: the likelihood of gold completions.

A clip, its questions and their gold completions form one tree, so that the frames go through the vision tower
once and the clip's tokens through the language model once, however many questions are asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from tolman.learn.batching import ClipTree, Reader, flat_log_probs, split, tree_scores_of
from tolman.learn.corpus import Corpus, draw
from tolman.learn.loss import BatchCount, divisors, nll
from tolman.learn.objective import Batch, LossOutput
from tolman.learn.recipe import Recipe
from tolman.policy.policy import Policy


@dataclass(frozen=True)
class SftPart:
    """Trees with gold completions as leaves, and the counts of the whole step."""

    clips: list[ClipTree]
    count: BatchCount


class Sft:
    """Loss on the tokens of gold completions, the end of turn included."""

    def __init__(self, recipe: Recipe, policy: Policy, corpus: Corpus) -> None:
        assert recipe.loss is not None
        self.recipe, self.policy, self.corpus = recipe, policy, corpus
        self.normalise = recipe.loss.normalise
        self.reader = Reader(recipe, policy)
        self.modules: Mapping[str, nn.Module] = {}

    def batch(self, step: int) -> Batch:
        """Read the step's clips and build their trees."""
        run, size = self.recipe.run, self.recipe.batch
        drawn = draw(self.corpus.training, run.seed, step, size.clips, size.questions_per_clip)
        clips, skipped = self.reader.read(drawn)
        for clip in clips:
            for index, question in enumerate(clip.questions):
                clip.add_completion(index, self.reader.gold_ids(question))
        lengths = [length for clip in clips for length in clip.lengths]
        count = BatchCount(len(lengths), sum(lengths), max(lengths, default=0))
        parts = [SftPart(part, count) for part in split(clips, size.micro_clips)]
        return Batch(parts, samples=len(lengths), skipped=skipped)

    def loss(self, part: SftPart) -> LossOutput:
        """The part's negative log-likelihood over the step's normaliser."""
        log_probs_N = flat_log_probs(tree_scores_of(self.policy, part.clips))
        lengths = [length for clip in part.clips for length in clip.lengths]
        divisors_N = divisors(lengths, self.normalise, part.count).to(log_probs_N.device)
        loss = nll(log_probs_N, divisors_N)
        return LossOutput(loss, {"loss": float(loss.detach())}, sum(lengths))


def make_sft(recipe: Recipe, policy: Policy, corpus: Corpus) -> Sft:
    """The factory that the registry names."""
    return Sft(recipe, policy, corpus)
