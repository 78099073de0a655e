"""`tolman train`: run a recipe."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tolman.cli.shared import Subparsers, add_command, positive, progress_bar, quiet_loading, say

if TYPE_CHECKING:
    from tolman.learn.sections import Recipe
    from tolman.learn.stages import Stage

_SHOWN = ("reward", "loss", "kl", "completion_length", "placed_accuracy", "lr")


def register(commands: Subparsers) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "train",
        "train a policy by a recipe",
        "Run a recipe to its last step. Any key of it can be set here: --section.key value. Writes the "
        "run folder (run.out/run.name): recipe.toml as it was run, metrics.jsonl, rollouts.jsonl, "
        "skipped.jsonl, checkpoints/ and, at the end, checkpoints/final with the trained policy. --resume "
        "goes on from the last checkpoint to the same weights as a run that was never interrupted. A recipe "
        "of several stages has a run folder for each, run.out/run.name/01-NAME and so on; a stage's key is "
        "set as --stages.NAME.section.key value. Several processes: torchrun --nproc-per-node N -m "
        "tolman.cli.main train RECIPE, or --ray ADDRESS --learners N (docs/distributed.md).",
        "tolman train recipes/spacer-starter.toml --run.name mine --optimiser.lr 2e-5",
        run,
    )
    parser.add_argument("recipe", type=Path, metavar="RECIPE", help="recipe file (.toml)")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint")
    parser.add_argument(
        "--ray",
        metavar="ADDRESS",
        help="on the nodes of this Ray cluster (auto, HOST:PORT), which see this folder under the same path; "
        "learners that die are placed anew and go on from the last checkpoint",
    )
    parser.add_argument(
        "--learners", type=positive, metavar="N", help="processes that --ray places (default: 1)"
    )
    parser.set_defaults(takes_overrides=True)


def run(arguments: argparse.Namespace) -> None:
    """Read the recipe and train."""
    from tolman.learn.processes import is_first
    from tolman.learn.recipe import load_recipe, read_table
    from tolman.learn.stages import load_stages

    settings = overrides(arguments.rest)
    if arguments.learners is not None and arguments.ray is None:
        raise ValueError("--learners are placed by --ray; without it torchrun starts several processes")
    if arguments.ray is not None:
        folder = _train_on_cluster(load_stages(arguments.recipe, settings), arguments)
    elif "stages" in read_table(arguments.recipe):
        from tolman.learn.train import train_stages

        folder = _train_stages(load_stages(arguments.recipe, settings), arguments.resume, train_stages)
    else:
        folder = _train(load_recipe(arguments.recipe, settings), arguments.resume)
    if is_first():
        say(f"run folder: {folder}; tolman report {folder} makes a page of it")
        print(folder / "checkpoints" / "final")


def _train(recipe: Recipe, resume: bool) -> Path:
    from tolman.learn.train import train

    quiet_loading()
    with _bar(recipe.run.name) as show:
        return train(recipe, resume=resume, progress=partial(_progress, show, recipe.run.steps))


def _bar(title: str) -> AbstractContextManager[Callable[[int, int], None]]:
    """A progress bar; of several processes the first one's alone."""
    from tolman.learn.processes import is_first

    return progress_bar(title) if is_first() else nullcontext(lambda done, total: None)


def _train_on_cluster(stages: Sequence[Stage], arguments: argparse.Namespace) -> Path:
    from tolman.learn.placing import train_on

    place = partial(train_on, arguments.ray, learners=arguments.learners or 1)
    return _train_stages(stages, arguments.resume, place)


def _train_stages(stages: Sequence[Stage], resume: bool, run_stages: Callable[..., Path]) -> Path:
    """run_stages: `tolman.learn.train.train_stages`, or one that takes the same."""
    from tolman.learn.sections import Recipe

    quiet_loading()
    run_of = stages[0].run
    shown = run_of.name if len(stages) == 1 else ""
    with _bar(shown or Path(run_of.out).name) as show:

        def progress(stage: Stage, row: dict[str, Any]) -> None:
            nonlocal shown
            if stage.run.name != shown:
                shown = stage.run.name
                say(f"stage {shown}")
            _progress(show, stage.run.steps if isinstance(stage, Recipe) else int(row["steps"]), row)

        return run_stages(stages, resume=resume, progress=progress)


def _progress(show: Callable[[int, int], None], total: int, row: dict[str, Any]) -> None:
    show(int(row["step"]), total)
    if not sys.stderr.isatty() and (row["step"] == 1 or row["step"] % 10 == 0 or row["step"] == total):
        say(step_line(row, total))


def step_line(row: dict[str, Any], total: int) -> str:
    """The step and the figures people look at."""
    parts = [f"{key} {value:.4g}" for key, value in row.items() if key in _SHOWN and isinstance(value, float)]
    return f"step {row['step']}/{total}  {'  '.join(parts)}"


def overrides(rest: Sequence[str]) -> list[str]:
    """`--section.key value` and `--section.key=value` as `section.key=value`.

    Raises ValueError for anything else, and for a key without a value.
    """
    found = []
    words = list(rest)
    while words:
        word = words.pop(0)
        name, given, value = word.partition("=")
        if not name.startswith("--") or "." not in name:
            raise ValueError(f"unrecognised argument {word!r}; a recipe's key is set as --section.key value")
        if not given:
            if not words:
                raise ValueError(f"{word} has no value; write {word} VALUE")
            value = words.pop(0)
        found.append(f"{name[2:]}={value}")
    return found
