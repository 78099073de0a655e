"""`tolman data`: build a data set, audit a file's answers, validate rows against a recipe's rewards."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING

from tolman.cli import film_command, scenes_command
from tolman.cli.shared import Subparsers, add_command, add_json, print_table, write_json

if TYPE_CHECKING:
    from tolman.learn.stages import Stage
    from tolman.questions.question import Question
    from tolman.reward.graded import Reward

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
    scenes_command.add_rooms(build)
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
        "check that every right answer earns full marks, and a wrong one does not",
        "Give every row's own answer to the rewards of a recipe. It must earn full accuracy, be gradable by "
        "every reward, and a wrong answer must not earn as much. Rows that fail, and lines that are no rows, "
        "are listed with the reason, and the exit status is 2. FILE: rows of ours, SpaceR-151k, Video-R1 or "
        "OneThinker. Training refuses rows whose answer falls short unless the recipe says "
        "data.drop_bad_gold. Of a recipe's stages the last one with rewards counts, with what its [data] "
        "leaves out.",
        "tolman data validate data/rooms/questions.jsonl --recipe recipes/spacer-starter.toml",
        run_validate,
    )
    validate.add_argument("questions", type=Path, metavar="FILE", help="questions")
    validate.add_argument(
        "--recipe", type=Path, metavar="RECIPE", help="recipe with the rewards (default: accuracy alone)"
    )
    add_json(validate)


def run_build(arguments: argparse.Namespace) -> None:
    """Make rooms and film them."""
    rooms = scenes_command.procedural(arguments)
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
    """Grade the gold answers; raises ValueError where any row is broken or falls short."""
    from tolman.data.rows import read_rows
    from tolman.data.validate import validate

    judge, stage = _judge(arguments.recipe)
    rows, broken = read_rows(arguments.questions)
    kept = _filtered(rows, stage, str(arguments.questions))
    report = validate(kept, judge)
    listed = [f"line {row.line}: {row.reason}" for row in broken]
    listed += [f"{row.problem_id}: {_mark(row.value)}: {row.reason}" for row in report.failures]
    for line in listed[:_SHOWN]:
        print(line)
    if len(listed) > _SHOWN:
        print(f"… {len(listed) - _SHOWN} more (--json lists all)")
    if left_out := len(rows) - len(kept):
        print(f"rows that {arguments.recipe} leaves out: {left_out}")
    total = report.total + len(broken)
    counts = {"total": total, "passed": report.passed, "left_out": left_out}
    failures = [failure._asdict() for failure in report.failures]
    write_json(arguments.json, {**counts, "broken": [row._asdict() for row in broken], "failures": failures})
    if listed:
        raise ValueError(f"{len(listed)} of {total} rows of {arguments.questions} fail")
    print(f"{report.passed} of {total} rows pass")


def _mark(value: float) -> str:
    return "no grade" if math.isnan(value) else f"{value:.3g}"


def _filtered(rows: list[Question], stage: Stage | None, source: str) -> list[Question]:
    """Those that the recipe's stage learns from, with their maps; all of them without a recipe."""
    if stage is None:
        return rows
    from tolman.learn.corpus import filtered

    return filtered(rows, stage.data, source)


def _judge(recipe: Path | None) -> tuple[Reward, Stage | None]:
    """The least that the rewards of a recipe's last stage give the answer, NaN where any cannot grade, and
    that stage.

    Accuracy alone without a recipe.
    """
    from tolman.reward.accuracy import accuracy
    from tolman.reward.graded import Graded

    if recipe is None:
        return accuracy(), None
    from tolman.data.validate import answer_rewards
    from tolman.learn.recipe import make_rewards
    from tolman.learn.stages import load_stages

    graded = [stage for stage in load_stages(recipe) if stage.rewards]
    if not graded:
        raise ValueError(f"{recipe} rewards nothing")
    stage = graded[-1]
    composed = make_rewards(stage, str(recipe))

    def grade(completion: str, question: Question) -> Graded:
        grading = composed.grade(completion, question)
        for name, graded in grading.parts.items():
            if graded.ungraded:
                return Graded(graded.value, f"{name}: {graded.reason}")
        verdicts = [reward(completion, question) for reward in answer_rewards(composed, question)]
        return min(verdicts, key=lambda verdict: verdict.value)

    return grade, stage
