"""Options that say who answers and what it is shown."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from tolman.cli.shared import frame_size, positive, quiet_loading

if TYPE_CHECKING:
    from tolman.bench.backends.backend import Backend
    from tolman.bench.backends.in_process import InProcess
    from tolman.bench.benchmark import Benchmark
    from tolman.bench.frames import Sampling
    from tolman.bench.workers import Team, Workers

STARTER = "starter"
_SERVED = {
    "send": "form",
    "concurrency": "concurrency",
    "rate": "per_minute",
    "timeout": "seconds",
    "attempts": "attempts",
    "key_variable": "key_variable",
}
"""Options of a server, and the fields they are."""


def add_backend(parser: argparse.ArgumentParser) -> None:
    """Options of the model and where it runs."""
    parser.add_argument(
        "--model",
        help=f"{STARTER}, or a folder or name of a model; with --server, its name there (default: {STARTER})",
    )
    where = parser.add_argument_group("where the model runs (default: in this process)")
    where.add_argument("--device", help="in this process: cpu, cuda, … (default: cpu)")
    where.add_argument(
        "--ray",
        metavar="ADDRESS",
        help="in workers on the nodes of this Ray cluster (auto, HOST:PORT), --workers of them (default: one "
        "for each node, with --device cuda for each GPU)",
    )
    other = where.add_mutually_exclusive_group()
    other.add_argument("--vllm", action="store_true", help="in vLLM's offline engine (install it first)")
    other.add_argument(
        "--server", metavar="URL", help="behind an OpenAI-compatible server, as http://localhost:8000/v1"
    )
    served = parser.add_argument_group("to a server")
    served.add_argument("--send", help="clips as images, or as video (default: images)")
    served.add_argument("--concurrency", type=positive, help="requests at a time (default: 8)")
    served.add_argument("--rate", type=float, metavar="N", help="most requests a minute (default: no limit)")
    served.add_argument("--timeout", type=float, metavar="S", help="seconds for one request (default: 300)")
    served.add_argument("--attempts", type=positive, help="how often a request is sent in all (default: 8)")
    served.add_argument(
        "--key-variable", metavar="NAME", help="environment variable with the server's key (default: none)"
    )


def add_shown(parser: argparse.ArgumentParser) -> None:
    """Options of frames, beside those that filming has too (--frames and --fps)."""
    parser.add_argument(
        "--resolution",
        type=frame_size,
        metavar="HxW",
        help="height and width that frames are shown with (default: what a policy of ours was trained with; "
        "with a benchmark's own words the clip's aspect, within the model's bounds; a server: the clip's)",
    )
    parser.add_argument(
        "--sampling",
        help="which --frames of a video: uniform (both ends), interior (neither end) or middle (of equal "
        "parts) (default: uniform)",
    )


@contextmanager
def opened_backend(arguments: argparse.Namespace) -> Iterator[Backend | Workers]:
    """Whoever answers; workers end with the block. Raises ValueError for options that do not fit together."""
    served = {
        field: getattr(arguments, option)
        for option, field in _SERVED.items()
        if getattr(arguments, option) is not None
    }
    _check(arguments, bool(served))
    if arguments.server is not None:
        from tolman.bench.backends.server import DEFAULT, Server

        yield Server(arguments.server, arguments.model, shown(arguments, DEFAULT), **served)
    elif arguments.vllm:
        from tolman.bench.backends.server import DEFAULT
        from tolman.bench.backends.vllm_engine import VllmEngine

        sampling = shown(arguments, DEFAULT)
        yield VllmEngine(arguments.model, sampling, most_frames(arguments, sampling))
    else:
        with _own(arguments) as backend:
            backend.sampling = shown(arguments, backend.sampling)
            yield backend


def _check(arguments: argparse.Namespace, served: bool) -> None:
    elsewhere = arguments.server is not None or arguments.vllm
    if served and arguments.server is None:
        known = ", ".join(f"--{option.replace('_', '-')}" for option in _SERVED)
        raise ValueError(f"{known} are for a --server, and none is named")
    if arguments.device is not None and elsewhere:
        raise ValueError("--device is for a model in this process, not for --server or --vllm")
    if arguments.ray is not None and elsewhere:
        raise ValueError("--ray is for models in workers of ours, not for --server or --vllm")
    if arguments.workers is not None and elsewhere and arguments.scenes is None:
        raise ValueError("--workers are for models of ours and for filming; a server has --concurrency")
    if arguments.server is not None and arguments.model is None:
        raise ValueError("--server needs --model NAME, the name that the server knows the model by")
    if arguments.vllm and arguments.model is None:
        raise ValueError("--vllm needs --model, a folder or a name")


@contextmanager
def _own(arguments: argparse.Namespace) -> Iterator[InProcess | Workers]:
    """A model in this process, or in each of several workers."""
    device, count = arguments.device or "cpu", arguments.workers or 1
    model = arguments.model or STARTER
    if arguments.ray is None and count == 1:
        yield in_process(0, model, device, 1)
        return
    from tolman.bench.workers import ProcessTeam, Workers

    team: Team
    if arguments.ray is None:
        team = ProcessTeam(partial(in_process, model=model, device=device, workers=count), count)
    else:
        from tolman.bench.ray_workers import RayTeam

        make = partial(in_process, model=model, device=device, workers=1)
        team = RayTeam(make, arguments.workers, arguments.ray, float(device.startswith("cuda")))
    with Workers(team) as workers:
        yield workers


def in_process(member: int, model: str, device: str, workers: int) -> InProcess:
    """The model that one of so many workers on this machine answers with: on a CPU with its share of the
    threads, with `cuda` on one GPU after the other.
    """
    import torch

    from tolman.bench.backends.in_process import InProcess
    from tolman.policy.load import load_policy

    quiet_loading()
    if workers > 1 and device == "cpu":
        torch.set_num_threads(max(1, min(torch.get_num_threads(), (os.cpu_count() or 1) // workers)))
    if workers > 1 and device == "cuda":
        device = f"cuda:{member % max(1, torch.cuda.device_count())}"
    return InProcess(load_policy(model, device=device))


def shown(arguments: argparse.Namespace, own: Sampling) -> Sampling:
    """The frames that are shown: the backend's own, less what the command line says.

    Of a clip that is filmed for the model all frames are shown, and --fps is the film's. Of a video --fps
    without --frames takes as many as there are.
    """
    fps = None if arguments.scenes is not None else arguments.fps
    return replace(
        own,
        frames=arguments.frames or (own.frames if fps is None else None),
        fps=fps,
        size=arguments.resolution or own.size,
        image_size=arguments.resolution,
        rule=arguments.sampling or "uniform",
    )


def shown_of(arguments: argparse.Namespace, own: Sampling, entry: Benchmark) -> Sampling:
    """What a benchmark's clips are shown with where its own words ask: as its authors have it, at the clip's
    own aspect within the model's bounds, unless the command line says something of it or films them.
    """
    if arguments.scenes is not None:
        return own
    authors = dict(entry.sampling)
    own = replace(own, size=arguments.resolution, max_pixels=authors.pop("max_pixels", None))
    said = (arguments.frames, arguments.fps, arguments.sampling)
    if not authors or any(one is not None for one in said):
        return own
    return replace(own, **({"frames": None} | authors))


def most_frames(arguments: argparse.Namespace, sampling: Sampling) -> int:
    """The most frames of a question in the benchmarks that are asked. Raises ValueError where nobody says."""
    from tolman.bench.benchmark import find_benchmark
    from tolman.bench.suites import suite_names

    entries = [find_benchmark(name) for name in suite_names(arguments.benchmark)]
    counts = [shown_of(arguments, sampling, entry).frames for entry in entries]
    if None in counts:
        raise ValueError("--vllm with frames by rate needs --frames N too, the most that a question may have")
    return max(count for count in (*counts, sampling.frames) if count is not None)
