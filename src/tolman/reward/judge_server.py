"""A judge behind an OpenAI-compatible server (`/chat/completions`): vLLM, llama.cpp, a provider."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass

from tolman.reward.chat_server import Again, check_url, post, read_key
from tolman.reward.judge import MAX_REPLY, Reply

MAX_BODY = 1_000_000  # bytes of a response; a reply of MAX_REPLY characters with its escapes is less


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
        check_url(self.url)
        if not (self.seconds > 0 and self.attempts >= 1 and self.wait >= 0 and self.max_tokens >= 1):
            raise ValueError(
                "a judge needs seconds above 0, attempts and max_tokens of at least 1 and wait not below 0, "
                f"got {self.seconds}, {self.attempts}, {self.max_tokens} and {self.wait}"
            )
        read_key(self.key_variable, "judge")

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
            except Again as failure:
                reason = str(failure)
        return Reply(None, f"the judge failed {self.attempts} times, last: {reason}")

    def _ask(self, prompt: str) -> tuple[int, bytes]:
        """Status and body of one attempt. Raises Again where another one may do better."""
        message = {"role": "user", "content": prompt}
        request = {"model": self.model, "messages": [message], "temperature": self.temperature}
        body = json.dumps(request | {"max_tokens": self.max_tokens}).encode()
        key = read_key(self.key_variable, "judge")
        address = f"{self.url.rstrip('/')}/chat/completions"
        response = post(address, body, key, self.seconds, MAX_BODY)
        if response.status == 429 or response.status >= 500:
            raise Again(f"status {response.status}")
        return response.status, response.body


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
