"""Reinforcement learning with a second look: REVISOR's two passes (arXiv 2511.13026).

The policy sees a few frames of the whole clip, reasons, and names a part of it. That part is shown with
frames of its own, and the policy reasons again and answers. What it earns: the recipe's rewards for the last
answer, and for the part `sufficiency`, the accuracy of what the policy answers when it is asked anew and
shown that part alone.

A sample is one row of tokens in a tree: completion, then a node with what was said and shown in between, then
a completion. Both completions are trained on, with one advantage; the node between them is not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from tolman.learn.batching import ClipTree, PromptNumbers, prompt_numbers
from tolman.learn.corpus import Corpus
from tolman.learn.objective import Batch
from tolman.learn.processes import current
from tolman.learn.recipe import Recipe
from tolman.learn.registry import OBJECTIVES
from tolman.learn.rl import Rl
from tolman.learn.rollout import GradedGroup, Sampled, grade_group
from tolman.learn.seeds import generator
from tolman.policy.follow_up import follow_up
from tolman.policy.generate import Sample, draw_uniforms, generate
from tolman.policy.policy import Policy
from tolman.policy.prompt import build_prompt, encode_clip, encode_text
from tolman.policy.templates import reviewed_text
from tolman.policy.tree import ClipInput
from tolman.questions.question import Question
from tolman.reward.compose import Grading
from tolman.reward.graded import Graded
from tolman.reward.structured import SpanText, read_span
from tolman.video.clip import Span
from tolman.video.errors import ClipError

OPEN, CLOSE = "<review>", "</review>"
SUFFICIENCY, REVIEWED = "sufficiency", "reviewed"
ALONE = "think"  # template of the question about the part alone


@dataclass(frozen=True, eq=False)
class Reviewed(Sample):
    """Tokens of both completions, one after the other; text: of the one that answers.

    first: tokens of the first completion, all where there was no second look. first_text: its text. segment:
    what was shown again, in seconds, None for nothing, then reason says why. alone: the answer to the part
    alone.
    """

    first: int = 0
    first_text: str = ""
    segment: Span | None = None
    reason: str = ""
    alone: str = ""


def read_segment(completion: str) -> SpanText:
    """The span in the last `<review>…</review>` after the thought: exactly two times (`read_span`)."""
    end_of_thought = completion.rfind("</think>")
    if end_of_thought < 0 and "<think>" in completion:
        return SpanText(None, "the thought is never closed")
    said = completion[max(end_of_thought, 0) :]
    end = said.rfind(CLOSE)
    start = said.rfind(OPEN, 0, end) if end >= 0 else -1
    if start < 0:
        return SpanText(None, "no <review>…</review> after the thought")
    return read_span(said[start + len(OPEN) : end])


def segment_of(sample: Sample) -> SpanText:
    """What a first completion asks to see again; nothing if it did not come to its end."""
    return read_segment(sample.text) if sample.finished else SpanText(None, "the first pass is cut off")


@dataclass(eq=False)
class Look:
    """A sample on its way through the passes.

    at: number of the clip, of the question, and of the sample in the group. part: what is shown again, None
    for nothing, then reason says why.
    """

    at: tuple[int, int, int]
    first: Sample
    segment: Span | None
    reason: str
    part: ClipInput | None


class Review(Rl):
    """Rewards over groups of two-pass samples. Options: `OBJECTIVES["review"]`."""

    def __init__(self, recipe: Recipe, policy: Policy, corpus: Corpus) -> None:
        super().__init__(recipe, policy, corpus)
        options = {**OBJECTIVES["review"].options, **recipe.objective.options}
        self.weight, self.frames = float(options["sufficiency"]), int(options["frames"])
        _check(self)
        self.accuracy = next(part for part in self.composed.parts if part.name == "accuracy")
        self._parts_seen: dict[tuple[str, Span], ClipInput] = {}

    def batch(self, step: int) -> Batch:
        """As `Rl.batch`; parts of clips are held for one step."""
        self._parts_seen.clear()
        return super().batch(step)

    def _grade(self, clips: Sequence[ClipTree], step: int, attempt: str = "") -> list[list[GradedGroup]]:
        self.policy.model.eval()
        among = prompt_numbers(clips)
        prompts = [clip.prompts for clip in clips]
        first = self._sample(prompts, self.sampling.group, among, step, f"rollout{attempt}")
        samples = self._look_again(clips, first, among, step, f"review{attempt}")
        return current().in_order(
            (
                clip.place,
                [self._verdict(Sampled(*asked)) for asked in zip(clip.questions, groups, strict=True)],
            )
            for clip, groups in zip(clips, samples, strict=True)
        )

    def _look_again(
        self,
        clips: Sequence[ClipTree],
        first: Sequence[Sequence[Sequence[Sample]]],
        among: PromptNumbers,
        step: int,
        purpose: str,
    ) -> list[list[list[Sample]]]:
        """The samples with their second pass, nested as the first ones are."""
        looks = [
            self._look((c, q, g), clips[c], sample)
            for c, groups in enumerate(first)
            for q, group in enumerate(groups)
            for g, sample in enumerate(group)
        ]
        again = [look for look in looks if look.part is not None]
        seconds = iter(self._second(clips, again, among, step, purpose))
        answers = iter(self._alone(clips, again))
        done = iter(
            [
                join(look, next(seconds), next(answers)) if look.part is not None else join(look)
                for look in looks
            ]
        )
        return [[[next(done) for _ in group] for group in groups] for groups in first]

    def _look(self, at: tuple[int, int, int], clip: ClipTree, sample: Sample) -> Look:
        """Read the part that a first completion asks for."""
        segment, reason = segment_of(sample)
        if segment is None:
            return Look(at, sample, None, reason, None)
        try:
            return Look(at, sample, segment, "", self._part(clip, segment))
        except ClipError as error:
            return Look(at, sample, None, error.reason, None)

    def _part(self, clip: ClipTree, segment: Span) -> ClipInput:
        """The part of the clip, with frames of its own at their times in the whole. Raises ClipError."""
        key = str(clip.clip.file), segment
        if key not in self._parts_seen:
            store = self.reader.store
            frames = self.frames or store.frames
            shot = store.cache.read(clip.clip.file, frames=frames, size=store.size, span=segment)
            encoded = encode_clip(self.policy, shot.rgb_THWC, shot.times_T)
            self._parts_seen[key] = self.reader.encoder.see(encoded)
        return self._parts_seen[key]

    def _turn(self, question: Question, part: ClipInput) -> list[int]:
        """Tokens of what is said and shown between the passes, up to where the policy goes on."""
        words = replace(question, problem=reviewed_text(question))
        turn = build_prompt(self.policy, words, part, "verbatim")
        return [*encode_text(self.policy, "\n"), *turn.clip_ids, *turn.question_ids]

    def _second(
        self,
        clips: Sequence[ClipTree],
        looks: Sequence[Look],
        among: PromptNumbers,
        step: int,
        purpose: str,
    ) -> list[Sample]:
        """The completions behind the first ones and the parts."""
        config, group = self.sampling, self.sampling.group
        shown = {c: clips[c].bare() for c, _, _ in (look.at for look in looks)}
        rank = {c: number for number, c in enumerate(shown)}
        firsts = np.cumsum([0, *(len(clip.questions) for clip in clips)])
        leaves, rows = [], []
        for look in looks:
            c, q, g = look.at
            assert look.part is not None
            node = shown[c].add_completion(q, look.first.token_ids)
            turn = self._turn(clips[c].questions[q], look.part)
            leaves.append((rank[c], shown[c].tree.add(turn, node, clip=look.part)))
            rows.append(among.numbers[int(firsts[c]) + q] * group + g)
        random = generator(self.recipe.run.seed, step, purpose)
        uniforms = draw_uniforms(among.total, group, config.max_new_tokens, random)
        return follow_up(
            self.policy,
            [clip.tree for clip in shown.values()],
            leaves,
            uniforms[rows],
            temperature=config.temperature,
            top_p=config.top_p,
            top_k=config.top_k,
        )

    def _alone(self, clips: Sequence[ClipTree], looks: Sequence[Look]) -> list[str]:
        """What the policy answers, greedily, to the question about the part alone."""
        keys = [(*look.at[:2], look.segment) for look in looks]
        prompts = {
            key: build_prompt(self.policy, clips[key[0]].questions[key[1]], look.part, ALONE)
            for key, look in zip(keys, looks, strict=True)
        }
        tokens = self.sampling.max_new_tokens
        found = generate(self.policy, [*prompts.values()], 1, max_new_tokens=tokens, temperature=0)
        texts = {key: sample.text for key, (sample,) in zip(prompts, found, strict=True)}
        return [texts[key] for key in keys]

    def _verdict(self, sampled: Sampled) -> GradedGroup:
        """The recipe's verdicts on the last answers, and what the parts earn."""
        graded = grade_group(sampled, self.composed, self.bonuses, self.advantage, self._decode)
        samples = [sample for sample in sampled.samples if isinstance(sample, Reviewed)]
        parts = [self._sufficiency(sample, sampled.question) for sample in samples]
        earned_G = self.weight * np.array([part.value for part in parts])
        gradings = [
            Grading(grading.total + self.weight * part.value, grading.parts | of_passes(sample, part))
            for grading, part, sample in zip(graded.gradings, parts, samples, strict=True)
        ]
        group = replace(
            graded.group,
            rewards_G=graded.group.rewards_G + earned_G,
            parts={**graded.group.parts, SUFFICIENCY: earned_G},
        )
        told = [replace(sample, text=whole_text(sample)) for sample in samples]
        return GradedGroup(sampled._replace(samples=told), group, tuple(gradings), graded.bonus_G)

    def _sufficiency(self, sample: Reviewed, question: Question) -> Graded:
        if sample.segment is None:
            return Graded(0.0, sample.reason)
        value, reason = self.accuracy.grade(sample.alone, question)
        return Graded(value, f"{reason}; the part alone was answered with {sample.alone!r}")

    def _hung(self, sample: Sample) -> list[int]:
        assert isinstance(sample, Reviewed)
        rest = len(sample.token_ids) - sample.first
        return [sample.first] if sample.segment is None else [sample.first, rest]

    def _hang(self, clip: ClipTree, question: int, sample: Sample, advantages: Sequence[float]) -> None:
        """Both completions, the second below what was said and shown in between."""
        assert isinstance(sample, Reviewed)
        cut = sample.first
        ids, sampled = sample.token_ids, sample.as_trained
        node = clip.add_completion(question, ids[:cut], advantages[:cut], sampled=sampled[:cut])
        if sample.segment is not None:
            part = self._part(clip, sample.segment)
            between = clip.tree.add(self._turn(clip.questions[question], part), node, clip=part)
            clip.add_completion(question, ids[cut:], advantages[cut:], between, sampled[cut:])


def join(look: Look, second: Sample | None = None, alone: str = "") -> Reviewed:
    """Both passes as one sample."""
    passes = [look.first] if second is None else [look.first, second]
    full = [one.full_log_probs for one in passes if one.full_log_probs is not None]
    return Reviewed(
        token_ids=tuple(token for one in passes for token in one.token_ids),
        text=passes[-1].text,
        log_probs=torch.cat([one.log_probs for one in passes]),
        finished=passes[-1].finished,
        full_log_probs=torch.cat(full) if full else None,
        first=len(look.first.token_ids),
        first_text=look.first.text,
        segment=look.segment,
        reason=look.reason,
        alone=alone,
    )


def of_passes(sample: Reviewed, part: Graded) -> dict[str, Graded]:
    """The verdicts beside the recipe's, for the log: `reviewed` is 1 where there was a second look."""
    return {SUFFICIENCY: part, REVIEWED: Graded(float(sample.segment is not None), sample.reason)}


def whole_text(sample: Reviewed) -> str:
    """Both completions, for the log."""
    if sample.segment is None:
        return sample.text
    start, end = sample.segment
    return f"{sample.first_text}\n[shown again: {start:g} to {end:g} s]\n{sample.text}"


def _check(review: Review) -> None:
    """Refuse what would be ignored or mean something else with two passes."""
    recipe, advantage = review.recipe, review.advantage
    assert recipe.loss is not None
    if recipe.model.template != "review":
        raise ValueError(
            f"objective 'review' needs model.template 'review', which asks for a part of the clip, got "
            f"{recipe.model.template!r}"
        )
    if advantage.mirrored or advantage.shuffled:
        raise ValueError(
            "objective 'review' shows neither mirrored nor shuffled clips; take another advantage"
        )
    if recipe.loss.normalise == "sequences":
        raise ValueError(
            "objective 'review' trains on two completions of a sample, which loss.normalise = 'sequences' "
            "would weigh as two samples; take 'tokens' or 'constant'"
        )
    if "accuracy" not in [part.name for part in review.composed.parts]:
        raise ValueError("objective 'review' needs the reward 'accuracy', by which the part alone is graded")
    if not (review.weight >= 0 and review.frames >= 0):
        raise ValueError("objective.options: sufficiency and frames must not be negative")


def make_review(recipe: Recipe, policy: Policy, corpus: Corpus) -> Review:
    """The factory that the registry names."""
    return Review(recipe, policy, corpus)
