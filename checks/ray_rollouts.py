"""Train with the completions sampled in one process and by workers on a Ray cluster, and compare.

    python checks/ray_rollouts.py [--device cuda] [--workers 2] [--gpus 0.25] [--address HOST:6379 --folder F]

A tiny policy learns by GRPO, all of it and then adapters alone. For each: the share of the first step's
completions that are the same (later steps follow from them), the largest difference of a weight at the end as
a share of its tensor's largest, and the seconds of the last step. Fails where fewer than 95 % of the first
completions are the same, on a CPU also where anything differs at all. Without --address a cluster of this
machine is started; with it, --folder is one that all of its machines see.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

import ray
import torch

from several_processes import compare, completions, digits, learn_world, seconds
from tolman.learn.recipe import apply_overrides, parse_recipe
from tolman.learn.train import train
from tolman.policy.load import save_policy
from tolman.reward.registry import REWARDS

TRAINED = {"all": [], "adapters": ["model.train=text", "model.lora_rank=4"]}
FIRST = 3 * 2 * 4  # completions of a step: clips times questions times group


def run(folder: Path, name: str, settings: list[str]) -> Path:
    """Train by GRPO; the run folder."""
    table = learn_world.rl_table(folder / "data", folder / "runs", steps=4, name=name, threads=1)
    table["rewards"] = [{"name": "digits"}]
    table["optimiser"]["eps"] = 1e-4  # a gradient that is 0 but for rounding must move nothing
    fixed = [f"model.path={folder / 'policy'}", "batch.clips=3"]
    return train(parse_recipe(apply_overrides(table, [*fixed, *settings])))


def check(folder: Path, given: argparse.Namespace) -> int:
    """Both ways, for all that learns; how many differ."""
    learn_world.write_dataset(folder / "data", clips=4, questions=2)
    save_policy(learn_world.tiny_policy(), folder / "policy")
    options = f"{{workers={given.workers}, gpus={given.gpus if given.device == 'cuda' else 0}}}"
    wrong = 0
    for trained, settings in TRAINED.items():
        settings = [*settings, f"run.device={given.device}"]
        one = run(folder, f"{trained}-here", settings)
        other = run(folder, f"{trained}-ray", [*settings, f"engine={{name='ray', options={options}}}"])
        pairs = list(zip(completions(one), completions(other), strict=True))
        first = sum(a == b for a, b in pairs[:FIRST]) / FIRST
        error = compare(one, other)
        times = f"{seconds(one):.2f} s in one process, {seconds(other):.2f} s with {given.workers} workers"
        print(
            f"{trained}: {first:.0%} of the first completions equal, weights differ by {error:.1e}; {times}"
        )
        differs = error > 0 or any(a != b for a, b in pairs)
        wrong += first < 0.95 or (given.device == "cpu" and differs)
    return wrong


def main() -> int:
    """Run and compare; the exit status says whether all were equal."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--gpus", type=float, default=0.25, help="of each worker, with --device cuda")
    parser.add_argument("--address", help="of a running cluster (default: start one here)")
    parser.add_argument("--folder", type=Path, help="new folder that all machines see")
    given = parser.parse_args()
    REWARDS["digits"] = lambda: digits
    torch.set_num_threads(1)
    here: dict[str, Any] = {"num_cpus": given.workers, "include_dashboard": False}
    ray.init(**({"address": given.address} if given.address else here))
    if given.folder is not None:
        given.folder.mkdir()
        return check(given.folder, given)
    with tempfile.TemporaryDirectory() as temporary:
        return check(Path(temporary), given)


if __name__ == "__main__":
    sys.exit(main())
