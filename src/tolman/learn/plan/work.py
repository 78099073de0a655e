"""What a step computes: its tokens, patches and visible pairs, and the arithmetic of them. Pure.

Every clip is taken to have all its frames and every completion its full length: the most a step can be asked
for. A multiplication and an addition are two operations (FLOP).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

from tolman.learn.plan.sizes import ModelSize, VisionSize
from tolman.learn.recipe import make_advantage, make_bonuses
from tolman.learn.registry import LOSSES
from tolman.learn.sections import Recipe, Selection
from tolman.policy.templates import TEMPLATES

QUESTION_TOKENS, LETTERS_PER_TOKEN = 80, 4
"""A question with its options, and how many letters of a template's own text make a token."""
GOLD_TOKENS = 200
"""Of a completion that no sampling budget bounds: a gold one with its map, or one to prefer."""
PLANNED = ("sft", "dense", "rl", "dpo", "kto")
"""Objectives whose steps are known here."""
TURN_TOKENS, TIME_TOKENS = 5, 9
"""Around a clip: of the turn's opening; of each grid step where its time is said in words."""


class Lengths(NamedTuple):
    """Tokens of a question with all that its template says, of a completion, and of the longest in a step,
    which decoding waits for; 0 for what is usual, and for all of one length."""

    question: int = 0
    completion: int = 0
    longest: int = 0


@dataclass(frozen=True)
class Tree:
    """One clip with its questions and their completions, all of equal length, in tokens."""

    clip: int
    questions: int
    question: int
    leaves: int
    completion: int

    @property
    def prompt(self) -> int:
        """Tokens before the completions."""
        return self.clip + self.questions * self.question

    @property
    def scored(self) -> int:
        """Tokens of all completions."""
        return self.questions * self.leaves * self.completion

    @property
    def tokens(self) -> int:
        """All tokens."""
        return self.prompt + self.scored

    @property
    def pairs(self) -> int:
        """(token, token it attends to), itself included, with the completions."""
        above = self.clip + self.question
        leaf = self.completion * above + _triangle(self.completion)
        return self.prompt_pairs + self.questions * self.leaves * leaf

    @property
    def prompt_pairs(self) -> int:
        """The same of the prompt alone."""
        return _triangle(self.clip) + self.questions * (self.question * self.clip + _triangle(self.question))


@dataclass(frozen=True)
class Step:
    """The work of one step of a recipe.

    clips: trees (mirrored ones included), part_clips: of them in one forward and backward pass. blind:
    trees of a question and its completion without a clip, in a pass of their own. group, shuffled:
    completions sampled of each prompt with frames in order and shuffled. longest: tokens of the longest of
    them. passes: optimiser epochs over the batch. updates: optimiser steps. references: forward passes of a
    frozen copy; forwards: other passes without gradient over the batch. text_learns: whether the language
    model's own weights learn, not adapters on them. layers_back: share of its layers with a backward pass.
    tower: `trained`, `merger` (only its last part learns) or `frozen`. learns: whether there is a loss at
    all. processes: that share a step; clips, blind and all that follows from them are one process's,
    samples of all: completions that the step learns from, or that a selecting stage keeps or not.
    """

    tree: Tree
    patches: int
    clips: int
    part_clips: int
    blind: int
    group: int
    shuffled: int
    longest: int
    passes: int
    updates: int
    references: int
    forwards: int
    tower: str
    text_learns: bool
    layers_back: float
    learns: bool
    processes: int
    samples: int
    frames: int
    frame_size: tuple[int, int]

    @property
    def parts(self) -> int:
        """Forward and backward passes of one update, the blind one included."""
        return math.ceil(self.clips / self.part_clips) + (self.blind > 0)

    @property
    def alone(self) -> Tree:
        """A question and its completion without a clip."""
        return Tree(0, 1, self.tree.question + TURN_TOKENS, 1, self.tree.completion)

    @property
    def text_passes(self) -> float:
        """Forward passes of the language model that one of loss and gradients is worth."""
        return 1 + self.layers_back * (2 if self.text_learns else 1)

    @property
    def rows(self) -> int:
        """Completions decoded side by side."""
        return self.clips * self.tree.questions * self.group


def step_of(
    recipe: Recipe | Selection,
    size: ModelSize,
    lengths: Lengths,
    processes: int = 1,
) -> Step:
    """The work of the recipe's steps with a policy of this size.

    Raises ValueError for an objective that is none of `PLANNED`, and for frames that do not divide into
    tokens.
    """
    batch, sampling = recipe.batch, recipe.sampling
    frames = recipe.data.frames or size.frames
    patches, clip_tokens = clip_work(size, frames, size.frame_size)
    question = (
        lengths.question or QUESTION_TOKENS + len(TEMPLATES[recipe.model.template]) // LETTERS_PER_TOKEN
    )
    budget = sampling.max_new_tokens if sampling else GOLD_TOKENS
    completion = min(lengths.completion or budget, budget) if sampling else lengths.completion or budget
    name = recipe.objective.name if isinstance(recipe, Recipe) else "select"
    if name not in (*PLANNED, "select"):
        raise ValueError(
            f"steps of objective {name!r} cannot be planned yet; those that can: {', '.join(PLANNED)}"
        )
    if name == "dense":
        tree = Tree(clip_tokens, 0, 0, 0, 0)
    else:
        leaves = {"rl": sampling.group if sampling else 1, "dpo": 2, "select": 0}.get(name, 1)
        tree = Tree(clip_tokens, batch.questions_per_clip, question, leaves, completion)
    clips, shuffled = batch.clips, 0
    if isinstance(recipe, Recipe) and recipe.advantage is not None:
        advantage = make_advantage(recipe)
        clips *= 2 if advantage.mirrored else 1
        shuffled = max([advantage.shuffled, *(bonus.shuffled for bonus in make_bonuses(recipe))])
    updates = sampling.updates if sampling and name == "rl" else 1
    blind = int(recipe.objective.options.get("blind", 0)) if isinstance(recipe, Recipe) else 0
    each = tree.questions * (tree.leaves or (sampling.group if sampling else 0))
    samples = max(clips * each, clips) + blind
    clips, blind = math.ceil(clips / processes), math.ceil(blind / processes)
    together = math.ceil(clips / (sampling.minibatches if sampling and name == "rl" else 1))
    return Step(
        tree=tree,
        patches=patches,
        clips=clips,
        part_clips=min(batch.micro_clips or together, together),
        blind=blind,
        group=sampling.group if sampling else 0,
        shuffled=shuffled,
        longest=max(completion, min(lengths.longest, budget)),
        passes=sampling.epochs if sampling and name == "rl" else 1,
        updates=updates if name != "select" else 0,
        references=_references(recipe, name),
        forwards=_forwards(recipe, name),
        tower=_TOWER[_train(recipe)],
        text_learns=_train(recipe) != "vision" and not recipe.model.lora_rank,
        layers_back=0.5 if name == "dense" else 1.0,
        learns=name != "select",
        processes=processes,
        samples=samples,
        frames=frames,
        frame_size=size.frame_size,
    )  # fmt: skip


_TOWER = {"all": "trained", "vision": "trained", "text+merger": "merger", "text": "frozen"}


def _train(recipe: Recipe | Selection) -> str:
    return recipe.model.train if isinstance(recipe, Recipe) else "text"


def _references(recipe: Recipe | Selection, name: str) -> int:
    """Passes of the frozen copy of the policy; KTO takes a second one for its reference point."""
    if name == "rl":
        return int(isinstance(recipe, Recipe) and recipe.loss is not None and recipe.loss.beta > 0)
    return {"dpo": 1, "kto": 2}.get(name, 0)


def _forwards(recipe: Recipe | Selection, name: str) -> int:
    """Passes of the policy without gradient: old log-probabilities, the group's divergence, KTO's point."""
    if name == "kto":
        return 1
    if name != "rl" or not isinstance(recipe, Recipe) or recipe.loss is None or recipe.sampling is None:
        return 0
    return int(recipe.sampling.updates > 1) + int(LOSSES[recipe.loss.name].divergence)


def clip_work(size: ModelSize, frames: int, frame_size: tuple[int, int]) -> tuple[int, int]:
    """Patches that the tower sees of a clip and tokens that the language model reads of it.

    Raises ValueError where frames do not divide into tokens.
    """
    vision, (height, width) = size.vision, frame_size
    factor = vision.patch * vision.merge
    if height % factor or width % factor:
        raise ValueError(f"frames of {height} x {width} pixels: both must be multiples of {factor}")
    steps = math.ceil(frames / vision.temporal)
    patches = steps * (height // vision.patch) * (width // vision.patch)
    words = TURN_TOKENS + (TIME_TOKENS * steps if size.says_times else 0)
    return patches, patches // vision.merge**2 + words


def text_flops(size: ModelSize, tokens: float, pairs: float, scored: float) -> float:
    """Of a forward pass of the language model; scored: tokens that get logits."""
    text = size.text
    attention = 4 * pairs * text.query * text.layers
    return 2 * text.layers * text.layer_matrices * tokens + attention + 2 * text.head * scored


def tower_flops(size: ModelSize, patches: int, frame_size: tuple[int, int]) -> float:
    """Of a forward pass of the vision tower over one clip."""
    vision = size.vision
    matrices = vision.depth * vision.block_matrices + vision.hidden * vision.patch_values
    mergers = (1 + vision.deepstack) * vision.merger_matrices * (patches // vision.merge**2)
    return 2 * (matrices * patches + mergers) + 4 * vision.hidden * _tower_pairs(vision, patches, frame_size)


def _tower_pairs(vision: VisionSize, patches: int, frame_size: tuple[int, int]) -> float:
    """(patch, patch it attends to) over all blocks: within a frame, or within a window of it."""
    rows, columns = (side // vision.patch for side in frame_size)
    steps = patches // (rows * columns)
    whole = (rows * columns) ** 2
    side = vision.window // vision.patch
    local = _squares(rows, side) * _squares(columns, side) if vision.window else whole
    return steps * (vision.full * whole + (vision.depth - vision.full) * local)


def loss_flops(size: ModelSize, step: Step) -> float:
    """Useful arithmetic of one pass of loss and gradients over the step's batch, nothing recomputed.

    A matrix costs 2 operations a weight and token forward, 2 for the gradient of what goes in, 2 for its own.
    """
    tree = step.tree
    text = step.clips * text_flops(size, tree.tokens, tree.pairs, tree.scored)
    if step.blind:
        alone = step.alone
        text += step.blind * text_flops(size, alone.tokens, alone.pairs, alone.scored)
    tower = step.clips * tower_flops(size, step.patches, step.frame_size)
    of_tower = {"trained": 3.0, "merger": 1.0, "frozen": 0.0}[step.tower]
    return float(text * step.text_passes + tower * of_tower)


def _triangle(length: int) -> int:
    """Pairs of a run of tokens in which each sees itself and its elders."""
    return length * (length + 1) // 2


def _squares(length: int, side: int) -> int:
    """Sum of squares of the windows' sides along an axis."""
    return length // side * side**2 + (length % side) ** 2
