"""Damage real video files in a thousand ways and read what is left.

    python checks/fuzz_video.py FILE … [--count 1000] [--seed 0] [--json FILE]

Each damaged file is a pure function of seed and number. It is read as training reads it with `data.isolate`:
four frames, in a worker process with limits of 1 GiB and 20 s of processor time. Prints per file what came of
its copies: frames, a named error, a decoder that crashed or ran into a limit (which is a named error too).
Any other exception ends the check with its traceback; the damaged copy is then left as `fuzzed*` beside the
working folder's other files.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from collections import Counter
from pathlib import Path

from tolman.video.errors import ClipError
from tolman.video.isolation import IsolatedReader

FIELDS = (b"moov", b"mvhd", b"tkhd", b"mdhd", b"elst", b"stsd", b"avcC", b"stts", b"ctts", b"stss", b"stsc",
          b"stsz", b"stco", b"avih", b"strh", b"strf", b"idx1", b"movi")  # fmt: skip
EXTREMES = (0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFFFF)
KINDS = ("bytes", "field", "header", "zeros", "cut", "splice", "double")


def damaged(data: bytes, rng: random.Random) -> tuple[str, bytes]:
    """The kind of damage and a damaged copy of a video file."""
    kind = rng.choice(KINDS)
    copy = bytearray(data)
    at, length = rng.randrange(len(copy)), rng.randrange(1, 20_000)
    if kind == "bytes":
        for _ in range(rng.choice((1, 10, 200))):
            copy[rng.randrange(len(copy))] = rng.randrange(256)
    elif kind == "field":  # a number behind a box's or chunk's name becomes an extreme one
        for name in rng.sample([name for name in FIELDS if name in data] or [data[:4]], 1):
            place = data.index(name) + 4 + 4 * rng.randrange(12)
            copy[place : place + 4] = rng.choice(EXTREMES).to_bytes(4, "big")
    elif kind == "header":
        start = max(data.find(b"moov"), 0)
        for _ in range(rng.choice((1, 5, 40))):
            copy[min(len(copy) - 1, start + rng.randrange(3000))] = rng.randrange(256)
    elif kind == "zeros":
        copy[at : at + length] = bytes(len(copy[at : at + length]))
    elif kind == "cut":
        del copy[at:]
    elif kind == "splice":
        del copy[at : at + length]
    else:
        copy[at:at] = copy[at : at + length]
    return kind, bytes(copy)


def outcome(reader: IsolatedReader, path: Path) -> str:
    """What reading gives: `frames`, `error`, `crash` or `limit`."""
    try:
        clip = reader.read(path, frames=4)
    except ClipError as error:
        if "decoder ended" in error.reason:
            return "crash"
        limits = ("processor time", "no answer within", "of memory", "allocate memory")
        return "limit" if any(words in error.reason for words in limits) else "error"
    assert len(clip.rgb_THWC) == len(clip.times_T) > 0
    assert (clip.times_T >= 0).all()
    return "frames"


def main() -> None:
    """Damage, read, count."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    contents = {path.name: path.read_bytes() for path in arguments.files}
    counts: dict[str, Counter[str]] = {name: Counter() for name in contents}
    slowest, reader = 0.0, IsolatedReader(memory_mb=1024, seconds=20)
    with tempfile.TemporaryDirectory() as folder:
        for number in range(arguments.count):
            name = list(contents)[number % len(contents)]
            _, data = damaged(contents[name], random.Random(f"{arguments.seed} {number}"))
            path = Path(folder) / f"fuzzed{Path(name).suffix}"
            path.write_bytes(data)
            began = time.perf_counter()
            try:
                counts[name][outcome(reader, path)] += 1
            except BaseException:
                Path(f"fuzzed-{number}{path.suffix}").write_bytes(data)
                raise
            slowest = max(slowest, time.perf_counter() - began)
            if (number + 1) % 100 == 0:
                print(f"{number + 1}: {dict(sum(counts.values(), Counter()))}", flush=True)
    print("| file | frames | error | limit | crash |\n| --- | ---: | ---: | ---: | ---: |")
    for name, found in counts.items():
        print(f"| {name} | {found['frames']} | {found['error']} | {found['limit']} | {found['crash']} |")
    print(f"slowest read: {slowest:.1f} s on the clock")
    if arguments.json:
        arguments.json.write_text(json.dumps(counts, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
