"""Reinforcement learning with verifiable rewards over groups: the GRPO family.

A step draws clips and questions, samples G completions of each prompt, grades them, turns the groups' rewards
into advantages, and trains on trees that hold every clip and prompt once. Which rewards, bonuses, advantage
and loss: the recipe says; nothing here knows a paper. Training is strictly on-policy, one optimiser step per
sampled batch, unless the recipe asks for several epochs or minibatches; then log-probabilities at sampling
are recomputed with the loss's own numerics and stored before the first update.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from tolman.learn.batching import (
    ClipTree,
    PromptNumbers,
    Reader,
    Reference,
    flat_log_probs,
    frozen_log_probs,
    prompt_numbers,
    split,
    tree_scores_of,
)
from tolman.learn.corpus import Corpus, Drawn, draw
from tolman.learn.divergence import group_divergence
from tolman.learn.engines.engine import make_engine
from tolman.learn.filtering import passes, redraw
from tolman.learn.loss import BatchCount, Tokens, divisors
from tolman.learn.objective import Batch, LossOutput, Skipped, precision
from tolman.learn.processes import current
from tolman.learn.recipe import Recipe, make_advantage, make_bonuses, make_loss, make_rewards
from tolman.learn.registry import LOSSES
from tolman.learn.rollout import (
    GradedGroup,
    Rollout,
    Sampled,
    grade_group,
    rollout_metrics,
    rollout_rows,
    weigh_step,
)
from tolman.learn.seeds import generator, stream_seed
from tolman.policy.generate import Sample, draw_uniforms
from tolman.policy.policy import Policy
from tolman.policy.prompt import Prompt
from tolman.policy.sampling import Sampling


class Fixed(NamedTuple):
    """What stays as it was at sampling, each (N,) or None where the loss does not ask for it."""

    log_probs_old_N: Tensor | None
    log_probs_ref_N: Tensor | None
    divergence_N: Tensor | None


class Redrawn(NamedTuple):
    """What came in place of dropped groups.

    clips: this process's; graded: of all processes' clips. kept_mask: True for a group to train on, the
    step's own first.
    """

    clips: list[ClipTree]
    skipped: list[Skipped]
    graded: list[list[GradedGroup]]
    kept_mask: list[bool]


@dataclass(frozen=True, eq=False)
class RlPart:
    """Trees with the trained completions as leaves and the counts of the whole update.

    hung: tokens of all the update's trees, less than counted ones where groups without a signal are left out.
    fixed: computed before the first update where there are several or a loss wants the group's distributions;
    None where the one update computes it.
    """

    clips: list[ClipTree]
    count: BatchCount
    hung: int
    fixed: Fixed | None = None


class Rl:
    """Rewards over sampled groups.

    With several processes each samples and grades its own clips' completions; the graded groups of all are
    exchanged, so that every process weighs the same step and trains on its clips of it.
    """

    def __init__(self, recipe: Recipe, policy: Policy, corpus: Corpus) -> None:
        assert recipe.loss is not None
        assert recipe.sampling is not None
        self.recipe, self.policy, self.corpus = recipe, policy, corpus
        self.loss_config, self.sampling = recipe.loss, recipe.sampling
        self.composed, self.bonuses = make_rewards(recipe), make_bonuses(recipe)
        self.advantage = make_advantage(recipe)
        self.loss_function = make_loss(recipe.loss)
        self.reader = Reader(recipe, policy)
        self.reference = Reference(policy) if recipe.loss.beta > 0 else None
        self.modules: Mapping[str, nn.Module] = {}
        self.state: dict[str, Any] = self.advantage.state
        self.engine = make_engine(recipe, policy)

    def close(self) -> None:
        """Let go of what samples."""
        self.engine.close()

    def batch(self, step: int) -> Batch:
        """Sample, grade, and hang what is worth training on into the clips' trees."""
        run, size = self.recipe.run, self.recipe.batch
        self.engine.sync(self.policy, step)
        drawn = draw(self.corpus.training, run.seed, step, size.clips, size.questions_per_clip)
        clips, skipped = self.reader.read(drawn)
        if self.advantage.mirrored:
            readable = len(drawn) - len(skipped)
            clips = [*clips, *(self.reader.mirror(clip, readable + clip.place) for clip in clips)]
        graded = self._grade(clips, step)
        asked = sum(map(len, graded))
        kept_mask, filtered = [True] * asked, {}
        if self.recipe.filter is not None:
            more = self._redraw(drawn, skipped, graded, step)
            clips, skipped = [*clips, *more.clips], [*skipped, *more.skipped]
            graded, kept_mask = [*graded, *more.graded], more.kept_mask
            redrawn = len(kept_mask) - asked
            filtered = {"dropped": float(kept_mask.count(False)), "redrawn": float(redrawn)}
        flat = weigh_step([entry for of_clip in graded for entry in of_clip], self.advantage, kept_mask)
        in_order = iter(flat)
        rollouts = [[next(in_order) for _ in of_clip] for of_clip in graded]
        updates = [list(self._parts(*some)) for some in self._minibatches(clips, rollouts)]
        return Batch(
            [part for update in updates for part in update],
            samples=sum(len(rollout.samples) for rollout in flat),
            skipped=skipped,
            metrics=rollout_metrics(flat) | filtered,
            rows=[row for rollout in flat for row in rollout_rows(rollout)] if current().first else [],
            updates=updates * self.sampling.epochs,
        )

    def _redraw(
        self, drawn: Sequence[Drawn], skipped: Sequence[Skipped], graded: list[list[GradedGroup]], step: int
    ) -> Redrawn:
        """Other clips in place of the groups that the filter drops, up to its number of times."""
        rule, run = self.recipe.filter, self.recipe.run
        assert rule is not None
        found = Redrawn([], [], [], [self._passes(entry) for of_clip in graded for entry in of_clip])
        wanted = len(found.kept_mask)
        unreadable = {skip.path for skip in skipped}
        taken = {entry.clip.name for entry in drawn if str(entry.clip.file) not in unreadable}
        for attempt in range(1, rule.redraws + 1):
            missing = wanted - found.kept_mask.count(True)
            seed = stream_seed(run.seed, step, f"redraw {attempt}")
            others = redraw(self.corpus.training, taken, missing, self.recipe.batch.questions_per_clip, seed)
            if not others:
                break
            taken |= {entry.clip.name for entry in others}
            clips, gone = self.reader.read(others)
            more = self._grade(clips, step, f" {attempt}")
            for clip in clips:
                clip.place += len(graded) + len(found.graded)
            found.clips.extend(clips)
            found.skipped.extend(gone)
            found.graded.extend(more)
            found.kept_mask.extend(self._passes(entry) for of_clip in more for entry in of_clip)
        return found

    def _passes(self, entry: GradedGroup) -> bool:
        rule = self.recipe.filter
        assert rule is not None
        if not rule.of:
            return passes(entry.group.rewards_G, rule)
        return passes(np.array([grading.parts[rule.of].value for grading in entry.gradings]), rule)

    def _minibatches(
        self, clips: list[ClipTree], rollouts: list[list[Rollout]]
    ) -> Iterator[tuple[list[ClipTree], list[list[Rollout]], list[list[Rollout]]]]:
        """Shares of the step's clips, the clips of a share together in one update: this process's clips, what
        became of them, and what became of all clips of the share."""
        share = max(1, -(-len(rollouts) // self.sampling.minibatches))
        for at in range(0, len(rollouts), share):
            own = [clip for clip in clips if at <= clip.place < at + share]
            yield own, [rollouts[clip.place] for clip in own], rollouts[at : at + share]

    def _parts(
        self, clips: list[ClipTree], rollouts: list[list[Rollout]], counted: list[list[Rollout]]
    ) -> Iterator[RlPart]:
        """Parts of one update, counted over all its graded completions."""
        kept = [rollout for group in counted for rollout in group if not rollout.dropped]
        lengths = [length for rollout in kept for length in self._lengths(rollout)]
        hung = sum(length for rollout in kept if self._moves(rollout) for length in self._lengths(rollout))
        count = BatchCount(len(lengths), sum(lengths), self.sampling.max_new_tokens)
        for part in split(self._grow(clips, rollouts), self.recipe.batch.micro_clips):
            fixed = None
            if self.sampling.updates > 1 or LOSSES[self.loss_config.name].divergence:
                with precision(self.recipe, self.policy):
                    fixed = self._fix(part, on_policy=self.sampling.updates == 1)
            yield RlPart(part, count, hung, fixed)

    def _grade(self, clips: Sequence[ClipTree], step: int, attempt: str = "") -> list[list[GradedGroup]]:
        """Per clip, of all processes, and per question: a graded group. attempt: tells the random streams of
        a step apart."""
        shuffles = max([self.advantage.shuffled, *(bonus.shuffled for bonus in self.bonuses)])
        self.policy.model.eval()
        among = prompt_numbers(clips)
        ordered = self._sample(
            [clip.prompts for clip in clips], self.sampling.group, among, step, f"rollout{attempt}"
        )
        if shuffles:
            prompts = self._shuffled(clips, step, f"shuffle{attempt}")
            shuffled = self._sample(prompts, shuffles, among, step, f"shuffled rollout{attempt}")
        else:
            shuffled = [[[] for _ in clip.prompts] for clip in clips]
        questions = [question for clip in clips for question in clip.questions]
        samples = [group for of_clip in ordered for group in of_clip]
        others = [group for of_clip in shuffled for group in of_clip]
        sampled = map(Sampled, questions, samples, others, self._pairs(among))
        graded = iter(
            [grade_group(one, self.composed, self.bonuses, self.advantage, self._decode) for one in sampled]
        )
        return current().in_order((clip.place, [next(graded) for _ in clip.questions]) for clip in clips)

    def _shuffled(self, clips: Sequence[ClipTree], step: int, purpose: str) -> list[list[Prompt]]:
        """The clips' prompts with their frames in random orders."""
        rng = np.random.default_rng(stream_seed(self.recipe.run.seed, step, purpose))
        frames = current().in_order((clip.place, self.reader.frame_count(clip)) for clip in clips)
        orders = [rng.permutation(count) for count in frames]
        return [self.reader.shuffled_prompts(clip, orders[clip.place]) for clip in clips]

    def _pairs(self, prompts: PromptNumbers) -> list[int | None]:
        """For each prompt the number of its mirrored twin: the clips come before their mirrors."""
        if not self.advantage.mirrored:
            return [None] * len(prompts.numbers)
        return [(number + prompts.total // 2) % prompts.total for number in prompts.numbers]

    def _decode(self, token_ids: Sequence[int]) -> str:
        text: str = self.policy.tokenizer.decode(token_ids, skip_special_tokens=True)
        return text

    def _sample(
        self, prompts: Sequence[Sequence[Prompt]], group: int, among: PromptNumbers, step: int, purpose: str
    ) -> list[list[list[Sample]]]:
        """`group` completions of every prompt, nested as the prompts are; what is drawn for a prompt depends
        on its number among the step's, not on who samples it."""
        config = self.sampling
        random = generator(self.recipe.run.seed, step, purpose)
        uniforms = draw_uniforms(among.total, group, config.max_new_tokens, random)
        flat = self.engine.sample(
            [prompt for of_clip in prompts for prompt in of_clip],
            group,
            Sampling(config.temperature, config.top_p, config.top_k),
            uniforms.view(among.total, group, config.max_new_tokens)[among.numbers].flatten(0, 1),
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
                if not self._moves(rollout):
                    continue
                for g, sample in enumerate(rollout.samples):
                    if rollout.graded_mask_G[g]:
                        self._hang(clip, index, sample, rollout.token_advantages(g))
        return [clip for clip in clips if clip.completion_nodes]

    def _moves(self, rollout: Rollout) -> bool:
        """Whether anything of a group is trained on."""
        return not rollout.dropped and (rollout.signal or self.loss_config.beta > 0)

    def _lengths(self, rollout: Rollout) -> list[int]:
        """Tokens of each completion that `_hang` makes of a group's graded samples."""
        graded = zip(rollout.samples, rollout.graded_mask_G, strict=True)
        return [length for sample, is_graded in graded if is_graded for length in self._hung(sample)]

    def _hung(self, sample: Sample) -> list[int]:
        """The same of one sample."""
        return [len(sample.token_ids)]

    def _hang(self, clip: ClipTree, question: int, sample: Sample, advantages: Sequence[float]) -> None:
        """Hang one completion below its question."""
        clip.add_completion(question, sample.token_ids, advantages, sampled=sample.as_trained)

    def loss(self, part: RlPart) -> LossOutput:
        """The part's share of the loss."""
        config, temperature = self.loss_config, self.sampling.temperature
        log_probs_N = flat_log_probs(tree_scores_of(self.policy, part.clips, temperature))
        fixed = part.fixed or self._fix(part.clips, on_policy=True)
        lengths = [length for clip in part.clips for length in clip.lengths]
        advantages = [value for clip in part.clips for tokens in clip.advantages for value in tokens]
        old_N = log_probs_N.detach() if fixed.log_probs_old_N is None else fixed.log_probs_old_N
        terms = self.loss_function(
            Tokens(
                log_probs_N,
                old_N,
                torch.tensor(advantages).to(log_probs_N),
                divisors(lengths, config.normalise, part.count).to(log_probs_N),
                lengths,
                group_numbers(part.clips),
                fixed.log_probs_ref_N,
                fixed.divergence_N,
            )
        )
        gap = float((old_N - sampled_log_probs(part.clips).to(old_N)).abs().sum()) / part.hung
        metrics = {"loss": float(terms.loss.detach()), "policy_loss": terms.policy, "sampling_gap": gap}
        if config.beta:
            metrics["kl"] = terms.kl
        if any(config.clip) or config.dual_clip:
            metrics["clipped"] = terms.clipped
        return LossOutput(terms.loss, metrics, sum(lengths))

    @torch.no_grad()
    def _fix(self, clips: Sequence[ClipTree], on_policy: bool) -> Fixed:
        """What the loss needs as it is now; on_policy: the loss's own log-probabilities are the old ones."""
        given = (clips, self.sampling.temperature)
        return Fixed(
            None if on_policy else frozen_log_probs(self.policy, *given),
            None if self.reference is None else self.reference.log_probs(*given),
            group_divergence(self.policy, *given) if LOSSES[self.loss_config.name].divergence else None,
        )


def sampled_log_probs(clips: Sequence[ClipTree]) -> Tensor:
    """(N,) of the trees' completions, each token's log-probability as it was sampled."""
    return torch.cat([sampled for clip in clips for sampled in clip.sampled if sampled is not None])


def group_numbers(clips: Sequence[ClipTree]) -> list[int]:
    """For each completion of the trees the number of its group, counted over all of them from 0."""
    keys = [(at, question) for at, clip in enumerate(clips) for question in clip.groups]
    numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    return [numbers[key] for key in keys]


def make_rl(recipe: Recipe, policy: Policy, corpus: Corpus) -> Rl:
    """The factory that the registry names."""
    return Rl(recipe, policy, corpus)
