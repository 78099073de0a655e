"""`tolman data`: build a data set, audit a file's answers, validate rows against a recipe's rewards."""

from __future__ import annotations

import argparse
from pathlib import Path

from tolman.cli import film_command, scenes_command
from tolman.cli.shared import Subparsers, add_command, add_json, positive, print_table, write_json

_SHOWN = 20


def register(commands: Subparsers) -> None:
    """Add the commands."""
    data = commands.add_parser(
        "data", help="build, audit and validate data sets", description="Data sets of clips and questions."
    )
    inner = data.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _register_build(inner)
    _register_audit(inner)
    _register_validate(inner)


def _register_build(inner: Subparsers) -> None:
    build = add_command(
        inner,
        "build",
        "make rooms, film them and ask, in one go",
        "Make N procedural rooms, film them and ask questions: tolman scenes make and tolman film in one. "
        "Writes clips/, sightings/, scenes.jsonl, questions.jsonl and card.json into DIR.",
        "tolman data build 200 --difficulty 1 --style overhead --frames 16 --size 112 --out data/rooms",
        run_build,
    )
    build.add_argument("count", type=positive, metavar="N", help="how many rooms")
    build.add_argument(
        "--difficulty", type=int, choices=range(4), default=1, help="0 … 3 (default: %(default)s)"
    )
    film_command.add_dataset(build)


def _register_audit(inner: Subparsers) -> None:
    audit = add_command(
        inner,
        "audit",
        "recompute the answers of a question file",
        "Recompute the answer to every question of a file from the scenes it is about, and report per "
        "task how many there are (total), how many the scenes answer (computable) and how many agree. "
        "QUESTIONS: VSI-Bench's layout or rows of ours. Prints a table; --json writes the counts, each "
        "disagreement, and each row that could not be computed, with the reason.",
        "tolman data audit scenes_arkitscenes.json questions_arkitscenes.json --json audit.json",
        run_audit,
    )
    audit.add_argument("scenes", type=Path, metavar="SCENES", help="file or folder of scenes")
    audit.add_argument("questions", type=Path, metavar="QUESTIONS", help="questions with their answers")
    add_json(audit)


def _register_validate(inner: Subparsers) -> None:
    validate = add_command(
        inner,
        "validate",
        "check that every right answer earns full marks",
        "Give every row's own answer to the rewards of a recipe. Rows that do not earn full marks are "
        "listed with the reason; the exit status is then 2. Training refuses such rows unless the recipe "
        "drops them.",
        "tolman data validate data/rooms/questions.jsonl --recipe recipes/grpo.toml",
        run_validate,
    )
    validate.add_argument("questions", type=Path, metavar="FILE", help="questions")
    validate.add_argument(
        "--recipe", type=Path, required=True, metavar="RECIPE", help="recipe with the rewards"
    )
    add_json(validate)


def run_build(arguments: argparse.Namespace) -> None:
    """Make rooms and film them."""
    rooms = scenes_command.procedural(arguments.count, arguments.seed, arguments.difficulty)
    film_command.build(arguments, rooms)


def run_audit(arguments: argparse.Namespace) -> None:
    """Recompute, print, write."""
    from tolman.data.audit import audit, read_audit_rows
    from tolman.data.scene_io import read_scenes

    rows = read_audit_rows(arguments.questions)
    report = audit(read_scenes(arguments.scenes), rows)
    lines = []
    for name, task in [*report.tasks.items(), ("all", report.sum)]:
        rate = "–" if task.rate is None else f"{100 * task.rate:.1f} %"
        lines.append([name, task.total, task.computable, task.agree, rate])
    print_table("Answers recomputed", ["task", "total", "computable", "agree", "rate"], lines, total=True)
    for row in report.disagreements[:_SHOWN]:
        print(
            f"{row.scene} {row.id}: {' '.join(row.question.split())}\n  theirs {row.theirs}, ours {row.ours}"
        )
    if len(report.disagreements) > _SHOWN:
        print(f"… {len(report.disagreements) - _SHOWN} more disagreements (--json lists all)")
    write_json(arguments.json, report.to_json())


def run_validate(arguments: argparse.Namespace) -> None:
    """Grade the gold answers."""
    raise NotImplementedError
