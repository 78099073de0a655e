"""Learning from preferred completions: pairs (DPO) and single verdicts (KTO).

Rows are question rows with `chosen` and `rejected`, or with `completion` and `label`
(`tolman.learn.annotations`). A clip, its questions and their completions form one tree, prompts held once;
the reference is the policy as it was at the start.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from tolman.learn.annotations import read_pair, read_verdict
from tolman.learn.batching import (
    ClipTree,
    Reader,
    Reference,
    flat_log_probs,
    split,
    tree_scores_of,
)
from tolman.learn.corpus import Corpus, draw
from tolman.learn.loss import sequence_sums
from tolman.learn.loss.preference import kto_baseline
from tolman.learn.objective import Batch, LossOutput, Skipped, precision
from tolman.learn.processes import current
from tolman.learn.recipe import Recipe, make_loss
from tolman.policy.policy import Policy


class PreferencePart(NamedTuple):
    """Trees with the judged completions as leaves.

    total: pairs or completions of the whole step. desirable: of each completion, in the trees' order; for
    pairs chosen and rejected take turns. kl: KTO's reference point of the whole step, 0 for pairs.
    """

    clips: list[ClipTree]
    total: int
    desirable: list[bool]
    kl: float = 0.0


@dataclass(frozen=True)
class _Judged:
    """A completion's tokens and whether it is desirable."""

    token_ids: list[int]
    desirable: bool


class Preference:
    """What DPO and KTO share: reading, trees, log-probabilities under policy and reference."""

    def __init__(self, recipe: Recipe, policy: Policy, corpus: Corpus) -> None:
        assert recipe.loss is not None
        self.recipe, self.policy, self.corpus = recipe, policy, corpus
        self.loss_function = make_loss(recipe.loss)
        self.reader = Reader(recipe, policy)
        self.reference = Reference(policy)
        self.modules: Mapping[str, nn.Module] = {}
        self.state: dict[str, Any] = {}

    def close(self) -> None:
        """Nothing to let go of."""

    def _read(self, step: int) -> tuple[list[ClipTree], list[Skipped]]:
        run, size = self.recipe.run, self.recipe.batch
        drawn = draw(self.corpus.training, run.seed, step, size.clips, size.questions_per_clip)
        return self.reader.read(drawn)

    def _log_ratios(self, clips: Sequence[ClipTree]) -> tuple[Tensor, Tensor]:
        """(C,) log-probabilities of whole completions under the policy and under the reference."""
        lengths = [length for clip in clips for length in clip.lengths]
        own_N = flat_log_probs(tree_scores_of(self.policy, clips))
        reference_N = self.reference.log_probs(clips)
        return sequence_sums(own_N, lengths), sequence_sums(reference_N, lengths)


class Dpo(Preference):
    """Direct preference optimisation over pairs. Raises ValueError for a row without a usable pair."""

    def __init__(self, recipe: Recipe, policy: Policy, corpus: Corpus) -> None:
        super().__init__(recipe, policy, corpus)
        for clip in corpus.training:
            for question in clip.questions:
                read_pair(question)

    def batch(self, step: int) -> Batch:
        """Hang both completions of every drawn question below it, the chosen one first."""
        clips, skipped = self._read(step)
        for clip in clips:
            for index, question in enumerate(clip.questions):
                for text in read_pair(question):
                    clip.add_completion(index, self.reader.text_ids(text))
        pairs = sum(current().gather(sum(len(clip.questions) for clip in clips)))
        parts = [
            PreferencePart(part, pairs, [True, False] * sum(len(clip.questions) for clip in part))
            for part in split(clips, self.recipe.batch.micro_clips)
        ]
        return Batch(parts, samples=2 * pairs, skipped=skipped)

    def loss(self, part: PreferencePart) -> LossOutput:
        """The part's share; reward_chosen, reward_rejected: mean implicit rewards, accuracy: pairs ordered
        rightly."""
        own_C, reference_C = self._log_ratios(part.clips)
        terms = self.loss_function(own_C[0::2], own_C[1::2], reference_C[0::2], reference_C[1::2], part.total)
        metrics = {
            "loss": float(terms.loss.detach()),
            "reward_chosen": float(terms.chosen.sum()) / part.total,
            "reward_rejected": float(terms.rejected.sum()) / part.total,
            "accuracy": float((terms.chosen > terms.rejected).sum()) / part.total,
        }
        return LossOutput(terms.loss, metrics, sum(length for clip in part.clips for length in clip.lengths))


class Kto(Preference):
    """Kahneman-Tversky optimisation over single verdicts.

    The reference point is estimated anew each step over mismatched pairs, every prompt with the completion of
    the step's next one; a step of which one completion is left has none and takes 0. Raises ValueError for a
    row without a usable verdict and for steps of a single completion.
    """

    def __init__(self, recipe: Recipe, policy: Policy, corpus: Corpus) -> None:
        super().__init__(recipe, policy, corpus)
        for clip in corpus.training:
            for question in clip.questions:
                read_verdict(question)
        if recipe.batch.clips * recipe.batch.questions_per_clip < 2:
            raise ValueError("kto needs at least two completions a step; raise batch.clips")

    def batch(self, step: int) -> Batch:
        """Hang every drawn question's completion below it and estimate the reference point."""
        clips, skipped = self._read(step)
        judged = [self._judged(clip) for clip in clips]
        completions = current().in_order(
            (clip.place, [entry.token_ids for entry in of_clip])
            for clip, of_clip in zip(clips, judged, strict=True)
        )
        kl = self._reference_point(clips, completions)
        for clip, of_clip in zip(clips, judged, strict=True):
            for index, entry in enumerate(of_clip):
                clip.add_completion(index, entry.token_ids)
        count = sum(map(len, completions))
        verdicts = iter([entry.desirable for of_clip in judged for entry in of_clip])
        parts = [
            PreferencePart(part, count, [next(verdicts) for clip in part for _ in clip.questions], kl)
            for part in split(clips, self.recipe.batch.micro_clips)
        ]
        return Batch(parts, samples=count, skipped=skipped, metrics={"kl": kl} if count else {})

    def _judged(self, clip: ClipTree) -> list[_Judged]:
        verdicts = [read_verdict(question) for question in clip.questions]
        return [_Judged(self.reader.text_ids(verdict.completion), verdict.desirable) for verdict in verdicts]

    @torch.no_grad()
    def _reference_point(self, clips: Sequence[ClipTree], completions: list[list[list[int]]]) -> float:
        """clips: this process's. completions: of all processes' clips, the tokens."""
        flat = [token_ids for of_clip in completions for token_ids in of_clip]
        if len(flat) < 2:
            return 0.0
        in_order = iter([*flat[1:], flat[0]])
        shifted = [[next(in_order) for _ in of_clip] for of_clip in completions]
        mismatched = iter([token_ids for clip in clips for token_ids in shifted[clip.place]])
        ratios = []
        for part in split(clips, self.recipe.batch.micro_clips):
            bare = [clip.bare() for clip in part]
            for clip in bare:
                for index in range(len(clip.questions)):
                    clip.add_completion(index, next(mismatched))
            with precision(self.recipe, self.policy):
                ratios.append(self._log_ratios(bare))
        pairs = current().joined([pair for of_part in ratios for pair in torch.stack(of_part, 1).tolist()])
        return kto_baseline(*torch.tensor(pairs).unbind(1))

    def loss(self, part: PreferencePart) -> LossOutput:
        """The part's share; reward_desirable, reward_undesirable: sums of implicit rewards over the step's
        completions."""
        own_C, reference_C = self._log_ratios(part.clips)
        desirable_mask_C = torch.tensor(part.desirable, device=own_C.device)
        terms = self.loss_function(own_C, reference_C, desirable_mask_C, part.kl, part.total)
        metrics = {
            "loss": float(terms.loss.detach()),
            "reward_desirable": float(terms.chosen.sum()) / part.total,
            "reward_undesirable": float(terms.rejected.sum()) / part.total,
        }
        return LossOutput(terms.loss, metrics, sum(length for clip in part.clips for length in clip.lengths))


def make_dpo(recipe: Recipe, policy: Policy, corpus: Corpus) -> Dpo:
    """The factory that the registry names."""
    return Dpo(recipe, policy, corpus)


def make_kto(recipe: Recipe, policy: Policy, corpus: Corpus) -> Kto:
    """The factory that the registry names."""
    return Kto(recipe, policy, corpus)
