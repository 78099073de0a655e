"""`tolman quickstart`: the whole way once, small."""

from __future__ import annotations

import argparse
from pathlib import Path

from tolman.cli.shared import Subparsers, add_command, add_json


def register(commands: Subparsers) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "quickstart",
        "the whole way once, in minutes, on a CPU",
        "Film halls, larger than the rooms the embedded policy learnt from; measure it there, train it "
        "with verifiable rewards, measure it again on halls it has not seen, and write a page about it. "
        "Nothing is downloaded. Everything lands in DIR; open its report.html.",
        "tolman quickstart --seed 0 --out runs/quickstart",
        run,
    )
    parser.add_argument("--seed", type=int, default=0, help="everything random follows from it (default: 0)")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("runs/quickstart"),
        metavar="DIR",
        help="run folder (default: %(default)s)",
    )
    add_json(parser)


def run(arguments: argparse.Namespace) -> None:
    """Hand over to the quickstart itself."""
    from tolman.cli.quickstart import quickstart

    quickstart(seed=arguments.seed, out=arguments.out, json_file=arguments.json)
