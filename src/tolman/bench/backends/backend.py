"""What evaluation asks of whoever answers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol

from tolman.bench.frames import Images, Sampling, Shown


class Request(NamedTuple):
    """One question. number: its place in the list of questions. text: the words of the user's turn.

    shown: the frames or images that come before the words; None for none. Questions about one clip share the
    object.
    """

    number: int
    text: str
    shown: Shown | Images | None


class Reply(NamedTuple):
    """What came back. text: None where this question cannot be answered, with the reason.

    tokens: of the answer, None where the backend does not say. finished: the answer ended by itself.
    seconds: from asking (the last time) to the answer; where questions are answered together, their time in
    equal parts.
    """

    text: str | None
    tokens: int | None
    finished: bool
    seconds: float
    reason: str = ""


class Backend(Protocol):
    """name: the model's. sampling: how its clips are sampled where nobody says otherwise."""

    @property
    def name(self) -> str: ...

    @property
    def sampling(self) -> Sampling: ...

    def replies(
        self, batches: Iterable[Sequence[Request]], max_new_tokens: int
    ) -> Iterator[tuple[Request, Reply]]:
        """Greedy answers as they come, each request's once, in any order.

        batches: questions that are best asked together; taken one after the other, as there is room. What no
        repetition mends for any question (a server that stays away) is an error, never a reply.
        """
        ...
