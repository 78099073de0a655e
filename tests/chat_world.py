"""A real HTTP server on loopback that speaks OpenAI's chat API and misbehaves on demand."""

from __future__ import annotations

import base64
import io
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import av
import numpy as np
import numpy.typing as npt

from tolman.bench.backends.backend import Request
from tolman.bench.backends.in_process import InProcess
from tolman.bench.frames import Shown
from tolman.policy.policy import Policy

Answer = Callable[[dict[str, Any]], str]


def frames_of(body: dict[str, Any]) -> npt.NDArray[np.uint8] | None:
    """(T, H, W, 3) frames of a request's images or of its video, as ffmpeg decodes them."""
    found = []
    for part in body["messages"][0]["content"]:
        if part["type"] == "text":
            continue
        media, _, content = part[part["type"]]["url"].partition(";base64,")
        assert media == {"image_url": "data:image/jpeg", "video_url": "data:video/mp4"}[part["type"]]
        with av.open(io.BytesIO(base64.b64decode(content))) as container:
            found += [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return np.stack(found) if found else None


def words_of(body: dict[str, Any]) -> str:
    """The text of a request, which comes after the clip."""
    part = body["messages"][0]["content"][-1]
    assert part["type"] == "text"
    return str(part["text"])


def served(policy: Policy, seconds_apart: float) -> Answer:
    """Answers of a policy of ours, which is told nothing of when its frames were taken."""
    backend, lock = InProcess(policy), threading.Lock()

    def answer(body: dict[str, Any]) -> str:
        rgb = frames_of(body)
        times = np.arange(0 if rgb is None else len(rgb)) * seconds_apart
        shown = None if rgb is None else Shown("", rgb, times, times)
        with lock:
            ((_, reply),) = backend.replies([[Request(0, words_of(body), shown)]], body["max_tokens"])
        assert reply.text is not None
        return reply.text

    return answer


class World:
    """answer: what a healthy server says. faults: what the next requests get in its place, one each. got: the
    bodies of all requests. at_once: the most requests that were open at a time.
    """

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.faults: list[Any] = []
        self.got: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.open = self.at_once = 0
        self.lock = threading.Lock()
        self.closing = threading.Event()
        self.port = 0
        self._server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def start(self) -> None:
        """Listen, on the same port as before where there was one."""
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), _handler(self))
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def die(self) -> None:
        """Listen no more."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None


@contextmanager
def serving(answer: Answer) -> Iterator[World]:
    """A world whose server listens."""
    world = World(answer)
    world.start()
    try:
        yield world
    finally:
        world.closing.set()
        world.die()


def completion(text: str | None, **more: Any) -> bytes:
    """The body of a response."""
    choice = {"message": {"role": "assistant", "content": text}, "finish_reason": "stop"} | more
    return json.dumps({"choices": [choice], "usage": {"completion_tokens": 2}}).encode()


def _handler(world: World) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/chat/completions"
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with world.lock:
                world.got.append(body)
                world.keys.append(self.headers.get("Authorization"))
                world.open += 1
                world.at_once = max(world.at_once, world.open)
                fault = world.faults.pop(0) if world.faults else None
            try:
                self.respond(fault, body)
            finally:
                with world.lock:
                    world.open -= 1

        def respond(self, fault: Any, body: dict[str, Any]) -> None:
            if fault == "drop":
                self.close_connection = True
                return
            if isinstance(fault, bytes):
                self.send(200, fault)
            elif isinstance(fault, tuple):
                status, headers = fault
                self.send(status, b"busy", headers)
            elif fault in ("half", "slow"):
                self.send_response(200)
                self.send_header("Content-Length", "1000")
                self.end_headers()
                self.wfile.write(b'{"choices": ')
                while fault == "slow" and not world.closing.wait(0.05):
                    try:
                        self.wfile.write(b" ")
                    except OSError:
                        return
            else:
                self.send(200, completion(world.answer(body)))

        def send(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in ({"Content-Length": str(len(content))} | (headers or {})).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    return Handler
