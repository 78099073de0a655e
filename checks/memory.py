"""Train for many steps and watch how much memory of the machine the process holds.

    python checks/memory.py [--steps 10000] [--policy starter] [--objective rl] [--tokens 48] [--allow 64]
                            [--json FILE]

Prints the resident memory at twenty moments and a verdict. The first fifth of the steps fills caches and
buffers and does not count. After it the memory must not grow: the median of the last quarter of what is left
is held against the median of its first quarter, and may lie up to `allow` MiB above it, scaled to the number
of steps where they are fewer than 10,000 (never below 4 MiB, about what a heap varies by itself). `--policy
tiny` takes 60,000 random parameters instead of the shipped starter: the same code, some seconds for a hundred
steps. Checkpoints, rollouts and metrics are written as always, into a folder that goes afterwards. Linux.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tolman.learn.recipe import parse_recipe
from tolman.learn.train import train
from tolman.policy.load import load_policy
from tolman.reward import REWARDS

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
import learn_world

LONG = 10_000  # steps that `allow` is for
LEAST = 4.0  # MiB
WARM = 0.2  # of the steps
MOMENTS = 20


class Verdict(NamedTuple):
    """MiB between the medians, MiB allowed, and whether that is flat."""

    growth: float
    allowed: float
    flat: bool


def resident() -> float:
    """MiB of memory that this process holds."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def verdict(held: Sequence[float], allow: float) -> Verdict:
    """held: MiB after each step. Raises ValueError for fewer than 20 steps, which say nothing."""
    if len(held) < 20:
        raise ValueError(f"{len(held)} steps are too few to tell; take 20 at least")
    counted = held[round(WARM * len(held)) :]
    quarter = len(counted) // 4
    growth = statistics.median(counted[-quarter:]) - statistics.median(counted[:quarter])
    allowed = max(LEAST, allow * min(1.0, len(held) / LONG))
    return Verdict(growth, allowed, growth <= allowed)


def table(data: Path, out: Path, objective: str, steps: int, tokens: int) -> dict[str, Any]:
    """A recipe with what lives from step to step: clips held in memory, a reference, fifty checkpoints."""
    make = learn_world.rl_table if objective == "rl" else learn_world.sft_table
    run = {"name": "memory", "steps": steps, "checkpoint_every": max(1, steps // 50)}
    recipe = make(data, out, **run)
    recipe["optimiser"] = {"lr": 1e-6}
    recipe["batch"] = {"clips": 1}
    recipe["model"] |= {"train": "text"}  # as `tolman quickstart` does: the tower's features are kept
    if objective == "rl":
        REWARDS["digits"] = lambda: (
            learn_world.digits
        )  # one that differs from sample to sample from the start
        recipe["rewards"] = [{"name": "digits"}]
        recipe["sampling"] = {"group": 4, "max_new_tokens": tokens}
    return recipe


def main() -> int:
    """Train, print, judge; the exit status is 1 where memory grows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=LONG)
    parser.add_argument("--policy", choices=("starter", "tiny"), default="starter")
    parser.add_argument("--objective", choices=("rl", "sft"), default="rl")
    parser.add_argument("--tokens", type=int, default=48, help="of a completion, for rl (default: 48)")
    parser.add_argument("--allow", type=float, default=64.0, help="MiB in 10,000 steps (default: 64)")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    policy = learn_world.tiny_policy() if given.policy == "tiny" else load_policy("starter")
    held: list[float] = []
    began = time.monotonic()

    def note(row: dict[str, Any]) -> None:
        if len(held) % max(1, given.steps // MOMENTS) == 0:
            gc.collect()  # cycles go now and then by themselves; the moments that are shown are after that
            print(
                f"step {row['step']:6d}  {resident():8.1f} MiB  {time.monotonic() - began:6.0f} s", flush=True
            )
        held.append(resident())

    with tempfile.TemporaryDirectory() as folder:
        data = learn_world.write_dataset(Path(folder) / "data", clips=8, questions=3)
        recipe = parse_recipe(table(data, Path(folder), given.objective, given.steps, given.tokens))
        train(recipe, policy=policy, progress=note)
    found = verdict(held, given.allow)
    state = "flat" if found.flat else "GROWS"
    print(f"{state}: {found.growth:+.1f} MiB over {given.steps} steps, {found.allowed:.1f} allowed")
    if given.json:
        settings = {key: getattr(given, key) for key in ("steps", "policy", "objective", "tokens")}
        every = max(1, given.steps // MOMENTS)
        given.json.write_text(
            json.dumps(settings | found._asdict() | {"resident_mib": held[::every]}, indent=1) + "\n"
        )
    return 0 if found.flat else 1


if __name__ == "__main__":
    sys.exit(main())
