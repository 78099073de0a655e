"""From drawn clips to trees of tokens, shared by the objectives.

One tree per clip: node 0 the clip with its placeholders, below it one node per question, below those
completions.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tolman.data.gold import gold_completion
from tolman.learn.annotations import Turn
from tolman.learn.clips import ClipStore
from tolman.learn.corpus import ClipQuestions, Drawn
from tolman.learn.encoder import ClipEncoder
from tolman.learn.objective import Skipped
from tolman.learn.processes import current
from tolman.learn.sections import Recipe, Selection
from tolman.policy.adapters import adapter_weights, without_adapters
from tolman.policy.logprobs import TokenScores, tree_scores
from tolman.policy.policy import Policy
from tolman.policy.prompt import TEMPLATES, Prompt, build_prompt, encode_clip, encode_text
from tolman.policy.tree import ClipInput, TokenTree, join, pack
from tolman.questions.mirror import mirror_question
from tolman.questions.question import Question
from tolman.video.errors import ClipError


@dataclass
class ClipTree:
    """A clip's tree and its completions so far.

    prompts[q]: of question q. question_nodes[q]: its node. completion_nodes: nodes of completions in the
    order they were added; lengths: their tokens; advantages: of each of those tokens, in supervised learning
    their weights; groups: the question each completion answers; sampled: of each completion's tokens the
    log-probability at sampling, None where it was not sampled. mirrored: whether the frames are flipped left
    to right. place: the clip's number among those that all processes read together.
    """

    clip: ClipQuestions
    questions: tuple[Question, ...]
    prompts: tuple[Prompt, ...]
    tree: TokenTree
    question_nodes: tuple[int, ...]
    completion_nodes: list[int] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    advantages: list[list[float]] = field(default_factory=list)
    groups: list[int] = field(default_factory=list)
    sampled: list[Tensor | None] = field(default_factory=list)
    mirrored: bool = False
    place: int = 0

    def add_completion(
        self,
        question: int,
        token_ids: Sequence[int],
        advantages: Sequence[float] = (),
        parent: int | None = None,
        sampled: Tensor | None = None,
    ) -> int:
        """Hang a completion below question number `question`, or below node `parent`; returns its node."""
        node = self.tree.add(token_ids, self.question_nodes[question] if parent is None else parent)
        self.completion_nodes.append(node)
        self.lengths.append(len(token_ids))
        self.advantages.append(list(advantages))
        self.groups.append(question)
        self.sampled.append(sampled)
        return node

    def bare(self) -> ClipTree:
        """The same clip and prompts without completions."""
        return _tree(self.clip, self.questions, self.prompts, self.mirrored, self.place)


def tree_scores_of(policy: Policy, clips: Sequence[ClipTree], temperature: float = 1.0) -> list[TokenScores]:
    """Scores of every completion of every tree, in order: one forward pass over all clips together."""
    joined, first = join([clip.tree for clip in clips])
    packed = pack([joined], policy.pad_id, policy.video_tokens).to(policy.device)
    nodes = [(0, k + node) for k, clip in zip(first, clips, strict=True) for node in clip.completion_nodes]
    return tree_scores(policy.model, packed, nodes, temperature)


@torch.no_grad()
def frozen_log_probs(policy: Policy, clips: Sequence[ClipTree], temperature: float = 1.0) -> Tensor:
    """(N,) log-probabilities of all completions as numbers; no gradient."""
    return flat_log_probs(tree_scores_of(policy, clips, temperature))


class Reference:
    """The policy as it is at the start: a copy that never changes or, where adapters are what learns, the
    policy's own model without them."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        if not adapter_weights(policy.model):
            model = copy.deepcopy(policy.model).eval()
            model.requires_grad_(False)
            self.policy = replace(policy, model=model)

    def log_probs(self, clips: Sequence[ClipTree], temperature: float = 1.0) -> Tensor:
        """As `frozen_log_probs`."""
        with without_adapters(self.policy.model):
            return frozen_log_probs(self.policy, clips, temperature)


def flat_log_probs(scores: Sequence[TokenScores]) -> Tensor:
    """(N,) log-probabilities of all completions, one after another."""
    return torch.cat([entry.log_probs for entry in scores])


def split(clips: Sequence[ClipTree], size: int) -> list[list[ClipTree]]:
    """Parts of `size` clips (0: one part with all; no part at all without clips)."""
    size = size or max(len(clips), 1)
    return [list(clips[at : at + size]) for at in range(0, len(clips), size)]


class PromptNumbers(NamedTuple):
    """The prompts of this process's clips among those of all processes: their numbers, and all there are."""

    numbers: list[int]
    total: int


def prompt_numbers(clips: Sequence[ClipTree]) -> PromptNumbers:
    """Number the prompts of clips that all processes read together, in the clips' order. All must call it."""
    asked = current().in_order((clip.place, len(clip.questions)) for clip in clips)
    firsts = [0, *accumulate(asked)]
    numbers = [n for clip in clips for n in range(firsts[clip.place], firsts[clip.place + 1])]
    return PromptNumbers(numbers, firsts[-1])


class Reader:
    """Reads drawn clips and puts them and their questions into trees."""

    def __init__(self, recipe: Recipe | Selection, policy: Policy) -> None:
        template = recipe.model.template
        if template not in TEMPLATES:
            raise ValueError(f"model.template is {template!r}; valid choices: {', '.join(sorted(TEMPLATES))}")
        self.policy, self.template = policy, template
        frames = recipe.data.frames or policy.frames
        self.store = ClipStore(frames, policy.frame_size, recipe.data.cache_mb << 20, recipe.data.isolate)
        self.encoder = ClipEncoder(policy, self.store, recipe.data.features_mb << 20)

    def read(self, drawn: Sequence[Drawn]) -> tuple[list[ClipTree], list[Skipped]]:
        """Trees of the clips that could be read, and what could not. Never another clip in its place.

        With several processes: this one's share of the trees, and what none of them could read.
        """
        trees, skipped = [], []
        for at, (clip, questions) in current().share(drawn):
            try:
                encoded = self.encoder.read(clip.file)
            except ClipError as error:
                skipped.append((at, Skipped(str(clip.file), error.reason)))
                continue
            trees.append(_tree(clip, questions, self._prompts(questions, encoded), place=at))
        gone = current().in_order((at, (at, skip)) for at, skip in skipped)
        for tree in trees:
            tree.place -= sum(at < tree.place for at, _ in gone)
        return trees, [skip for _, skip in gone]

    def unseen(self, clip: ClipQuestions, questions: tuple[Question, ...]) -> ClipTree:
        """A tree that asks without showing the clip."""
        return _tree(clip, questions, self._prompts(questions, None))

    def _prompts(self, questions: Sequence[Question], encoded: ClipInput | None) -> list[Prompt]:
        return [build_prompt(self.policy, asked, encoded, self.template) for asked in questions]

    def frame_count(self, clip: ClipTree) -> int:
        """Frames that the clip is shown with."""
        return len(self.store.get(clip.clip.file).rgb_THWC)

    def shuffled_prompts(self, clip: ClipTree, order: npt.NDArray[np.int64]) -> list[Prompt]:
        """The clip's prompts with its frames in another order at unchanged times."""
        rgb_THWC, times_T = self._frames(clip, clip.mirrored)
        return self._prompts(clip.questions, encode_clip(self.policy, rgb_THWC[order], times_T))

    def mirror(self, clip: ClipTree, place: int = 0) -> ClipTree:
        """The clip as a mirror shows it, left and right exchanged in frames, questions and answers.

        place: the new tree's.
        """
        encoded = self.encoder.see(encode_clip(self.policy, *self._frames(clip, not clip.mirrored)))
        questions = tuple(mirror_question(question) for question in clip.questions)
        return _tree(clip.clip, questions, self._prompts(questions, encoded), not clip.mirrored, place)

    def _frames(
        self, clip: ClipTree, mirrored: bool
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float64]]:
        """Frames (T, H, W, 3), flipped where asked for, and their times."""
        frames = self.store.get(clip.clip.file)
        rgb_THWC = frames.rgb_THWC[:, :, ::-1] if mirrored else frames.rgb_THWC
        return np.ascontiguousarray(rgb_THWC), frames.times_T

    def text_ids(self, text: str) -> list[int]:
        """Tokens of a completion given as text, the end of turn included."""
        return [*encode_text(self.policy, text), self._token("<|im_end|>")]

    def turn_ids(self, turn: Turn) -> list[int]:
        """Tokens of what another says after a completion, up to where the policy goes on.

        A tool's answer stands inside a user's turn, in tool_response tags, as in Qwen's chat template.
        """
        said = turn.content
        if turn.role == "tool":
            said = f"<tool_response>\n{said}\n</tool_response>"
        start, line = self._token("<|im_start|>"), encode_text(self.policy, "\n")
        opened = [*line, start, *encode_text(self.policy, "user\n"), *self.text_ids(said)]
        return [*opened, *line, start, *encode_text(self.policy, "assistant\n")]

    def _token(self, name: str) -> int:
        token: int = self.policy.tokenizer.convert_tokens_to_ids(name)
        return token

    def gold_text(self, question: Question, worked: bool = False) -> str:
        """The gold completion in the template's form. worked: as in `gold_completion`."""
        if "map" in TEMPLATES[self.template]:
            return gold_completion(question, with_map=True, worked=worked)
        return f"<answer>{question.answer}</answer>"  # the prompt asks for the answer alone


def _tree(
    clip: ClipQuestions,
    questions: tuple[Question, ...],
    prompts: Sequence[Prompt],
    mirrored: bool = False,
    place: int = 0,
) -> ClipTree:
    tree = TokenTree()
    root = tree.add(prompts[0].clip_ids, clip=prompts[0].clip)
    assert all(prompt.clip_ids == prompts[0].clip_ids for prompt in prompts), "one clip, one beginning"
    nodes = tuple(tree.add(prompt.question_ids, root) for prompt in prompts)
    return ClipTree(clip, questions, tuple(prompts), tree, nodes, mirrored=mirrored, place=place)
