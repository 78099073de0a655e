"""`tolman report`: one page about a run."""

from __future__ import annotations

import argparse
from pathlib import Path

from tolman.cli.shared import Subparsers, add_command, add_isolate


def register(commands: Subparsers) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "report",
        "write one page about a run",
        "Write report.html into a run folder: results, curves, frames and maps, rollouts, skipped clips, "
        "recipe. The page is one file that asks no server for anything, made only of what the folder "
        "holds.",
        "tolman report runs/quickstart",
        run,
    )
    parser.add_argument("folder", type=Path, metavar="RUN", help="run folder")
    add_isolate(parser)


def run(arguments: argparse.Namespace) -> None:
    """Write the page."""
    from tolman.report.page import write_report

    print(write_report(arguments.folder, arguments.isolate))
