"""The whole loop once, in minutes, on a CPU: rooms, clips, questions; starter before and after SG-RLVR."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tolman.cli.shared import print_comparison, progress_bar, quiet_loading, say, write_json

if TYPE_CHECKING:
    from tolman.bench.evaluate import Evaluation
    from tolman.data.build import Dataset
    from tolman.policy.policy import Policy

RECIPE = "quickstart.toml"


@dataclass(frozen=True)
class Rooms:
    """What is made: halls, larger than nearly all the rooms that the starter learnt from.

    Seeds of rooms are `start + 10,000 * seed` and up; the starter learnt from seeds of a million and more, so
    it has seen none of these.
    """

    training: int = 64
    held_out: int = 40
    difficulty: int = 1
    side: tuple[float, float] | None = (6.0, 9.0)
    style: str = "survey"
    frames: int = 8
    fps: float = 1.0
    size: tuple[int, int] = (224, 224)
    per_family: int = 2
    workers: int = 2


def quickstart(*, seed: int, out: Path, json_file: Path | None, rooms: Rooms | None = None) -> dict[str, Any]:
    """Run it, print the table, write `out`/report.html; returns the figures that --json writes.

    Raises ValueError where `out` already holds a run.
    """
    rooms = rooms or Rooms()
    if out.exists() and any(out.iterdir()):
        raise ValueError(f"{out} is not empty; remove it or give another --out")
    began = time.monotonic()
    recipe = _recipe(out, seed)
    quiet_loading()
    from tolman.policy.load import load_policy

    training = _film(out / "rooms" / "train", rooms, seed, rooms.training, 0, "filming rooms to train on")
    held_out = _film(out / "rooms" / "held-out", rooms, seed, rooms.held_out, 5000, "filming held-out rooms")
    tokens = recipe.sampling.max_new_tokens
    before = _measure(load_policy("starter"), held_out, out, "before", tokens)
    final = _train(recipe, len(training.questions))
    after = _measure(load_policy(str(final)), held_out, out, "after", tokens)
    figures = _write(out, before, after)
    write_json(json_file, figures)
    print_comparison("Held-out rooms, percent, ± standard error clustered by clip", figures)
    say(
        f"{time.monotonic() - began:.0f} s. Open {out / 'report.html'}: curves, maps over truth, completions."
    )
    return figures


def _recipe(out: Path, seed: int) -> Any:
    from tolman.learn.recipe import load_recipe

    place = files("tolman.cli").joinpath(RECIPE)
    values = {
        "run.out": out.parent,
        "run.name": out.name,
        "run.seed": seed,
        "data.path": out / "rooms" / "train",
    }
    return load_recipe(str(place), [f"{key}={value}" for key, value in values.items()])


def _film(out: Path, rooms: Rooms, seed: int, count: int, offset: int, title: str) -> Dataset:
    from tolman.data.build import build_dataset
    from tolman.scenes import generate_scene

    first = 10_000 * seed + offset
    with _stage(title) as show:
        return build_dataset(
            out,
            [generate_scene(first + k, rooms.difficulty, rooms.side) for k in range(count)],
            seed=seed,
            frames=rooms.frames,
            size=rooms.size,
            style=rooms.style,
            fps=rooms.fps,
            per_family=rooms.per_family,
            workers=rooms.workers,
            progress=lambda done, total, _: show(done, total),
        )


def _measure(policy: Policy, data: Dataset, out: Path, name: str, tokens: int) -> Evaluation:
    from tolman.bench.backends.in_process import InProcess
    from tolman.bench.evaluate import evaluate

    with _stage(f"evaluating {name} training") as show:
        return evaluate(
            InProcess(policy),
            data.questions,
            data.folder,
            template="map",
            max_new_tokens=tokens,
            batch=32,
            progress=show,
            out=out / f"predictions_{name}.jsonl",
        )


def _train(recipe: Any, questions: int) -> Path:
    from tolman.learn.train import train

    with _stage(f"SG-RLVR on {questions} questions") as show:
        folder = train(recipe, progress=lambda row: show(int(row["step"]), recipe.run.steps))
    return folder / "checkpoints" / "final"


@contextmanager
def _stage(title: str) -> Iterator[Any]:
    """A progress bar where there is a terminal, and a line with the seconds at the end either way."""
    began = time.monotonic()
    with progress_bar(title) as show:
        yield show
    print(f"{title}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)


def _write(out: Path, before: Evaluation, after: Evaluation) -> dict[str, Any]:
    import json

    from tolman.bench.evaluate import write_evaluations
    from tolman.report.page import write_report

    write_evaluations(out / "evaluation.json", {"before": before, "after": after})
    write_report(out)
    figures: dict[str, Any] = json.loads((out / "evaluation.json").read_text(encoding="utf-8"))
    return figures
