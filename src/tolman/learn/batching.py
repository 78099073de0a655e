"""From drawn clips to trees of tokens, shared by the objectives.

One tree per clip: node 0 the clip with its placeholders, below it one node per question, below those
completions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from tolman.data.gold import gold_completion
from tolman.learn.clips import ClipStore
from tolman.learn.corpus import ClipQuestions, Drawn
from tolman.learn.objective import Skipped
from tolman.learn.recipe import Recipe
from tolman.policy.forward import clip_features
from tolman.policy.logprobs import TokenScores, tree_scores
from tolman.policy.policy import Policy
from tolman.policy.prompt import TEMPLATES, Prompt, build_prompt, encode_clip, encode_text
from tolman.policy.tree import ClipInput, TokenTree, pack
from tolman.questions.question import Question
from tolman.video.errors import ClipError


@dataclass
class ClipTree:
    """A clip's tree and its completions so far.

    prompts[q]: of question q. question_nodes[q]: its node. completion_nodes: nodes of completions in the
    order they were added; lengths: their tokens.
    """

    clip: ClipQuestions
    questions: tuple[Question, ...]
    prompts: tuple[Prompt, ...]
    tree: TokenTree
    question_nodes: tuple[int, ...]
    completion_nodes: list[int] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    advantages: list[float] = field(default_factory=list)

    def add_completion(self, question: int, token_ids: Sequence[int], advantage: float = 0.0) -> None:
        """Hang a completion below question number `question`."""
        self.advantages.append(advantage)
        self.completion_nodes.append(self.tree.add(token_ids, self.question_nodes[question]))
        self.lengths.append(len(token_ids))


def tree_scores_of(
    policy: Policy,
    clips: Sequence[ClipTree],
    temperature: float = 1.0,
    features: Sequence[Tensor] | None = None,
) -> list[TokenScores]:
    """Scores of every completion of every tree, in order: one forward pass over all clips together.

    features: what `frozen_features` gave for these clips, or None to run the vision tower.
    """
    packed = pack([clip.tree for clip in clips], policy.pad_id, policy.video_tokens).to(policy.device)
    nodes = [(row, node) for row, clip in enumerate(clips) for node in clip.completion_nodes]
    return tree_scores(policy.model, packed, nodes, temperature, features=features)


@torch.no_grad()
def frozen_features(policy: Policy, clips: Sequence[ClipTree]) -> list[Tensor] | None:
    """The vision tower's features of the clips where no weight of it learns, else None.

    They serve the policy and a reference copied from it alike, so the tower runs once for both.
    """
    if any(weight.requires_grad for weight in policy.model.model.visual.parameters()):
        return None
    seen = [prompt.clip for clip in clips for prompt in clip.prompts[:1] if prompt.clip is not None]
    return clip_features(policy.model, seen)


def flat_log_probs(scores: Sequence[TokenScores]) -> Tensor:
    """(N,) log-probabilities of all completions, one after another."""
    return torch.cat([entry.log_probs for entry in scores])


def split(clips: Sequence[ClipTree], size: int) -> list[list[ClipTree]]:
    """Parts of `size` clips (0: one part with all; no part at all without clips)."""
    size = size or max(len(clips), 1)
    return [list(clips[at : at + size]) for at in range(0, len(clips), size)]


class Reader:
    """Reads drawn clips and puts them and their questions into trees."""

    def __init__(self, recipe: Recipe, policy: Policy) -> None:
        template = recipe.model.template
        if template not in TEMPLATES:
            raise ValueError(f"model.template is {template!r}; valid choices: {', '.join(sorted(TEMPLATES))}")
        self.policy, self.template = policy, template
        frames = recipe.data.frames or policy.frames
        self.store = ClipStore(frames, policy.frame_size, recipe.data.cache_mb << 20)

    def read(self, drawn: Sequence[Drawn]) -> tuple[list[ClipTree], list[Skipped]]:
        """Trees of the clips that could be read, and what could not. Never another clip in its place."""
        trees, skipped = [], []
        for clip, questions in drawn:
            try:
                frames = self.store.get(clip.file)
            except ClipError as error:
                skipped.append(Skipped(str(clip.file), error.reason))
                continue
            prompts = self._prompts(questions, encode_clip(self.policy, frames.rgb_THWC, frames.times_T))
            trees.append(_tree(clip, questions, prompts))
        return trees, skipped

    def _prompts(self, questions: Sequence[Question], encoded: ClipInput) -> list[Prompt]:
        return [build_prompt(self.policy, asked, encoded, self.template) for asked in questions]

    def shuffled_prompts(self, clip: ClipTree, rng: np.random.Generator) -> list[Prompt]:
        """The clip's prompts with its frames in a random order at unchanged times."""
        frames = self.store.get(clip.clip.file)
        order = rng.permutation(len(frames.rgb_THWC))
        encoded = encode_clip(self.policy, frames.rgb_THWC[order], frames.times_T)
        return self._prompts(clip.questions, encoded)

    def gold_ids(self, question: Question) -> list[int]:
        """Tokens of the gold completion in the template's form, the end of turn included."""
        if "map" in TEMPLATES[self.template]:
            text = gold_completion(question, with_map=True)
        else:  # a prompt that asks for the answer alone
            text = f"<answer>{question.answer}</answer>"
        end: int = self.policy.tokenizer.convert_tokens_to_ids("<|im_end|>")
        return [*encode_text(self.policy, text), end]


def _tree(clip: ClipQuestions, questions: tuple[Question, ...], prompts: list[Prompt]) -> ClipTree:
    tree = TokenTree()
    root = tree.add(prompts[0].clip_ids, clip=prompts[0].clip)
    assert all(prompt.clip_ids == prompts[0].clip_ids for prompt in prompts), "one clip, one beginning"
    nodes = tuple(tree.add(prompt.question_ids, root) for prompt in prompts)
    return ClipTree(clip, questions, tuple(prompts), tree, nodes)
