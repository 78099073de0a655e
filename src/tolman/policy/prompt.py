"""Prompts: a clip's tokens, or images', then the question's; questions about one clip share its nodes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from tolman.questions.question import Question
from tolman.video.patches import patchify
from tolman.video.resize import resize

from .policy import Policy
from .templates import TEMPLATES, question_text
from .tree import ClipInput, TokenTree, clip_grid

__all__ = [
    "TEMPLATES",
    "ClipInput",
    "Prompt",
    "build_image_prompt",
    "build_prompt",
    "encode_clip",
    "encode_image",
    "encode_text",
]


@dataclass(frozen=True, eq=False)
class Prompt:
    """clip_ids: the turn's opening and the clip's placeholders; clip: what they stand for, or None;
    question_ids: the rest, up to where the answer starts. earlier: of several images all but the last, which
    then is `clip`, each with its tokens; the turn's opening is with the first."""

    clip_ids: tuple[int, ...]
    clip: ClipInput | None
    question_ids: tuple[int, ...]
    earlier: tuple[tuple[tuple[int, ...], ClipInput], ...] = ()

    def add_to(self, tree: TokenTree, clip_node: int | None = None) -> tuple[int, int]:
        """Add the clip node behind those of earlier images (unless `clip_node` already is it) and the
        question node; returns both indices."""
        if clip_node is None:
            before: int | None = None
            for ids, image in self.earlier:
                before = tree.add(ids, parent=before, clip=image)
            clip_node = tree.add(self.clip_ids, parent=before, clip=self.clip)
        return clip_node, tree.add(self.question_ids, parent=clip_node)


def encode_clip(
    policy: Policy, rgb_THWC: npt.NDArray[np.uint8], times_T: Sequence[float] | npt.NDArray[np.float64]
) -> ClipInput:
    """Resize frames to exactly the policy's size, whatever their aspect, and cut them into patches.

    rgb_THWC: sampled frames. times_T: their times in seconds, never descending. Seconds per grid step is
    `temporal` times the mean spacing; one frame alone has no spacing and gets 1, which its single step never
    uses. A step's own time is half-way between its first and last frame. Raises ValueError where times do not
    fit the frames or descend.
    """
    times = np.asarray(times_T, dtype=np.float64)
    if rgb_THWC.ndim != 4 or len(rgb_THWC) == 0 or times.shape != rgb_THWC.shape[:1]:
        raise ValueError(
            f"a clip needs frames (T, H, W, 3) with T times, got {rgb_THWC.shape} and {times.shape}"
        )
    if not np.all(np.isfinite(times)) or np.any(np.diff(times) < 0):
        raise ValueError(f"frame times must be finite and never descend, got {times.tolist()}")
    spacing = float(times[-1] - times[0]) / (len(times) - 1) if len(times) > 1 else 0.0
    height, width = policy.frame_size
    factor = policy.patch_spec.patch * policy.patch_spec.merge
    if height % factor or width % factor:
        raise ValueError(f"frame_size must be multiples of {factor}, got {policy.frame_size}")
    exact = replace(policy.patch_spec, min_pixels=height * width, max_pixels=height * width, per_clip=False)
    pixels, grid = patchify(resize(rgb_THWC, policy.frame_size), exact)
    temporal = policy.patch_spec.temporal
    padded = np.append(times, np.repeat(times[-1], -len(times) % temporal))
    middles = (padded[::temporal] + padded[temporal - 1 :: temporal]) / 2
    return ClipInput(
        pixels=torch.from_numpy(np.ascontiguousarray(pixels, dtype=np.float32)),
        grid_thw=torch.from_numpy(np.asarray(grid, dtype=np.int64)),
        seconds_per_grid=temporal * spacing if len(times) > 1 else 1.0,
        step_seconds=tuple(middles.tolist()),
    )


def build_prompt(policy: Policy, question: Question, clip: ClipInput | None, template: str) -> Prompt:
    """Chat-format token ids of a question about a clip (or about nothing: `clip=None`).

    Special tokens written out inside the question's own text become plain characters, so no dataset row can
    open a turn or claim a clip. Raises ValueError for an unknown template.
    """
    return Prompt(tuple(opening_ids(policy, clip)), clip, _question_ids(policy, question, template))


def encode_image(policy: Policy, rgb_HWC: npt.NDArray[np.uint8]) -> ClipInput:
    """An image as patches of one grid step: resized within the checkpoint's own bounds, its aspect kept.

    Raises ValueError for other shapes and for edges that `smart_resize` refuses.
    """
    if rgb_HWC.ndim != 3:
        raise ValueError(f"an image must be (H, W, 3), got {rgb_HWC.shape}")
    pixels, grid = patchify(rgb_HWC[None], policy.patch_spec)
    return ClipInput(torch.from_numpy(pixels), torch.from_numpy(grid), 1.0, (0.0,))


def build_image_prompt(
    policy: Policy, question: Question, images: Sequence[ClipInput], template: str
) -> Prompt:
    """Chat-format token ids of a question about one or several images, in their order (`encode_image`).

    Each image stands between vision tokens of its own, as the chat templates of Qwen2.5-VL and Qwen3-VL have
    it. The placeholders carry the id of a clip's, not an image's: features take their place, so nothing of
    the id is left, and the tree looks for one id only. Raises ValueError without an image, for a clip of
    several steps, and as `build_prompt`.
    """
    if not images:
        raise ValueError("an image prompt needs at least one image, got none")
    opening, closing = _special(policy, "<|vision_start|>"), _special(policy, "<|vision_end|>")
    nodes: list[tuple[tuple[int, ...], ClipInput]] = []
    for number, image in enumerate(images):
        t, h, w = clip_grid(image, policy.video_tokens)
        if t != 1:
            raise ValueError(f"image {number + 1} of the question has {t} steps in time; show a clip instead")
        header = [] if number else [*_start(policy), *encode_text(policy, "user\n")]
        shown = opening + [policy.video_tokens.video_token_id] * (h * w) + closing
        nodes.append((tuple(header + shown), image))
    *earlier, (last_ids, last) = nodes
    return Prompt(last_ids, last, _question_ids(policy, question, template), tuple(earlier))


def _question_ids(policy: Policy, question: Question, template: str) -> tuple[int, ...]:
    """Tokens of the question's words, of the end of the turn, and of the start of the answer."""
    turn = (
        encode_text(policy, question_text(question, template))
        + _special(policy, "<|im_end|>")
        + encode_text(policy, "\n")
        + _special(policy, "<|im_start|>")
        + encode_text(policy, "assistant\n")
    )
    return tuple(turn)


def opening_ids(policy: Policy, clip: ClipInput | None) -> list[int]:
    """Tokens up to the question: the policy's preamble, the user's header and the clip's placeholders.

    Qwen3-VL (arXiv 2511.21631) reads each grid step between vision tokens of its own, behind its time in
    seconds with one decimal. As in the processor that came with its checkpoints (transformers 4.57) no pair
    of vision tokens stands around all steps; transformers from 5.10 on leaves the chat template's pair there.
    Raises ValueError where such a policy's clip does not say its steps' times.
    """
    video = policy.video_tokens
    start, header = _start(policy), "user\n"
    if clip is None:
        return start + encode_text(policy, header)
    t, h, w = clip_grid(clip, video)
    opening, closing = _special(policy, "<|vision_start|>"), _special(policy, "<|vision_end|>")
    if video.tokens_per_second is not None:
        shown = opening + [video.video_token_id] * (t * h * w) + closing
        return start + encode_text(policy, header) + shown
    if len(clip.step_seconds) != t:
        raise ValueError(
            f"this policy reads the time of each grid step, but the clip has {len(clip.step_seconds)} times "
            f"for {t} steps; make it with encode_clip"
        )
    shown = opening + [video.video_token_id] * (h * w) + closing
    ids = start
    for step, seconds in enumerate(clip.step_seconds):
        said = f"<{seconds:.1f} seconds>"
        ids += encode_text(policy, said if step else header + said) + shown
    return ids


def encode_text(policy: Policy, text: str) -> list[int]:
    """Token ids of text with no special token among them, whatever it says."""
    ids: Any = policy.tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    return [int(token) for token in ids]


def _start(policy: Policy) -> list[int]:
    """Up to the role of the first turn that was asked for."""
    return [*policy.preamble, *_special(policy, "<|im_start|>")]


def _special(policy: Policy, token: str) -> list[int]:
    """A special token's id, in a list."""
    return [int(policy.tokenizer.convert_tokens_to_ids(token))]
