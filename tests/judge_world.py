"""A judge for tests."""

from __future__ import annotations

from tolman.reward.judge import Reply


class Scripted:
    """A judge that says what it is told and remembers what it was asked."""

    def __init__(self, *replies: str | None) -> None:
        self.replies, self.prompts = list(replies), [""][:0]

    def __call__(self, prompt: str) -> Reply:
        self.prompts.append(prompt)
        text = self.replies.pop(0)
        return Reply(text, "" if text is not None else "gone")
