"""Any server that speaks OpenAI's chat API (`/chat/completions`): vLLM, SGLang, llama.cpp, a provider.

What asking again may mend (429, 5xx, 408, a dropped connection, a late or malformed response) is asked again,
with pauses that double, and no shorter than a `Retry-After` says. A server that stays broken ends the run:
nothing is scored that nobody answered, and a resumed run asks the rest. What only this question suffers from
(400, 413, 422: too long, say) is that question's reply.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from tolman.bench.backends.backend import Reply, Request
from tolman.bench.backends.images import FORMS, clip_parts, message
from tolman.bench.backends.pace import Pace, retry_after
from tolman.bench.frames import Images, Sampling, Shown
from tolman.reward.chat_server import Again, Response, check_url, post, read_key

DEFAULT = Sampling(frames=16)
MAX_BODY = 16_000_000  # bytes of a response
LONGEST_PAUSE = 600.0  # seconds between two attempts; a server that asks for more is not waited for
_BUSY = (408, 425, 429)
_REFUSED = (400, 413, 422)
Parts = list[dict[str, Any]]


@dataclass(frozen=True)
class Server:
    """Asks a model behind a server, greedily, several questions at a time.

    url: up to and without `/chat/completions`. model: the name that the server knows. sampling: how clips are
    sampled where nobody says otherwise. form: `images` or `video`, see `clip_parts`. concurrency: most
    requests at a time; per_minute: most in a minute. seconds: what one attempt may take. attempts: how often
    a question is asked in all; pause: seconds before the second attempt, doubled for each further one up to
    LONGEST_PAUSE. key_variable: the environment variable with the server's key; "" sends none. Raises
    ValueError for values out of range.
    """

    url: str
    model: str
    sampling: Sampling = DEFAULT
    form: str = "images"
    concurrency: int = 8
    per_minute: float | None = None
    seconds: float = 300.0
    attempts: int = 8
    pause: float = 1.0
    key_variable: str = ""

    def __post_init__(self) -> None:
        check_url(self.url)
        read_key(self.key_variable, "server")
        if self.form not in FORMS:
            raise ValueError(f"clips are sent as one of {', '.join(FORMS)}, got {self.form!r}")
        if not (self.concurrency >= 1 and self.attempts >= 1 and self.seconds > 0 and self.pause >= 0):
            raise ValueError(
                "a server needs concurrency and attempts of at least 1, seconds above 0, pause not below 0, "
                f"got {self.concurrency}, {self.attempts}, {self.seconds} and {self.pause}"
            )
        if self.per_minute is not None and not self.per_minute > 0:
            raise ValueError(f"per_minute must be above 0, got {self.per_minute}")

    @property
    def name(self) -> str:
        """The model's name on the server."""
        return self.model

    @property
    def address(self) -> str:
        """What is posted to."""
        return f"{self.url.rstrip('/')}/chat/completions"

    def replies(
        self, batches: Iterable[Sequence[Request]], max_new_tokens: int
    ) -> Iterator[tuple[Request, Reply]]:
        """Replies as they arrive. Where the server stays broken, those that arrived are given first, then
        ValueError is raised; the same for a status that concerns all questions (401, 404).
        """
        stop = threading.Event()
        asking = _Asking(self, max_new_tokens, Pace(self.per_minute, stop), stop)
        failure: ValueError | None = None
        waiting: dict[Future[Reply], Request] = {}
        with ThreadPoolExecutor(self.concurrency) as pool:
            try:
                for request, parts in self._with_clips(batches):
                    waiting[pool.submit(asking.reply, request, parts)] = request
                    if len(waiting) >= self.concurrency:
                        failure = yield from _arrived(waiting)
                    if failure is not None:
                        stop.set()
                        break
                while waiting:
                    later = yield from _arrived(waiting)
                    if failure is None and later is not None:
                        failure = later
                        stop.set()
            finally:
                stop.set()
                pool.shutdown(cancel_futures=True)
        if failure is not None:
            raise failure

    def _with_clips(self, batches: Iterable[Sequence[Request]]) -> Iterator[tuple[Request, Parts]]:
        """Requests with their clip as parts of a message, made once for questions that follow each other."""
        last: Shown | Images | None = None
        parts: Parts = []
        for batch in batches:
            for request in batch:
                if request.shown is not last:
                    last = request.shown
                    parts = [] if last is None else clip_parts(last, self.form)
                yield request, parts


@dataclass(frozen=True)
class _Asking:
    """One run's requests."""

    server: Server
    max_new_tokens: int
    pace: Pace
    stop: threading.Event

    def reply(self, request: Request, parts: Parts) -> Reply:
        """Ask until there is a reply. Raises ValueError where there is none to be had."""
        server = self.server
        key = read_key(server.key_variable, "server")
        body = json.dumps(
            {
                "model": server.model,
                "messages": [message(parts, request.text)],
                "temperature": 0,
                "max_tokens": self.max_new_tokens,
            }
        ).encode()
        reason = ""
        for attempt in range(server.attempts):
            self.pace.wait()
            if self.stop.is_set():
                raise ValueError("stopped, because another question could not be asked")
            began, pause = time.monotonic(), 0.0
            try:
                response = post(server.address, body, key, server.seconds, MAX_BODY)
                pause = retry_after(response.headers.get("retry-after"), datetime.now(UTC))
                return _read(response, time.monotonic() - began)
            except Again as again:
                reason = str(again)
            if pause > LONGEST_PAUSE:
                raise ValueError(f"{server.url}: {reason}; it asks for a pause of {pause:.0f} s")
            self.pace.hold(pause)
            if attempt + 1 < server.attempts:
                self.pace.rest(max(pause, min(LONGEST_PAUSE, server.pause * 2**attempt)))
        raise ValueError(f"{server.url} failed {server.attempts} times, last: {reason}")


def _arrived(
    waiting: dict[Future[Reply], Request],
) -> Generator[tuple[Request, Reply], None, ValueError | None]:
    """Wait until something arrives and give what has; returns the first failure among it."""
    done, _ = wait(waiting, return_when=FIRST_COMPLETED)
    failure: ValueError | None = None
    for future in done:
        request = waiting.pop(future)
        try:
            yield request, future.result()
        except ValueError as error:
            failure = failure or error
    return failure


def _read(response: Response, seconds: float) -> Reply:
    """The reply in a response, which is taken for hostile. Raises Again where another attempt may do better,
    ValueError where all others would end the same.
    """
    status, body = response.status, response.body
    if status in _REFUSED:
        told = body[:300].decode("utf-8", "replace")
        return Reply(None, None, False, seconds, f"the server refuses with status {status}: {told}")
    if status in _BUSY or status >= 500:
        raise Again(f"status {status}")
    if status != 200:
        raise ValueError(f"the server answers with status {status}: {body[:300].decode('utf-8', 'replace')}")
    if len(body) > MAX_BODY:
        raise Again(f"a response longer than {MAX_BODY} bytes")
    try:
        content = json.loads(body)
        choice = content["choices"][0]
        text = choice["message"]["content"]
        ended = choice.get("finish_reason") == "stop"
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError) as error:
        raise Again("a response that is no chat completion") from error
    if not isinstance(text, str | None):
        raise Again("a response that is no chat completion")
    usage = content.get("usage")
    tokens = usage.get("completion_tokens") if isinstance(usage, dict) else None
    text = (text or "").encode("utf-8", "replace").decode()  # JSON may escape half a character
    return Reply(text, tokens if type(tokens) is int else None, ended, seconds)
