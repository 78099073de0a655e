"""A judge behind an OpenAI-compatible server (`/chat/completions`): vLLM, llama.cpp, a provider."""

from __future__ import annotations

import http.client
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from tolman.reward.judge import MAX_REPLY, Reply

MAX_BODY = 1_000_000  # bytes of a response; a reply of MAX_REPLY characters with its escapes is less


class _Again(Exception):
    """A failure that asking again may mend."""


@dataclass(frozen=True)
class ServerJudge:
    """Asks a chat model over HTTP; one prompt is one user's turn.

    url: up to and without `/chat/completions`, e.g. `http://localhost:8000/v1`. model: the name that the
    server knows. temperature, max_tokens: of the reply. seconds: what one attempt may take once connected,
    however slowly the server sends, and connecting before that. attempts: how often in all, for a server
    that is busy (429, 5xx), late or gone; other errors are final. wait: seconds before the second attempt,
    doubled for each further one. key_variable: the environment variable that holds the server's key; ""
    sends none. sleep: what waits. Redirects are not followed and at most MAX_BODY bytes are read. Raises
    ValueError for another kind of URL, for numbers out of range and for a key that is not set.
    """

    url: str
    model: str
    temperature: float = 0.0
    max_tokens: int = 256
    seconds: float = 10.0
    attempts: int = 3
    wait: float = 1.0
    key_variable: str = ""
    sleep: Callable[[float], None] = time.sleep

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        plain = (
            self.url.isascii()
            and parts.scheme in ("http", "https")
            and parts.hostname
            and not (parts.query or parts.username)
        )
        if not plain or parts.port == 0:
            raise ValueError(f"url must be http[s]://host[:port]/path and no more, got {self.url!r}")
        if not (self.seconds > 0 and self.attempts >= 1 and self.wait >= 0 and self.max_tokens >= 1):
            raise ValueError(
                "a judge needs seconds above 0, attempts and max_tokens of at least 1 and wait not below 0, "
                f"got {self.seconds}, {self.attempts}, {self.max_tokens} and {self.wait}"
            )
        key = os.environ.get(self.key_variable, "") if self.key_variable else "none"
        if not (key and key.isascii() and key.isprintable()):
            raise ValueError(f"the environment variable {self.key_variable} holds no key for the judge")

    @property
    def name(self) -> str:
        """Model and settings: what a cache tells replies apart by."""
        return f"{self.model} at {self.url}, T={self.temperature:g}, {self.max_tokens} tokens"

    def __call__(self, prompt: str) -> Reply:
        """The model's reply to a prompt."""
        reason = ""
        for attempt in range(self.attempts):
            if attempt:
                self.sleep(self.wait * 2 ** (attempt - 1))
            try:
                return _reply(*self._ask(prompt))
            except _Again as failure:
                reason = str(failure)
        return Reply(None, f"the judge failed {self.attempts} times, last: {reason}")

    def _ask(self, prompt: str) -> tuple[int, bytes]:
        """Status and body of one attempt. Raises _Again where another one may do better."""
        message = {"role": "user", "content": prompt}
        request = {"model": self.model, "messages": [message], "temperature": self.temperature}
        body = json.dumps(request | {"max_tokens": self.max_tokens}).encode()
        headers = {"Content-Type": "application/json", "Connection": "close"}
        if self.key_variable:
            headers["Authorization"] = f"Bearer {os.environ[self.key_variable]}"
        parts = urlsplit(self.url)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        connection = kind(parts.hostname or "", parts.port, timeout=self.seconds)
        try:
            connection.connect()
            with _deadline(connection.sock, self.seconds):
                connection.request("POST", f"{parts.path.rstrip('/')}/chat/completions", body, headers)
                response = connection.getresponse()
                status, content = response.status, response.read(MAX_BODY + 1)
        except (OSError, http.client.HTTPException) as error:
            raise _Again(f"{type(error).__name__}: {str(error)[:200]}") from error
        finally:
            connection.close()
        if status == 429 or status >= 500:
            raise _Again(f"status {status}")
        return status, content


@contextmanager
def _deadline(line: socket.socket, seconds: float) -> Iterator[None]:
    """Hang up after so many seconds: the limit of a socket is one per read, and a slow server has many."""
    late = threading.Event()

    def hang_up() -> None:
        late.set()
        try:
            line.shutdown(socket.SHUT_RDWR)
        except OSError:  # closed in the meantime
            return

    timer = threading.Timer(seconds, hang_up)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
    if late.is_set():  # what was read may be cut short
        raise _Again(f"no whole response within {seconds:g} s")


def _reply(status: int, body: bytes) -> Reply:
    """The reply in a response's body, which is taken for hostile."""
    if status != 200:
        return Reply(None, f"the judge answers with status {status}")
    if len(body) > MAX_BODY:
        return Reply(None, f"the judge's response is longer than {MAX_BODY} bytes")
    try:
        text = json.loads(body)["choices"][0]["message"]["content"]
    except (ValueError, RecursionError, LookupError, TypeError):
        return Reply(None, "the judge's response is no chat completion")
    if not isinstance(text, str) or not text.strip():
        return Reply(None, "the judge's reply is empty")
    if len(text) > MAX_REPLY:
        return Reply(None, f"the judge's reply is longer than {MAX_REPLY} characters")
    return Reply(text, "")
