"""Reading frames of a clip, against decoding all of them and picking.

    python perf/video.py [FILE …] [--json FILE]

Without files, a two-minute 720p clip is made in a temporary folder. Prints seconds on the clock and of the
processor, and the ratio of each (above 1: faster than the naive way); the two ways take turns in one
process and the fastest round of each is shown. Their frames are compared, and must be equal.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from tolman.video.clip import read_clip
from tolman.video.sample import uniform_indices


def naive(path: Path, frames: int) -> np.ndarray:
    """Count, then decode every frame and keep the chosen ones."""
    with av.open(str(path)) as container:
        total = sum(1 for packet in container.demux(video=0) if packet.size)
    chosen = set(uniform_indices(total, frames).tolist())
    with av.open(str(path)) as container:
        container.streams.video[0].thread_type = "AUTO"
        decoded = enumerate(container.decode(video=0))
        return np.stack([frame.to_ndarray(format="rgb24") for k, frame in decoded if k in chosen])


def make_clip(path: Path, seconds: int = 120, rate: int = 30) -> None:
    """A 720p H.264 clip of a slowly panning texture with B-frames and a key frame every 250 frames."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (60, 160, 3), dtype=np.uint8)
    wall = np.kron(coarse, np.ones((12, 12, 1), dtype=np.uint8))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate)
        stream.height, stream.width, stream.pix_fmt = 720, 1280, "yuv420p"
        stream.options = {"preset": "veryfast", "crf": "28"}
        stream.codec_context.time_base = Fraction(1, rate)
        for k in range(seconds * rate):
            shift = int(300 + 300 * np.sin(k / 400))
            frame = av.VideoFrame.from_ndarray(
                np.ascontiguousarray(wall[:, shift : shift + 1280]), format="rgb24"
            )
            frame.pts = k
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def fastest(ways: dict[str, Callable[[], np.ndarray]], rounds: int) -> tuple[dict[str, np.ndarray], bool]:
    """(clock, processor) seconds of each way's fastest round, and whether their results are equal."""
    best = {name: np.full(2, np.inf) for name in ways}
    results: dict[str, np.ndarray] = {}
    for _ in range(rounds):
        for name, way in ways.items():
            start = np.array([time.perf_counter(), time.process_time()])
            results[name] = way()
            taken = np.array([time.perf_counter(), time.process_time()]) - start
            best[name] = np.minimum(best[name], taken)
    first, *others = results.values()
    return best, all(np.array_equal(first, other) for other in others)


def measure(path: Path, frames: int, rounds: int) -> dict[str, object]:
    """One row of the table."""
    ways = {
        "tolman": lambda: read_clip(path, frames=frames).rgb_THWC,
        "naive": lambda: naive(path, frames),
    }
    best, equal = fastest(ways, rounds)
    if not equal:
        raise SystemExit(f"{path.name}: the two ways disagree")
    row: dict[str, object] = {"clip": path.name, "frames": frames}
    for k, kind in enumerate(("clock", "cpu")):
        row |= {f"{name}_{kind}_s": round(float(seconds[k]), 4) for name, seconds in best.items()}
        row[f"{kind}_ratio"] = round(float(best["naive"][k] / best["tolman"][k]), 2)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("files", nargs="*", type=Path, help="clips; none: one is made")
    parser.add_argument("--rounds", type=int, default=3, help="rounds, of which the fastest counts")
    parser.add_argument("--seconds", type=int, default=120, help="length of the clip that is made")
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        files = arguments.files
        if not files:
            files = [Path(folder) / "made_720p.mp4"]
            make_clip(files[0], arguments.seconds)
        for path in files:
            for frames in (16, 32):
                rows.append(measure(path, frames, arguments.rounds))
                print("  ".join(f"{name} {value}" for name, value in rows[-1].items()), flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
