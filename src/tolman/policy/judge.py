"""A policy as a judge: it is asked in its own chat format, without a clip, and answers greedily."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from tolman.questions.question import Question
from tolman.reward.judge import MAX_REPLY, Reply

from .generate import generate
from .policy import Policy
from .prompt import build_prompt


@dataclass(frozen=True)
class PolicyJudge:
    """Asks a model in this process; a `tolman.reward.judge.Judge`.

    max_new_tokens: of a reply, which is what bounds its time. max_prompt_tokens: a longer prompt is refused.
    The same prompt gives the same reply, and asking moves no random generator. Raises ValueError for limits
    below 1.
    """

    policy: Policy
    max_new_tokens: int = 64
    max_prompt_tokens: int = 8192

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1 or self.max_prompt_tokens < 1:
            limits = f"{self.max_new_tokens} and {self.max_prompt_tokens}"
            raise ValueError(f"max_new_tokens and max_prompt_tokens must be at least 1, got {limits}")

    @property
    def name(self) -> str:
        """Model and limit: what a cache tells replies apart by."""
        return f"{self.policy.name}, greedy, {self.max_new_tokens} tokens"

    def __call__(self, prompt: str) -> Reply:
        """The model's reply to a prompt."""
        asked = Question("", prompt, "text", "free-form", None, "", "", "")
        built = build_prompt(self.policy, asked, None, "verbatim")
        tokens = len(built.clip_ids) + len(built.question_ids)
        if tokens > self.max_prompt_tokens:
            return Reply(None, f"a prompt of {tokens} tokens, at most {self.max_prompt_tokens} are taken")
        unused = torch.zeros(1, self.max_new_tokens, dtype=torch.float64)  # greedy: nothing is drawn
        [[sample]] = generate(
            self.policy, [built], 1, max_new_tokens=self.max_new_tokens, temperature=0, uniforms=unused
        )
        text = sample.text.strip()[:MAX_REPLY]
        return Reply(text, "") if text else Reply(None, "the judge's reply is empty")
