"""When the next request may go out: a rate limit that all threads share, and pauses a server asks for."""

from __future__ import annotations

import email.utils
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime


class Pace:
    """per_minute: most requests a minute, evenly spaced; None is no limit. clock: seconds, never descending.

    stop: once it is set nobody waits any more.
    """

    def __init__(
        self, per_minute: float | None, stop: threading.Event, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._spacing = 60 / per_minute if per_minute else 0.0
        self._stop, self._clock = stop, clock
        self._next = clock()
        self._lock = threading.Lock()

    def slot(self) -> float:
        """Seconds until the caller's turn, which is then taken."""
        with self._lock:
            now = self._clock()
            turn = max(now, self._next)
            self._next = turn + self._spacing
            return turn - now

    def wait(self) -> None:
        """Until it is the caller's turn."""
        self.rest(self.slot())

    def hold(self, seconds: float) -> None:
        """Let nobody's turn come before so many seconds have passed."""
        with self._lock:
            self._next = max(self._next, self._clock() + seconds)

    def rest(self, seconds: float) -> None:
        """Wait, or less where everything stops."""
        if seconds > 0:
            self._stop.wait(seconds)


def retry_after(value: str | None, now: datetime) -> float:
    """Seconds that a `Retry-After` header asks for (RFC 9110, 10.2.3: a number or a date); 0 without one, in
    the past, or where it cannot be read.
    """
    if value is None:
        return 0.0
    if value.strip().isdecimal():
        return float(value)
    try:
        then = email.utils.parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return 0.0
    return max(0.0, (then.replace(tzinfo=then.tzinfo or UTC) - now).total_seconds())
