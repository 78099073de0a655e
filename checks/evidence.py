"""Make the runs that docs/evidence.md is about, and write that page from them.

    python checks/evidence.py run [--out runs/evidence] [--arms base,grpo] [--seeds 0,1]
                                  [--layouts scenes_arkitscenes.json --questions questions_arkitscenes.json]
    python checks/evidence.py write [runs/evidence]

`run` says how long what is missing may take, then films, trains and asks. What is done is passed over, and
what was killed goes on where it was. --layouts and --questions are VSI-Bench's metadata of real scans and the
official questions about them (docs/real-layouts.md); without them the layouts are left out, and the page says
so. Processes may work side by side on different seeds, once `run --arms base` has filmed the layouts.
evidence.toml is the experiment.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import evidence_page
from evidence_plan import BASE, PLAN, Arm, Plan, answers_of, asked_of, read_plan, recipe_of, rooms_of
from tolman.bench.backends.in_process import InProcess
from tolman.bench.evaluate import digest, evaluate
from tolman.bench.load import load_questions
from tolman.bench.predictions import read_predictions, settings_file
from tolman.cli.eval_command import maps_of, matching, thinned
from tolman.cli.shared import progress_bar, quiet_loading, say
from tolman.data.build import Dataset, build_dataset, load_dataset
from tolman.data.files import write_lines
from tolman.data.rows import read_questions, write_questions
from tolman.data.scene_io import read_scenes
from tolman.learn.checkpoint import step_folders
from tolman.learn.run_folder import METRICS, RunFolder
from tolman.learn.train import train
from tolman.policy.load import STARTER, load_policy
from tolman.policy.policy import Policy
from tolman.questions.question import Question
from tolman.scenes import Scene, generate_scene

PAGE = Path(__file__).resolve().parents[1] / "docs" / "evidence.md"
SETTINGS = "settings.json"
HELD_OUT = 5000  # held-out rooms have the numbers from here on, as in the quickstart


def run(plan: Plan, out: Path, arms: Sequence[Arm], seeds: Sequence[int], layouts: Layouts | None) -> None:
    """Make the runs of these arms and seeds. Raises ValueError where `out` holds another experiment."""
    keep_settings(plan, out, layouts)
    if layouts is not None:
        film_layouts(plan, out, layouts)
    for seed in seeds:
        for which, count, first in (
            ("train", plan.rooms.training, 0),
            ("held-out", plan.rooms.held_out, HELD_OUT),
        ):
            numbers = range(10_000 * seed + first, 10_000 * seed + first + count)
            scenes = [generate_scene(k, plan.rooms.difficulty, plan.rooms.side) for k in numbers]
            film(
                plan,
                rooms_of(out, seed, which),
                scenes,
                seed,
                plan.rooms.style,
                f"rooms of seed {seed}, {which}",
            )
        for arm in arms:
            if arm.recipe is not None:
                train_arm(arm, seed, out)
            ask_arm(plan, arm, seed, out, layouts is not None)


def train_arm(arm: Arm, seed: int, out: Path) -> None:
    """Train, go on, or see that it is done and was the same recipe."""
    recipe = recipe_of(arm, seed, out)
    folder = RunFolder(Path(recipe.run.out) / recipe.run.name)
    if (folder.checkpoints / "final").is_dir():
        folder.check_same(recipe)
    else:
        begun = (folder.path / "recipe.toml").is_file()
        with progress_bar(f"seed {seed}: training {arm.name}") as show:
            train(recipe, resume=begun, progress=lambda row: show(int(row["step"]), recipe.run.steps))
        say(f"seed {seed}: {arm.name} trained")
    for checkpoint in step_folders(folder.checkpoints):
        shutil.rmtree(checkpoint)  # with its optimiser, larger than the policy; a finished run needs none


def ask_arm(plan: Plan, arm: Arm, seed: int, out: Path, layouts: bool) -> None:
    """Ask every set in every way of showing clips, greedily, what has not been asked yet."""
    policy: Policy | None = None
    for which in ("rooms", "layouts") if layouts else ("rooms",):
        questions = read_questions(asked_of(out, seed, which))
        for clip in plan.clips:
            file = answers_of(out, arm.name, seed, which, clip)
            if is_answered(file, questions):
                continue
            if policy is None:
                place = out / f"seed-{seed}" / arm.name / "checkpoints" / "final"
                policy = replace(load_policy("starter" if arm.name == BASE else str(place)), name=arm.name)
            ask(plan, policy, questions, asked_of(out, seed, which).parent, clip, file)
            say(f"seed {seed}: {arm.name} asked, {which}, clip {clip}")


def ask(plan: Plan, policy: Policy, questions: Sequence[Question], root: Path, clip: str, file: Path) -> None:
    """One evaluation. Which clip stands for another's is drawn from the same seed everywhere."""
    with progress_bar(f"{policy.name}, {file.stem}") as show:
        evaluate(
            InProcess(policy), questions, root, clip_source=clip, template="map", max_new_tokens=plan.tokens,
            progress=show, out=file, resume=True, true_maps=maps_of(read_scenes(root)),
        )  # fmt: skip


def is_answered(file: Path, questions: Sequence[Question]) -> bool:
    """Whether every one of these questions has an answer in the file."""
    if not (file.is_file() and settings_file(file).is_file()):
        return False
    asked = json.loads(settings_file(file).read_text(encoding="utf-8"))["questions"]
    return bool(asked == digest(questions)) and len(read_predictions(file)) == len(questions)


class Layouts:
    """Real layouts and the questions about them that are asked, evenly spread over the file."""

    def __init__(self, plan: Plan, scenes: Path, questions: Path) -> None:
        asked = thinned(load_questions("vsibench", questions), plan.layouts.questions)
        self.scenes: list[Scene] = matching(asked, scenes)
        self.questions = [replace(one, path=f"clips/{one.scene_id}.mp4") for one in asked]


def film_layouts(plan: Plan, out: Path, layouts: Layouts) -> None:
    """Film them, then write down their questions."""
    folder = out / "layouts"
    film(plan, folder, layouts.scenes, 0, plan.layouts.style, "real layouts", ask=False)
    write_questions(folder / "questions.jsonl", layouts.questions)


def film(
    plan: Plan, folder: Path, scenes: Sequence[Scene], seed: int, style: str, title: str, ask: bool = True
) -> Dataset:
    """The data set, made where it is not there yet."""
    if (folder / "card.json").is_file():
        return load_dataset(folder)
    rooms = plan.rooms
    with progress_bar(f"filming {title}") as show:
        made = build_dataset(
            folder, scenes, seed=seed, frames=rooms.frames, size=rooms.size, style=style, fps=rooms.fps,
            per_family=rooms.per_family, workers=rooms.workers, questions=ask,
            progress=lambda done, total, _: show(done, total),
        )  # fmt: skip
    say(f"filmed {title}")
    return made


def keep_settings(plan: Plan, out: Path, layouts: Layouts | None) -> None:
    """Write down what all runs in `out` share; refuse to mix in others.

    Recipes are compared run by run. Raises ValueError naming what differs.
    """
    now: dict[str, Any] = {
        "rooms": {key: value for key, value in asdict(plan.rooms).items() if key != "workers"},
        "tokens": plan.tokens,
        "starter": hashlib.sha256((STARTER / "model.safetensors").read_bytes()).hexdigest(),
    }
    if layouts is not None:
        now["layouts"] = asdict(plan.layouts) | {"asked": digest(layouts.questions)}
    now = json.loads(json.dumps(now))
    file = out / SETTINGS
    before = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    if wrong := [key for key in now if key in before and before[key] != now[key]]:
        was, now_is = before[wrong[0]], now[wrong[0]]
        raise ValueError(f"{out} holds runs with other {wrong[0]}: {was}, now {now_is}; give another --out")
    out.mkdir(parents=True, exist_ok=True)
    write_lines(file, [json.dumps(before | now, indent=1)])


def estimate(
    plan: Plan, out: Path, arms: Sequence[Arm], seeds: Sequence[int], layouts: Layouts | None
) -> float:
    """Seconds that what is missing will take: by what this folder has measured, else by evidence.toml."""
    total = 0.0
    sets = {"rooms": 11 * plan.rooms.held_out} | (
        {} if layouts is None else {"layouts": len(layouts.questions)}
    )
    answer = measured(out.glob("**/*-true.jsonl"), plan.seconds.answer)
    if layouts is not None and not (out / "layouts" / "card.json").is_file():
        total += plan.seconds.film * len(layouts.scenes)
    for seed in seeds:
        if not (rooms_of(out, seed, "held-out") / "card.json").is_file():
            total += plan.seconds.film * (plan.rooms.training + plan.rooms.held_out)
        for arm in arms:
            folder = out / f"seed-{seed}" / arm.name
            if arm.recipe is not None and not (folder / "checkpoints" / "final").is_dir():
                done = len(read_predictions(folder / METRICS)) if (folder / METRICS).is_file() else 0
                step = measured(out.glob(f"seed-*/{arm.name}/{METRICS}"), arm.step)
                total += step * (arm.recipe.run.steps - done)
            for which, count in sets.items():
                files = {answers_of(out, arm.name, seed, which, clip) for clip in plan.clips}
                if (arm.name, which) != (BASE, "layouts") or seed == seeds[0]:
                    total += answer * count * sum(not file.is_file() for file in files)
    return total


def measured(files: Any, otherwise: float) -> float:
    """Mean of `seconds` over the rows of these files; `otherwise` where there are none."""
    found = [row["seconds"] for file in files for row in read_predictions(file)]
    return sum(found) / len(found) if found else otherwise


def main(arguments: Sequence[str] | None = None) -> int:
    """Run or write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, dest="command")
    runner = commands.add_parser("run", help="make the runs that are missing")
    runner.add_argument("--out", type=Path, default=Path("runs/evidence"))
    runner.add_argument("--arms", help="names with commas between (default: all)")
    runner.add_argument("--seeds", help="numbers with commas between (default: those of the plan)")
    runner.add_argument("--layouts", type=Path, help="VSI-Bench's metadata of real scans")
    runner.add_argument("--questions", type=Path, help="the official questions about them")
    runner.add_argument(
        "--estimate", action="store_true", help="only say what is missing and how long it takes"
    )
    writer = commands.add_parser("write", help="write the page from the runs that are there")
    writer.add_argument("out", type=Path, nargs="?", default=Path("runs/evidence"))
    writer.add_argument("--page", type=Path, default=PAGE)
    for command in (runner, writer):
        command.add_argument("--plan", type=Path, default=PLAN)
    given = parser.parse_args(arguments)
    plan = read_plan(given.plan)
    if given.command == "write":
        found, picture = evidence_page.collect(plan, given.out), given.page.with_suffix(".svg")
        picture.write_text(evidence_page.figure(found), encoding="utf-8")
        given.page.write_text(evidence_page.page(found, picture.name), encoding="utf-8")
        return 0
    if (given.layouts is None) != (given.questions is None):
        parser.error("--layouts and --questions belong together")
    quiet_loading()
    layouts = None if given.layouts is None else Layouts(plan, given.layouts, given.questions)
    arms = plan.arms if given.arms is None else [plan.arm(name) for name in given.arms.split(",")]
    seeds = plan.seeds if given.seeds is None else [int(seed) for seed in given.seeds.split(",")]
    hours = estimate(plan, given.out, arms, seeds, layouts) / 3600
    names = ", ".join(arm.name for arm in arms)
    say(f"{names}; seeds {', '.join(map(str, seeds))}: about {hours:.1f} hours for what is missing")
    if not given.estimate:
        run(plan, given.out, arms, seeds, layouts)
    return 0


if __name__ == "__main__":
    sys.exit(main())
