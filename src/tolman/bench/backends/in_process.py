"""A policy in this process: a clip passes through both towers once for all questions about it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from tolman.bench.backends.backend import Reply, Request
from tolman.bench.frames import Sampling, Shown
from tolman.policy.generate import generate
from tolman.policy.policy import Policy
from tolman.policy.prompt import build_prompt, encode_clip
from tolman.policy.tree import ClipInput
from tolman.questions.question import Question


class InProcess:
    """Answers with a policy of `tolman.policy`; its own frames and size are the default."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.name = policy.name
        self.sampling = Sampling(policy.frames, size=policy.frame_size)

    def replies(
        self, batches: Iterable[Sequence[Request]], max_new_tokens: int
    ) -> Iterator[tuple[Request, Reply]]:
        """A batch's replies, together. Raises ValueError for frames of a size that the tower cannot cut."""
        encoded: dict[Shown | None, ClipInput | None] = {None: None}
        for batch in batches:
            began = time.perf_counter()
            known = encoded
            encoded = {None: None}  # of this batch; clips of the last one that go on are not encoded anew
            for request in batch:
                if request.shown not in encoded:
                    clip = known.get(request.shown)
                    encoded[request.shown] = clip if clip is not None else self._encode(request.shown)
            prompts = [
                build_prompt(self.policy, _words(request.text), encoded[request.shown], "verbatim")
                for request in batch
            ]
            groups = generate(self.policy, prompts, 1, max_new_tokens=max_new_tokens, temperature=0)
            seconds = (time.perf_counter() - began) / len(batch)
            for request, (sample,) in zip(batch, groups, strict=True):
                yield request, Reply(sample.text, len(sample.token_ids), sample.finished, seconds)

    def _encode(self, shown: Shown | None) -> ClipInput:
        assert shown is not None
        height, width = shown.rgb_THWC.shape[1:3]
        return encode_clip(replace(self.policy, frame_size=(height, width)), shown.rgb_THWC, shown.times_T)


def _words(text: str) -> Question:
    """A question that is nothing but its words."""
    return Question(0, text, "video", "free-form", None, "", "", "")
