"""`tolman compare`: two runs over the same questions."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tolman.cli.shared import Subparsers, add_command, add_json, percent, positive, print_table, write_json

if TYPE_CHECKING:
    from tolman.bench.comparison import Line


def register(commands: Subparsers) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "compare",
        "compare two runs over the same questions",
        "Print what changed from A to B, per task and overall: the difference in percent points, its 95 % "
        "interval and p by the paired bootstrap over clips, rows won and lost with the exact sign test "
        "(McNemar's, for scores of 0 and 1). A and B are folders of tolman eval, or files of predictions; "
        "files without scores are scored first. Rows are matched by id. Exits with 2 where the questions "
        "differ.",
        "tolman compare runs/base runs/trained",
        run,
    )
    parser.add_argument("before", type=Path, metavar="A", help="folder or file of the first run")
    parser.add_argument("after", type=Path, metavar="B", help="folder or file of the second run")
    parser.add_argument("--benchmark", help="benchmark (default: A's own, else vsibench)")
    parser.add_argument(
        "--rule", help="score both anew by this rule (default: their scores, else the official rule)"
    )
    parser.add_argument(
        "--resamples", type=positive, default=10_000, help="draws of the bootstrap (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the bootstrap (default: %(default)s)")
    add_json(parser)


def run(arguments: argparse.Namespace) -> None:
    """Read, score where there are no scores, compare, print."""
    from tolman.bench.benchmark import find_benchmark
    from tolman.bench.comparison import compare_runs
    from tolman.bench.predictions import own_benchmark

    benchmark = find_benchmark(arguments.benchmark or own_benchmark(arguments.before)).name
    before = _scored(arguments.before, benchmark, arguments.rule)
    after = _scored(arguments.after, benchmark, arguments.rule)
    found = compare_runs(before, after, benchmark, seed=arguments.seed, draws=arguments.resamples)
    lines = [_cells(task, line) for task, line in found.tasks.items()]
    print_table(
        f"{arguments.before} → {arguments.after} on {benchmark}",
        ["task", "n", "A", "B", "B - A", "95 %", "p", "won", "lost", "sign test"],
        [*lines, _cells("overall", found.overall)],
        total=True,
    )
    if found.skipped:
        print(f"{found.skipped} questions could not be graded in both runs and count nowhere.")
    write_json(arguments.json, {"benchmark": benchmark} | found.to_json())


def _cells(task: str, line: Line) -> list[object]:
    moved: list[object] = ["–", "–", "–"]
    if line.difference is not None and line.p is not None:
        moved = [f"{line.difference:+.1f}", f"{line.low:+.1f} … {line.high:+.1f}", f"{line.p:.2g}"]
    ends = [percent(line.before), percent(line.after)]
    return [task, line.n, *ends, *moved, line.won, line.lost, f"{line.sign_p:.2g}"]


def _scored(place: Path, benchmark: str, rule: str | None) -> list[dict[str, Any]]:
    """The rows of a run, with scores (a score of null is NaN)."""
    from tolman.bench.predictions import read_predictions
    from tolman.bench.rows import read_rows
    from tolman.bench.score import score_rows

    rows = read_predictions(place / "predictions.jsonl") if place.is_dir() else read_rows(place)
    if rule is not None or not all("score" in row for row in rows):
        return score_rows(rows, benchmark, rule or "official").rows
    return [row | ({"score": math.nan} if row["score"] is None else {}) for row in rows]
