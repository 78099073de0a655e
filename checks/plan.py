"""Train some steps of several kinds and hold their seconds against what `tolman plan` says of them.

    python checks/plan.py [--model starter] [--hardware cpu2] [--device cpu] [--steps 16] [--scale 1]
                          [--only "sft;rl"] [--allow 0.15] [--json FILE]

Films 24 rooms and trains on them by the command line, each kind of step in a process of its own. The plan
gets the lengths that questions and completions had. Seconds are the median of all steps but the first four
(of rl, whose completions differ in length from step to step, the mean, and the mean length). `--scale 0.25`
takes a quarter of each batch, for models that are larger than the starter. Run it on an idle machine: what
other processes take is counted as the step's. The exit status is the number of kinds that lie further off
than `--allow`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tolman.data.rows import read_questions
from tolman.learn.hardware import find_hardware
from tolman.learn.plan import Lengths, make_plan, model_size
from tolman.learn.recipe import parse_recipe, recipe_to_toml
from tolman.learn.sections import Recipe
from tolman.policy.load import load_policy
from tolman.policy.prompt import build_prompt

WARM = 4  # steps that do not count
NLL: dict[str, Any] = {"objective": {"name": "sft"}, "loss": {"name": "nll", "normalise": "tokens"}}
BLIND = NLL | {"objective": {"name": "sft", "options": {"blind": 96}}}
RL: dict[str, Any] = {
    "objective": {"name": "rl"},
    "loss": {"name": "policy_gradient", "normalise": "sequences", "beta": 0.04},
    "sampling": {"group": 8, "max_new_tokens": 256, "temperature": 0.7},
    "rewards": [{"name": "accuracy"}, {"name": "format", "weight": 0.5, "options": {"rule": "strict"}}],
    "advantage": {"name": "group_mean_std"},
}
KINDS: dict[str, tuple[dict[str, Any], int, int, str, bool]] = {
    "dense": ({"objective": {"name": "dense"}}, 16, 1, "all", True),
    "sft": (NLL, 16, 1, "text", True),
    "sft, float32": (NLL, 16, 1, "text", False),
    "sft, whole": (NLL, 16, 1, "all", True),
    "sft, whole, float32": (NLL, 16, 1, "all", False),
    "sft, four questions": (NLL, 8, 4, "text", True),
    "sft, four questions, whole": (NLL, 8, 4, "all", True),
    "sft, four questions, whole, float32": (NLL, 8, 4, "all", False),
    "sft, 96 blind, whole": (BLIND, 4, 2, "all", True),
    "rl": (RL, 4, 2, "text", False),
    "rl, whole, mixed": (RL, 4, 2, "all", True),
}
"""Name → objective and what belongs to it, clips, questions of each, what learns, `model.mixed`."""


def main() -> int:
    """Measure and print; returns how many kinds are too far off."""
    arguments = read_arguments()
    chosen = arguments.only.split(";") if arguments.only else list(KINDS)
    if unknown := [name for name in chosen if name not in KINDS]:
        raise SystemExit(f"no kind {unknown[0]!r}; there are: {'; '.join(KINDS)}")
    if arguments.steps <= WARM:
        raise SystemExit(f"--steps {arguments.steps}: the first {WARM} do not count, take more")
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        film(Path(folder) / "rooms")
        question = question_tokens(arguments.model, Path(folder) / "rooms")
        print(f"{question} tokens a question\n{'':36} measured  planned        quickest  tokens  longest")
        for name in chosen:
            found[name] = entry = measure(name, Path(folder), question, arguments)
            print(
                f"{name:36} {entry['seconds']:8.3f} {entry['planned']:8.3f} {entry['off']:+6.0%}"
                f" {entry['quickest']:9.3f} {entry['completion']:7} {entry['longest']:8}",
                flush=True,
            )
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")
    return sum(abs(entry["off"]) > arguments.allow for entry in found.values())


def read_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="starter")
    parser.add_argument("--hardware", default="cpu2", help="as for `tolman plan`")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--scale", type=float, default=1.0, help="of the clips in a batch")
    parser.add_argument("--only", default="", help=f"separated by ';': {'; '.join(KINDS)}")
    parser.add_argument("--allow", type=float, default=0.15)
    parser.add_argument("--json", type=Path, metavar="FILE")
    return parser.parse_args()


def film(rooms: Path) -> None:
    """Rooms with what `dense` needs as well."""
    build = ["data", "build", "24", "--side", "6,9", "--style", "survey", "--frames", "16", "--size", "112"]
    command(*build, "--views", "--out", str(rooms))


def command(*words: str) -> None:
    """Run `tolman`; its output is shown where it fails."""
    done = subprocess.run(
        [sys.executable, "-m", "tolman.cli.main", *words], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"tolman {' '.join(words)}\n{done.stdout}{done.stderr}")


def question_tokens(model: str, rooms: Path) -> int:
    """Of an average question, the template's words included."""
    policy = load_policy(model)
    questions = read_questions(rooms / "questions.jsonl")
    return round(
        statistics.mean(len(build_prompt(policy, one, None, "map").question_ids) for one in questions)
    )


def recipe_of(
    name: str, model: str, scale: float, data: Path, out: Path, steps: int = 16, device: str = "cpu"
) -> Recipe:
    """A kind's recipe. scale: of the clips in a batch."""
    parts, clips, questions, train, mixed = KINDS[name]
    run = {"name": name.replace(", ", "-").replace(" ", "-"), "out": str(out), "device": device}
    return parse_recipe(
        parts
        | {
            "run": run | {"steps": steps, "checkpoint_every": steps},
            "model": {"path": model, "template": "map", "train": train, "mixed": mixed},
            "data": {"path": str(data)},
            "optimiser": {"lr": 1e-6},
            "batch": {"clips": max(1, round(clips * scale)), "questions_per_clip": questions},
        }
    )


def measure(name: str, folder: Path, question: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Train a kind's steps; measured and planned seconds of one."""
    given = (arguments.model, arguments.scale, folder / "rooms", folder, arguments.steps, arguments.device)
    recipe = recipe_of(name, *given)
    run = folder / recipe.run.name
    file = run.with_suffix(".toml")
    file.write_text(recipe_to_toml(recipe))
    command("train", str(file))
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()][WARM:]
    average = statistics.mean if recipe.objective.name == "rl" else statistics.median
    seconds = average(row["seconds"] for row in rows)
    completion = round(statistics.mean(row["tokens"] / max(1, row["samples"]) for row in rows))
    lengths = Lengths(question, 0 if name == "dense" else completion, longest(run))
    made = make_plan(
        recipe,
        model_size(arguments.model),
        find_hardware(arguments.hardware),
        lengths,
    )
    planned = made.step_seconds
    return {
        "seconds": seconds,
        "quickest": min(row["seconds"] for row in rows),
        "planned": planned,
        "off": planned / seconds - 1,
        "completion": completion,
        "longest": lengths.longest,
        "parts": made.seconds,
    }


def longest(run: Path) -> int:
    """Tokens of the longest completion in a step on average; 0 where nothing was sampled."""
    found: dict[int, int] = {}
    if (run / "rollouts.jsonl").exists():
        for line in (run / "rollouts.jsonl").read_text().splitlines():
            row = json.loads(line)
            found[row["step"]] = max(found.get(row["step"], 0), row["tokens"])
    return round(statistics.mean(list(found.values())[WARM:])) if found else 0


if __name__ == "__main__":
    sys.exit(main())
