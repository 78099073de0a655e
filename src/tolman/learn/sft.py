"""Supervised fine-tuning: the likelihood of gold completions.

A clip, its questions and their gold completions form one tree, so that the frames go through the vision tower
once and the clip's tokens through the language model once, however many questions are asked. A conversation
of several turns is a chain of nodes below its question; only the model's own turns are in the loss.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from tolman.cogmap.text import CLOSE
from tolman.data.working import working
from tolman.learn.annotations import read_turns
from tolman.learn.batching import ClipTree, Reader, flat_log_probs, split, tree_scores_of
from tolman.learn.corpus import ClipQuestions, Corpus, draw
from tolman.learn.loss import BatchCount, divisors, nll
from tolman.learn.objective import Batch, LossOutput
from tolman.learn.processes import current
from tolman.learn.recipe import Recipe
from tolman.learn.seeds import stream_seed
from tolman.policy.policy import Policy
from tolman.policy.prompt import encode_text
from tolman.questions.question import Question


@dataclass(frozen=True)
class SftPart:
    """Trees with gold completions as leaves, the counts of the whole step and its tokens' mean weight."""

    clips: list[ClipTree]
    count: BatchCount
    mean_weight: float = 1.0


class Sft:
    """Loss on the tokens of gold completions, the end of turn included.

    The option `turns`: 0 learns each row's own solution; k > 0 learns the last k model turns of each row's
    `turns` (VideoTemp-o3 masks all but the last two), -1 all of them. `working`: the gold completion works
    the answer out from its map (`tolman.data.working`). `after_map`: what a token after the map weighs, a
    token up to it weighing 1; a map's many tokens drown an answer's few. `blind`: as many questions a step
    without their clips, learning only what follows the gold map; with `working` such as follow from it.
    Raises ValueError for numbers outside these ranges, for a row without usable turns and where no question
    suits.
    """

    def __init__(self, recipe: Recipe, policy: Policy, corpus: Corpus) -> None:
        assert recipe.loss is not None
        self.recipe, self.policy, self.corpus = recipe, policy, corpus
        self.normalise = recipe.loss.normalise
        self.turns = int(recipe.objective.options.get("turns", 0))
        if self.turns < -1:
            raise ValueError(f"objective.options.turns must be -1 (all), 0 (none) or more, got {self.turns}")
        self.working = bool(recipe.objective.options.get("working", False))
        self.after_map = float(recipe.objective.options.get("after_map", 1.0))
        self.blind = int(recipe.objective.options.get("blind", 0))
        if not self.after_map > 0:
            raise ValueError(f"objective.options.after_map must be positive, got {self.after_map:g}")
        if self.blind < 0:
            raise ValueError(f"objective.options.blind must be at least 0, got {self.blind}")
        if self.turns and (self.working or self.after_map != 1 or self.blind):
            raise ValueError(
                "objective.options.turns learns the rows' own turns: no working, after_map or blind"
            )
        if self.turns:
            for clip in corpus.training:
                for question in clip.questions:
                    read_turns(question)
        self.mapped = _answered_by_map(corpus) if self.blind and self.working else corpus.training
        self.reader = Reader(recipe, policy)
        self.modules: Mapping[str, nn.Module] = {}
        self.state: dict[str, Any] = {}

    def close(self) -> None:
        """Nothing to let go of."""

    def batch(self, step: int) -> Batch:
        """Read the step's clips and build their trees."""
        run, size = self.recipe.run, self.recipe.batch
        drawn = draw(self.corpus.training, run.seed, step, size.clips, size.questions_per_clip)
        clips, skipped = self.reader.read(drawn)
        for clip in clips:
            for index, question in enumerate(clip.questions):
                if self.turns:
                    self._add_turns(clip, index)
                else:
                    self._add_gold(clip, index, question, 1.0)
        blind = self._blind(step)
        own = [*clips, *blind]
        lengths = current().joined([length for clip in own for length in clip.lengths])
        weights = current().joined(_weights(own).tolist())
        count = BatchCount(len(lengths), sum(lengths), max(lengths, default=0))
        mean = float(torch.tensor(weights).mean()) if lengths else 1.0
        parts = [SftPart(part, count, mean) for part in (*split(clips, size.micro_clips), blind) if part]
        samples = sum(current().gather(sum(len(clip.questions) for clip in own)))
        return Batch(parts, samples=samples, skipped=skipped)

    def _blind(self, step: int) -> list[ClipTree]:
        """The questions without clips, each a tree of its own."""
        seed = stream_seed(self.recipe.run.seed, 0, "blind")
        drawn = draw(self.mapped, seed, step, self.blind, 1) if self.blind else []
        trees = [self.reader.unseen(clip, questions) for _, (clip, questions) in current().share(drawn)]
        for tree in trees:
            self._add_gold(tree, 0, tree.questions[0], 0.0)
        return trees

    def _add_gold(self, clip: ClipTree, index: int, question: Question, of_map: float) -> None:
        """Hang the gold completion below question number `index`; of_map: what a token up to the map's end
        weighs."""
        text = self.reader.gold_text(question, self.working)
        ids = self.reader.text_ids(text)
        clip.add_completion(index, ids, self._weights(text, len(ids), of_map))

    def _weights(self, text: str, length: int, of_map: float) -> list[float]:
        """What each of a completion's `length` tokens weighs."""
        drawn, close, _ = text.rpartition(CLOSE)
        if not close:
            return [1.0] * length
        first = len(encode_text(self.policy, drawn + close))
        return [of_map] * first + [self.after_map] * (length - first)

    def _add_turns(self, clip: ClipTree, index: int) -> None:
        """The conversation below question number `index`; model turns before the last ones carry no loss."""
        turns = read_turns(clip.questions[index])
        own = [at for at, turn in enumerate(turns) if turn.role == "assistant"]
        learnt = set(own if self.turns < 0 else own[-self.turns :])
        node = clip.question_nodes[index]
        for at, turn in enumerate(turns):
            if at in learnt:
                ids = self.reader.text_ids(turn.content)
                node = clip.add_completion(index, ids, [1.0] * len(ids), parent=node)
            elif turn.role == "assistant":
                node = clip.tree.add(self.reader.text_ids(turn.content), node)
            else:
                node = clip.tree.add(self.reader.turn_ids(turn), node)

    def loss(self, part: SftPart) -> LossOutput:
        """The part's negative log-likelihood over the step's normaliser."""
        log_probs_N = flat_log_probs(tree_scores_of(self.policy, part.clips))
        lengths = [length for clip in part.clips for length in clip.lengths]
        divisors_N = divisors(lengths, self.normalise, part.count).to(log_probs_N.device)
        weights_N = (_weights(part.clips) / part.mean_weight).to(log_probs_N)
        loss = nll(log_probs_N * weights_N, divisors_N)
        return LossOutput(loss, {"loss": float(loss.detach())}, sum(lengths))


def _answered_by_map(corpus: Corpus) -> tuple[ClipQuestions, ...]:
    """The training clips with only the questions that can be worked out from their maps."""
    kept = [
        replace(clip, questions=tuple(question for question in clip.questions if working(question)))
        for clip in corpus.training
    ]
    if found := tuple(clip for clip in kept if clip.questions):
        return found
    raise ValueError("objective.options.blind: no question can be worked out from its cognitive map")


def _weights(clips: Sequence[ClipTree]) -> Tensor:
    """(N,) weights of all completions' tokens."""
    return torch.tensor([weight for clip in clips for of_one in clip.advantages for weight in of_one])


def make_sft(recipe: Recipe, policy: Policy, corpus: Corpus) -> Sft:
    """The factory that the registry names."""
    return Sft(recipe, policy, corpus)
