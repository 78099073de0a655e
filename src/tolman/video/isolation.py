"""Decode clips in a process of their own: no file can crash, hang or fill the process that wants its frames.

Decoders are large programs in C that read whatever a file says. A worker process decodes for the caller,
within limits on memory and processor time that the kernel enforces. Where it dies, the clip gets a ClipError
and the next clip a new worker. POSIX only.
"""

from __future__ import annotations

import json
import os
import select
import signal
import struct
import subprocess
import sys
import time
import weakref
from pathlib import Path
from typing import Any

import numpy as np

import tolman
from tolman.video.clip import Clip, Gathered, Size, Span, check_arguments
from tolman.video.errors import ClipError
from tolman.video.table import MAX_FRAMES, MAX_PIXELS

_START_SECONDS = 300.0
_END_SECONDS = 30.0
_HEADER_BYTES = 1 << 14
_KEPT = ("PATH", "LD_LIBRARY_PATH", "PYTHONHOME", "LANG", "LC_ALL")


class _Lost(Exception):
    """The worker ended, or said what no worker says."""


class IsolatedReader:
    """`read_clip` in a worker process, which starts with the first clip and is kept for the next ones.

    memory_mb: MiB of address space of the worker. seconds: whole seconds of processor time that a clip may
    take, however busy the machine is. wall_seconds: what it may take on the clock, for a decoder that waits
    for ever. The worker may not write files and sees none of the environment's secrets. Not for several
    threads at once. Raises ValueError for limits that are not positive.
    """

    def __init__(self, memory_mb: int = 2048, seconds: int = 60, wall_seconds: float = 900.0) -> None:
        if min(memory_mb, seconds, wall_seconds) <= 0:
            raise ValueError(f"limits must be positive, got {memory_mb} MiB, {seconds} s, {wall_seconds} s")
        self.memory_mb, self.seconds, self.wall_seconds = memory_mb, seconds, wall_seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._end: weakref.finalize[Any, Any] | None = None
        self._deadline = 0.0

    def read(
        self,
        path: str | Path,
        frames: int | None = None,
        fps: float | None = None,
        size: Size | None = None,
        rule: str = "uniform",
        span: Span | None = None,
    ) -> Clip:
        """The same clip as `read_clip` gives, and the same errors.

        Raises ClipError also where the decoder crashes or exceeds a limit, RuntimeError where no worker can
        be started.
        """
        path = Path(path)
        check_arguments(frames, fps, size, rule, span)
        process = self._running()
        self._deadline = time.monotonic() + self.wall_seconds
        request = {"path": str(path.absolute()), "frames": frames, "fps": fps, "rule": rule, "span": span}
        try:
            clip = self._ask(process, request, Gathered(path, size))
        except _Lost as loss:
            raise ClipError(path, f"cannot be decoded: {self._autopsy(process, str(loss))}") from loss
        except BaseException:
            self.close()  # what it still sends belongs to no clip
            raise
        if isinstance(clip, str):
            raise ClipError(path, clip)
        return clip

    def close(self) -> None:
        """End the worker; the next clip starts another."""
        if self._end is not None:
            self._end()
        self._process = self._end = None

    def _running(self) -> subprocess.Popen[bytes]:
        """The worker, started where there is none (any more)."""
        if self._process is not None and self._process.poll() is None:
            return self._process
        self.close()
        kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
        places = [str(Path(tolman.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
        kept |= {"PYTHONPATH": os.pathsep.join(filter(None, places))}
        kept |= {"OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}  # both cost address space per core
        limits = [str(self.memory_mb), str(self.seconds)]
        process = subprocess.Popen(
            [sys.executable, "-P", "-B", "-m", "tolman.video.worker", *limits],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=kept,
            start_new_session=True,  # an interrupt from the keyboard is the caller's
        )  # fmt: skip
        self._process, self._end = process, weakref.finalize(self, _end, process)
        self._deadline = time.monotonic() + _START_SECONDS
        try:
            self._header(process)
        except _Lost as loss:
            reason = self._autopsy(process, str(loss))
            raise RuntimeError(f"no process for decoding clips can be started: {reason}") from loss
        return process

    def _ask(
        self, process: subprocess.Popen[bytes], request: dict[str, Any], gathered: Gathered
    ) -> Clip | str:
        """The clip, or why it cannot be read. Raises _Lost."""
        assert process.stdin is not None
        try:
            process.stdin.write(json.dumps(request).encode() + b"\n")
            process.stdin.flush()
        except BrokenPipeError as error:
            raise _Lost from error
        count, places = 0, set[int]()
        while True:
            header = self._header(process)
            match header:
                case {"times": int(count)} if 0 < count <= MAX_FRAMES and not places:
                    gathered.begin(np.frombuffer(self._bytes(process, 8 * count), dtype=np.float64))
                case {"place": int(place), "height": int(height), "width": int(width)} if (
                    0 <= place < count and height > 0 and width > 0 and height * width <= MAX_PIXELS
                ):
                    pixels = np.frombuffer(self._bytes(process, 3 * height * width), dtype=np.uint8)
                    gathered.put(place, pixels.reshape(height, width, 3))
                    places.add(place)
                case {"error": str(reason)}:
                    return reason
                case {"done": True} if count and len(places) == count:
                    return gathered.clip()
                case _:
                    raise _Lost("gave an answer that makes no sense")

    def _header(self, process: subprocess.Popen[bytes]) -> Any:
        """The next header. Raises _Lost."""
        (length,) = struct.unpack(">I", self._bytes(process, 4))
        if length > _HEADER_BYTES:
            raise _Lost("gave an answer that makes no sense")
        try:
            return json.loads(self._bytes(process, length))
        except (ValueError, RecursionError) as error:
            raise _Lost("gave an answer that makes no sense") from error

    def _bytes(self, process: subprocess.Popen[bytes], count: int) -> bytearray:
        """Exactly so many bytes. Raises _Lost where they do not come in time."""
        assert process.stdout is not None
        line = process.stdout.fileno()
        ready = select.poll()
        ready.register(line, select.POLLIN)
        content = bytearray(count)
        view, at = memoryview(content), 0
        while at < count:
            left = self._deadline - time.monotonic()
            if left <= 0 or not ready.poll(left * 1000):
                raise _Lost(f"gave no answer within {self.wall_seconds:g} s")
            got = os.readv(line, [view[at:]])
            if not got:
                raise _Lost
            at += got
        return content

    def _autopsy(self, process: subprocess.Popen[bytes], said: str) -> str:
        """End a worker that was lost; returns what happened to it."""
        try:
            status = process.wait(_END_SECONDS if not said else 0)
        except subprocess.TimeoutExpired:
            status = None
        self.close()
        if said or status is None:
            return f"the decoder {said or 'hung up'}"
        if status == -signal.SIGXCPU:
            return f"the decoder took more than {self.seconds} s of processor time"
        return f"the decoder ended with {signal.Signals(-status).name if status < 0 else f'status {status}'}"


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill a worker and let go of its pipes."""
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            try:
                pipe.close()
            except BrokenPipeError:  # a request it never read
                continue
