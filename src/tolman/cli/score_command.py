"""`tolman score`: score a file of predictions."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from tolman.cli.shared import Subparsers, add_command, add_json, print_figures, say, write_json

if TYPE_CHECKING:
    from tolman.bench.score import Scored


def register(commands: Subparsers) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "score",
        "score a file of predictions",
        "Score predictions by a benchmark's rule. FILE (JSON lines or a JSON array) has per row id, "
        "question_type, ground_truth, options and prediction. --rows gets every row with its score and "
        "the answer that was read; --json the figures in percent: overall, its stderr, and per task. Rows "
        "that carry peer_score (and peer_extracted) are compared with it: the JSON then counts how many "
        "agree.",
        "tolman score predictions.jsonl --rule official --rows scored.jsonl --json scores.json",
        run,
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="predictions")
    parser.add_argument("--benchmark", default="vsibench", help="benchmark (default: %(default)s)")
    parser.add_argument(
        "--rule",
        default="official",
        help="official, or strict: ours, which reads with care (default: %(default)s)",
    )
    parser.add_argument("--rows", type=Path, metavar="FILE", help="write the scored rows to FILE")
    add_json(parser)


def run(arguments: argparse.Namespace) -> None:
    """Read, score, print, write."""
    from tolman.bench.figures import figures_of
    from tolman.bench.rows import read_rows, write_rows
    from tolman.bench.score import score_rows

    scored = score_rows(read_rows(arguments.file), arguments.benchmark, arguments.rule)
    figures = figures_of(scored.rows)
    names = {"benchmark": arguments.benchmark, "rule": arguments.rule}
    print_figures(f"{arguments.file.name} by the {arguments.rule} rule of {arguments.benchmark}", figures)
    agreement = agreeing(scored)
    if agreement is not None:
        print(f"{agreement} of {len(scored.rows)} rows agree with the peer's.")
    if arguments.rows is not None:
        write_rows(arguments.rows, scored.rows)
        say(f"scored rows in {arguments.rows}")
    agree = {} if agreement is None else {"agree": agreement}
    write_json(arguments.json, names | figures.to_json() | agree | {"aggregate": scored.aggregate})


def agreeing(scored: Scored) -> int | None:
    """Rows whose `peer_score` (and `peer_extracted`, where given) equal ours; None where no row has one."""
    known = [row for row in scored.rows if "peer_score" in row]
    if not known:
        return None
    return sum(
        bool(
            abs(row["score"] - row["peer_score"]) < 1e-9
            and row.get("peer_extracted", row["extracted"]) == row["extracted"]
        )
        for row in known
    )
