"""Kill a training run with SIGKILL at random moments and compare what resuming makes of it.

    python checks/kill_resume.py [--moments 20] [--seed 0] [--skip 18]

A tiny policy is trained with groups, a KL term and an advantage that keeps moving averages from step to step.
Once it runs through. Then again, killed: at even moments (from 0) somewhere within a checkpoint write, at odd
ones at any instant. Each time it is resumed until it ends, and weights, optimiser, moving averages, metrics
(clock times left out) and rollouts must be those of the undisturbed run, bit for bit, with nothing beside
them. Every run is a process of its own, forked before torch has started any thread. POSIX only.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from tolman.learn import checkpoint
from tolman.learn.recipe import parse_recipe
from tolman.learn.run_folder import METRICS, ROLLOUTS, SKIPPED
from tolman.learn.train import train
from tolman.questions.question import Question
from tolman.reward.graded import Graded
from tolman.reward.registry import REWARDS

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
import learn_world

CLOCK = ("seconds", "samples_per_second", "tokens_per_second")
FLUSHES = 6  # of one checkpoint: its files, its folder, the folder around it


def digits(completion: str, question: Question) -> Graded:
    """The share of digits: something a fresh policy sometimes earns."""
    return Graded(sum(c.isdigit() for c in completion) / max(len(completion), 1), "share of digits")


def table(data: Path, out: Path) -> dict[str, Any]:
    """The recipe: six steps, a checkpoint every two."""
    recipe = learn_world.rl_table(data, out, checkpoint_every=2, threads=1)
    return recipe | {"rewards": [{"name": "digits"}], "advantage": {"name": "ema_per_task"}}


def run(data: Path, out: Path) -> None:
    """Train, or go on."""
    begun = (out / "tiny" / "recipe.toml").is_file()
    train(parse_recipe(table(data, out)), policy=learn_world.tiny_policy(), resume=begun)


def forked(work: Callable[[], None]) -> int:
    """Do the work in a child and return its pid."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        work()
        status = 0
    finally:
        os._exit(status)


def ended_well(pid: int) -> bool:
    """Wait for a child; whether it ended by itself. Raises ValueError where it failed."""
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code not in (0, -signal.SIGKILL):
        raise ValueError(f"a run failed with status {code}")
    return code == 0


def killed_in_a_write(data: Path, out: Path, flush: int) -> None:
    """Run, killed at the flush of that number, counted from 0 over all checkpoints."""
    real, left = checkpoint._flush, iter(range(flush))

    def flush_or_die(path: Path) -> None:
        if next(left, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)
        real(path)

    checkpoint._flush = flush_or_die
    run(data, out)


def at_moment(moment: int, rng: random.Random, seconds: float) -> tuple[int | None, float]:
    """When to kill: a flush, or else seconds after the start."""
    return (rng.randrange(3 * FLUSHES), 0.0) if moment % 2 == 0 else (None, rng.uniform(0, seconds))


def start_and_kill(data: Path, out: Path, flush: int | None, delay: float) -> str:
    """A run that is killed then; what is done in words. One that has ended before is begun anew and killed a
    little earlier: on a machine with other work no two runs take as long."""
    if flush is not None:
        assert not ended_well(forked(lambda: killed_in_a_write(data, out, flush)))
        return f"flush {flush}"
    while True:
        pid = forked(lambda: run(data, out))
        time.sleep(delay)
        os.kill(pid, signal.SIGKILL)
        if not ended_well(pid):
            return f"{delay:.2f} s"
        shutil.rmtree(out)
        delay *= 0.9


def result(folder: Path) -> dict[str, Any]:
    """Everything a run leaves that must not depend on kills."""
    found: dict[str, Any] = {}
    for name in (METRICS, ROLLOUTS, SKIPPED):
        rows = [json.loads(line) for line in (folder / name).read_text(encoding="utf-8").splitlines()]
        found[name] = [{key: value for key, value in row.items() if key not in CLOCK} for row in rows]
    for file in sorted((folder / "checkpoints").rglob("*")):
        if file.is_file() and not any(part.startswith(".") for part in file.parts[len(folder.parts) :]):
            found[str(file.relative_to(folder))] = file.read_bytes()
    return found


def main() -> int:
    """Run, kill, resume, compare; the exit status says whether all were equal."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--moments", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--skip", type=int, default=0, help="moments of the seed that have been run already")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    REWARDS["digits"] = lambda: digits
    rng = random.Random(arguments.seed)
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        data = learn_world.write_dataset(Path(folder) / "data", clips=3, questions=2)
        began = time.monotonic()
        assert ended_well(forked(lambda: run(data, Path(folder) / "whole")))
        seconds = time.monotonic() - began
        expected = result(Path(folder) / "whole" / "tiny")
        for moment in range(arguments.moments):
            out, drawn = Path(folder) / str(moment), at_moment(moment, rng, seconds)
            if moment < arguments.skip:
                continue
            said = start_and_kill(data, out, *drawn)
            left = len(list((out / "tiny" / "checkpoints").glob("step-*")))
            assert ended_well(forked(lambda: run(data, out)))  # noqa: B023
            leftovers = list((out / "tiny" / "checkpoints").glob(".*"))
            equal = result(out / "tiny") == expected and not leftovers
            wrong += not equal
            same = "equal" if equal else "DIFFERENT"
            print(f"{moment}: killed at {said} with {left} checkpoints; resumed: {same}", flush=True)
    return wrong


if __name__ == "__main__":
    sys.exit(main())
