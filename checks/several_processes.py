"""Train with one process and with several, started by torchrun, and compare what they make.

    python checks/several_processes.py [--device cuda] [--processes 2]

A tiny policy learns by fine-tuning and by GRPO with a KL term, held whole by every process and split over
them (`distributed.shard`). For each run: the largest difference of a weight, as a share of its tensor's
largest; whether all completions are the same; the seconds that the last step took. Fails where weights differ
by more than 1e-4. With `--device cuda` every process needs a GPU.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from safetensors.torch import load_file

from tolman.learn.config import write_toml
from tolman.learn.processes import connect
from tolman.learn.recipe import apply_overrides, load_recipe
from tolman.learn.run_folder import METRICS, ROLLOUTS
from tolman.learn.train import train
from tolman.policy.load import save_policy
from tolman.questions.question import Question
from tolman.reward.graded import Graded
from tolman.reward.registry import REWARDS

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
import learn_world

KINDS = {"sft": learn_world.sft_table, "rl": learn_world.rl_table}


def digits(completion: str, question: Question) -> Graded:
    """The share of digits: something a fresh policy sometimes earns."""
    return Graded(sum(c.isdigit() for c in completion) / max(len(completion), 1), "share of digits")


def write_recipes(folder: Path, device: str) -> None:
    """recipes/SHARD-KIND.toml, a dataset and a policy."""
    data = learn_world.write_dataset(folder / "data", clips=4, questions=2)
    save_policy(learn_world.tiny_policy(), folder / "policy")
    (folder / "recipes").mkdir()
    for shard in ("none", "full"):
        for kind, make in KINDS.items():
            table = make(data, folder / "runs", steps=4, checkpoint_every=2, device=device)
            table["optimiser"]["eps"] = 1e-4  # a gradient that is 0 but for rounding must move nothing
            if kind == "rl":
                table["rewards"] = [{"name": "digits"}]
            settings = [f"run.name={shard}-{kind}", f"distributed.shard={shard}", "batch.clips=3"]
            table = apply_overrides(table, [*settings, f"model.path={folder / 'policy'}"])
            (folder / "recipes" / f"{shard}-{kind}.toml").write_text(write_toml(table))


def work(folder: Path, name: str, device: str) -> None:
    """One process: every recipe in turn, runs in folder/name."""
    REWARDS["digits"] = lambda: digits
    with connect(device, 600.0):
        for file in sorted((folder / "recipes").glob("*.toml")):
            train(load_recipe(file, [f"run.out={folder / name}"]))


def compare(one: Path, other: Path) -> float:
    """Largest difference of a weight, as a share of the largest in its tensor."""
    ours, theirs = (load_file(run / "checkpoints" / "final" / "model.safetensors") for run in (one, other))
    return max(float((t - theirs[n]).abs().max() / t.abs().max().clamp(min=1e-9)) for n, t in ours.items())


def completions(run: Path) -> list[str]:
    """What was sampled."""
    return [json.loads(line)["completion"] for line in (run / ROLLOUTS).read_text().splitlines()]


def seconds(run: Path) -> float:
    """Of the last step."""
    return float(json.loads((run / METRICS).read_text().splitlines()[-1])["seconds"])


def main() -> int:
    """Run and compare; the exit status says whether all were equal."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--work", nargs=2, metavar=("FOLDER", "NAME"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work:
        work(Path(given.work[0]), given.work[1], given.device)
        return 0
    wrong = 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_recipes(folder, given.device)
        torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(given.processes)]
        for name, start in (("one", []), ("several", torchrun)):
            mine = [__file__, "--device", given.device, "--work", str(folder), name]
            subprocess.run([sys.executable, *start, *mine], check=True)
        for run in sorted((folder / "one").iterdir()):
            other = folder / "several" / run.name
            error = compare(run, other)
            same = "equal" if completions(run) == completions(other) else "DIFFERENT"
            times = f"{seconds(run):.2f} s with one process, {seconds(other):.2f} s with {given.processes}"
            print(f"{run.name}: weights differ by {error:.1e}; completions {same}; last step {times}")
            wrong += error > 1e-4
    return wrong


if __name__ == "__main__":
    sys.exit(main())
