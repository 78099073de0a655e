"""The process that decodes clips for `tolman.video.isolation`: `python -m tolman.video.worker MIB SECONDS`.

Requests come as JSON lines on standard input. Answers go to standard output, each a header of JSON behind its
length in four bytes, and the raw bytes that the header announces. Nothing is pickled, so that a decoder taken
over by a file can at most send wrong pixels.
"""

from __future__ import annotations

import json
import math
import os
import resource
import struct
import sys
import time
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from tolman.video.clip import decode
from tolman.video.errors import ClipError


class _Sender:
    """A receiver of frames that sends them on."""

    def __init__(self, stream: BinaryIO) -> None:
        self.stream = stream

    def begin(self, times_T: npt.NDArray[np.float64]) -> None:
        """Send the times."""
        self.send({"times": len(times_T)}, times_T)

    def put(self, place: int, rgb_HWC: npt.NDArray[np.uint8]) -> None:
        """Send a frame."""
        self.send({"place": place, "height": rgb_HWC.shape[0], "width": rgb_HWC.shape[1]}, rgb_HWC)

    def send(self, header: dict[str, Any], values: npt.NDArray[Any] | None = None) -> None:
        """Send a header and the bytes of an array."""
        text = json.dumps(header).encode()
        self.stream.write(struct.pack(">I", len(text)) + text)
        if values is not None:
            self.stream.write(np.ascontiguousarray(values).data)
        self.stream.flush()


def main(mebibytes: int, seconds: int) -> None:
    """Answer requests until standard input ends. mebibytes: address space of the process. seconds: processor
    time of one request; the kernel ends the process after it."""
    sender = _Sender(os.fdopen(os.dup(1), "wb"))
    os.dup2(2, 1)  # what a library prints must not stand between the answers
    _limit(resource.RLIMIT_AS, mebibytes << 20)
    _limit(resource.RLIMIT_FSIZE, 0)
    _limit(resource.RLIMIT_CORE, 0)
    sender.send({"ready": True})
    for line in sys.stdin.buffer:
        _limit(resource.RLIMIT_CPU, math.ceil(time.process_time()) + seconds)
        request = json.loads(line)
        try:
            wanted = request["frames"], request["fps"], request["rule"]
            decode(Path(request["path"]), *wanted, sender, request["span"])
        except ClipError as error:
            sender.send({"error": error.reason[:1000]})
        except MemoryError:
            sender.send({"error": f"needs more than {mebibytes} MiB of memory to decode"})
        else:
            sender.send({"done": True})


def _limit(kind: int, value: int) -> None:
    """Set the soft limit, never above what the system allows."""
    _, most = resource.getrlimit(kind)
    resource.setrlimit(kind, (value if most == resource.RLIM_INFINITY else min(value, most), most))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
