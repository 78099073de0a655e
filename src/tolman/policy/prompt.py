"""Prompts: a clip's tokens, then the question's, so that questions about one clip share its node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from tolman.questions.question import Question
from tolman.video.patches import patchify
from tolman.video.resize import resize

from .policy import Policy
from .tree import ClipInput, TokenTree, clip_grid

TEMPLATES: dict[str, str] = {
    "map": "{problem}{options}\nThink, draw the map, answer.",
    "direct": "{problem}{options}\nGive only the answer{answer_rule}.",
    "spacer": (
        "Question: {problem}{options}\n"
        "Work through the question step by step before you answer, as a person would who walked "
        "through this room, and write that reasoning between <think> and </think>. Doubt your first idea, look at the video "
        "again where it helps, and correct yourself.\n"
        "As part of the reasoning, draw a cognitive map of the room seen from above:\n"
        "1. Look for these objects in the video: {objects}.\n"
        "2. Place the centre of every one you find on a grid of 10 x 10 cells, as [x, y] with whole numbers "
        "from 0 to 9. An object that is there several times gets one position for each.\n"
        "3. Write the map between <map> and </map> as a dictionary from object to positions, for example "
        '<map>{{"chair": [[1, 2], [8, 8]], "table": [[5, 5]]}}</map>, and use it for your answer.\n'
        "Then give your final answer between <answer> and </answer>{answer_rule}."
    ),
}
"""What the user's turn says, by name, with the fields `problem`, `options`, `objects` and `answer_rule`.

`map`: short, for policies trained on it. `direct`: no reasoning. `spacer`: the published protocol of SpaceR
(arXiv 2504.01805) in our words: reasoning in think tags, inside it a 10 x 10 map of the listed objects in map
tags, then the answer in answer tags. As there, the list is the true map's categories, so the model is told
what exists; where a question has no true map (benchmarks) the list is "the main objects of the room".
"""

_ANSWER_RULES: Mapping[str, str] = {
    "multiple choice": ": only the letter of the right option, as in <answer>A</answer>",
    "numerical": ": only the number, as in <answer>3.1</answer>",
    "regression": ": only the number, as in <answer>3.1</answer>",
    "OCR": ": only the text, as in <answer>EXIT</answer>",
    "free-form": ": in a sentence, inside <answer> </answer>",
}


@dataclass(frozen=True, eq=False)
class Prompt:
    """clip_ids: the turn's opening and the clip's placeholders; clip: what they stand for, or None;
    question_ids: the rest, up to where the answer starts."""

    clip_ids: tuple[int, ...]
    clip: ClipInput | None
    question_ids: tuple[int, ...]

    def add_to(self, tree: TokenTree, clip_node: int | None = None) -> tuple[int, int]:
        """Add the clip node (unless `clip_node` already is it) and the question node; returns both
        indices."""
        if clip_node is None:
            clip_node = tree.add(self.clip_ids, clip=self.clip)
        return clip_node, tree.add(self.question_ids, parent=clip_node)


def encode_clip(
    policy: Policy, rgb_THWC: npt.NDArray[np.uint8], times_T: Sequence[float] | npt.NDArray[np.float64]
) -> ClipInput:
    """Resize frames to exactly the policy's size, whatever their aspect, and cut them into patches.

    rgb_THWC: sampled frames. times_T: their times in seconds, ascending. Seconds per grid step is `temporal`
    times the mean spacing; one frame alone has no spacing and gets 1, which its single step never uses.
    Raises ValueError where times do not fit the frames or do not ascend.
    """
    times = np.asarray(times_T, dtype=np.float64)
    if rgb_THWC.ndim != 4 or len(rgb_THWC) == 0 or times.shape != rgb_THWC.shape[:1]:
        raise ValueError(
            f"a clip needs frames (T, H, W, 3) with T times, got {rgb_THWC.shape} and {times.shape}"
        )
    if not np.all(np.isfinite(times)) or np.any(np.diff(times) <= 0):
        raise ValueError(f"frame times must be finite and ascend, got {times.tolist()}")
    spacing = float(times[-1] - times[0]) / (len(times) - 1) if len(times) > 1 else 0.0
    height, width = policy.frame_size
    factor = policy.patch_spec.patch * policy.patch_spec.merge
    if height % factor or width % factor:
        raise ValueError(f"frame_size must be multiples of {factor}, got {policy.frame_size}")
    exact = replace(policy.patch_spec, min_pixels=height * width, max_pixels=height * width, per_clip=False)
    pixels, grid = patchify(resize(rgb_THWC, policy.frame_size), exact)
    return ClipInput(
        pixels=torch.from_numpy(np.ascontiguousarray(pixels, dtype=np.float32)),
        grid_thw=torch.from_numpy(np.asarray(grid, dtype=np.int64)),
        seconds_per_grid=policy.patch_spec.temporal * spacing if len(times) > 1 else 1.0,
    )


def build_prompt(policy: Policy, question: Question, clip: ClipInput | None, template: str) -> Prompt:
    """Chat-format token ids of a question about a clip (or about nothing: `clip=None`).

    Special tokens written out inside the question's own text become plain characters, so no dataset row can
    open a turn or claim a clip. Raises ValueError for an unknown template.
    """
    header = _special(policy, "<|im_start|>") + encode_text(policy, "user\n")
    if clip is None:
        clip_ids = header
    else:
        t, h, w = clip_grid(clip, policy.video_tokens)
        opening, closing = _special(policy, "<|vision_start|>"), _special(policy, "<|vision_end|>")
        clip_ids = header + opening + [policy.video_tokens.video_token_id] * (t * h * w) + closing
    turn = (
        encode_text(policy, question_text(question, template))
        + _special(policy, "<|im_end|>")
        + encode_text(policy, "\n")
        + _special(policy, "<|im_start|>")
        + encode_text(policy, "assistant\n")
    )
    return Prompt(tuple(clip_ids), clip, tuple(turn))


def question_text(question: Question, template: str) -> str:
    """The user's words. Raises ValueError for an unknown template, listing the known ones."""
    if template not in TEMPLATES:
        raise ValueError(f"unknown template {template!r}; known: {', '.join(sorted(TEMPLATES))}")
    options = "".join(f"\n{option}" for option in question.options or ())
    return TEMPLATES[template].format(
        problem=question.problem.strip(),
        options=f"\nOptions:{options}" if options else "",
        objects=", ".join(question.cognitive_map)
        if question.cognitive_map
        else "the main objects of the room",
        answer_rule=_ANSWER_RULES.get(question.problem_type, ", inside <answer> </answer>"),
    )


def encode_text(policy: Policy, text: str) -> list[int]:
    """Token ids of text with no special token among them, whatever it says."""
    ids: Any = policy.tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    return [int(token) for token in ids]


def _special(policy: Policy, token: str) -> list[int]:
    """A special token's id, in a list."""
    return [int(policy.tokenizer.convert_tokens_to_ids(token))]
