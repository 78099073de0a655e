"""A policy in this process: a clip passes through both towers once for all questions about it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from tolman.bench.backends.backend import Reply, Request
from tolman.bench.frames import Images, Sampling, Shown
from tolman.policy.generate import generate
from tolman.policy.policy import Policy
from tolman.policy.prompt import Prompt, build_image_prompt, build_prompt, encode_clip, encode_image
from tolman.policy.tree import ClipInput
from tolman.questions.question import Question


class InProcess:
    """Answers with a policy of `tolman.policy`; its own frames and size are the default, and its
    tower's bounds where no size is asked for."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.name = policy.name
        self.sampling = Sampling(policy.frames, size=policy.frame_size, bounds=policy.patch_spec)

    def replies(
        self, batches: Iterable[Sequence[Request]], max_new_tokens: int
    ) -> Iterator[tuple[Request, Reply]]:
        """A batch's replies, together. Raises ValueError for frames of a size that the tower cannot cut."""
        encoded: dict[Shown | Images | None, tuple[ClipInput, ...]] = {None: ()}
        for batch in batches:
            began = time.perf_counter()
            known = encoded
            encoded = {None: ()}  # of this batch; clips of the last one that go on are not encoded anew
            for request in batch:
                if request.shown not in encoded:
                    clips = known.get(request.shown)
                    encoded[request.shown] = clips if clips is not None else self._encode(request.shown)
            prompts = [self._prompt(request, encoded[request.shown]) for request in batch]
            groups = generate(self.policy, prompts, 1, max_new_tokens=max_new_tokens, temperature=0)
            seconds = (time.perf_counter() - began) / len(batch)
            for request, (sample,) in zip(batch, groups, strict=True):
                yield request, Reply(sample.text, len(sample.token_ids), sample.finished, seconds)

    def _encode(self, shown: Shown | Images | None) -> tuple[ClipInput, ...]:
        """A clip, or each of several images: of the size that was asked for, else within its own bounds."""
        assert shown is not None
        if isinstance(shown, Shown):
            return (self._exact(shown.rgb_THWC, shown.times_T),)
        if shown.resized:
            return tuple(self._exact(rgb[None], np.zeros(1)) for rgb in shown.rgb)
        return tuple(encode_image(self.policy, rgb) for rgb in shown.rgb)

    def _exact(self, rgb_THWC: npt.NDArray[np.uint8], times_T: npt.NDArray[np.float64]) -> ClipInput:
        height, width = rgb_THWC.shape[1:3]
        return encode_clip(replace(self.policy, frame_size=(height, width)), rgb_THWC, times_T)

    def _prompt(self, request: Request, clips: tuple[ClipInput, ...]) -> Prompt:
        words = _words(request.text)
        if isinstance(request.shown, Images):
            return build_image_prompt(self.policy, words, clips, "verbatim")
        return build_prompt(self.policy, words, clips[0] if clips else None, "verbatim")


def _words(text: str) -> Question:
    """A question that is nothing but its words."""
    return Question(0, text, "video", "free-form", None, "", "", "")
