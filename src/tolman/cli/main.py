"""The `tolman` command. Each subcommand has a module of its own, which imports its work when it runs."""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

import tolman
from tolman.cli import (
    compare_command,
    data_command,
    eval_command,
    film_command,
    model_command,
    plan_command,
    quickstart_command,
    report_command,
    scenes_command,
    score_command,
    train_command,
)
from tolman.cli.shared import manual

_COMMANDS = (
    quickstart_command,
    scenes_command,
    film_command,
    data_command,
    model_command,
    plan_command,
    train_command,
    eval_command,
    score_command,
    compare_command,
    report_command,
)
_ABOUT = """Teach vision-language models to reason about space from video, and measure whether they do.

A first look:      tolman quickstart
Your own way:      tolman scenes make → tolman film → tolman train → tolman eval → tolman report
"""


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = argparse.ArgumentParser(
        prog="tolman",
        description=_ABOUT,
        epilog="tolman COMMAND --help explains a command, with an example and what it writes where.",
        formatter_class=manual,
    )
    parser.add_argument("--version", action="version", version=f"tolman {tolman.__version__}")
    parser.add_argument(
        "--full-traceback", action="store_true", help="show where an error came from, not only what it says"
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for module in _COMMANDS:
        module.register(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status.

    0: done. 2: something the user can mend, said in one line on standard error. 130: interrupted. A fault of
    ours ends in its traceback.
    """
    parser = build_parser()
    arguments, rest = parser.parse_known_args(argv)
    arguments.rest = rest
    if rest and not getattr(arguments, "takes_overrides", False):
        parser.error(f"unrecognised arguments: {' '.join(rest)}")
    try:
        arguments.run(arguments)
    except (ValueError, OSError) as error:
        if arguments.full_traceback or not _is_for_the_user(error):
            raise
        print(f"tolman: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("tolman: interrupted", file=sys.stderr)
        return 130
    return 0


def _is_for_the_user(error: Exception) -> bool:
    """Whether an error is a message of ours or of the file system, not a fault inside a library we called."""
    if isinstance(error, OSError):
        return True
    frames = traceback.extract_tb(error.__traceback__)
    home = Path(tolman.__file__).resolve().parent
    return Path(frames[-1].filename).resolve().is_relative_to(home)


if __name__ == "__main__":
    sys.exit(main())
