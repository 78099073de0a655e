"""One POST to an OpenAI-compatible server, within a deadline; whoever asks decides about asking again."""

from __future__ import annotations

import http.client
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple
from urllib.parse import urlsplit


class Again(Exception):
    """A failure that asking again may mend."""


class Response(NamedTuple):
    """headers: names in lower case. body: at most one byte more than was allowed."""

    status: int
    headers: dict[str, str]
    body: bytes


def check_url(url: str) -> None:
    """Raises ValueError for anything else than `http[s]://host[:port]/path`."""
    parts = urlsplit(url)
    plain = url.isascii() and parts.scheme in ("http", "https") and parts.hostname
    if not plain or parts.query or parts.fragment or parts.username or parts.port == 0:
        raise ValueError(f"url must be http[s]://host[:port]/path and no more, got {url!r}")


def read_key(variable: str, who: str) -> str:
    """The server's key in an environment variable; "" where none is named.

    Raises ValueError where the variable holds none that a header can carry.
    """
    key = os.environ.get(variable, "") if variable else "none"
    if not (key and key.isascii() and key.isprintable()):
        raise ValueError(f"the environment variable {variable} holds no key for the {who}")
    return key if variable else ""


def post(url: str, body: bytes, key: str, seconds: float, most: int) -> Response:
    """Send JSON to `url` and read at most `most` bytes (and one more) of what comes back.

    seconds: what the exchange may take once connected, however slowly the server sends, and connecting before
    that. key: sent as a bearer token where there is one. Redirects are not followed. Raises Again where the
    server is late, gone or speaks no HTTP.
    """
    headers = {"Content-Type": "application/json", "Connection": "close"}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=seconds)
    try:
        connection.connect()
        with _deadline(connection.sock, seconds):
            connection.request("POST", parts.path, body, headers)
            response = connection.getresponse()
            content = response.read(most + 1)
            headers = {name.lower(): value for name, value in response.getheaders()}
            return Response(response.status, headers, content)
    except (OSError, http.client.HTTPException) as error:
        raise Again(f"{type(error).__name__}: {str(error)[:200]}") from error
    finally:
        connection.close()


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
    except (OSError, http.client.HTTPException):
        if not late.is_set():
            raise
    finally:
        timer.cancel()
    if late.is_set():  # what was read may be cut short
        raise Again(f"no whole response within {seconds:g} s")
