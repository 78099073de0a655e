"""`tolman scenes make`: procedural rooms."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from tolman.cli.shared import Subparsers, add_command, difficulties, positive, say, sides

if TYPE_CHECKING:
    from tolman.scenes import Scene


def register(commands: Subparsers) -> None:
    """Add the command."""
    scenes = commands.add_parser(
        "scenes",
        help="make procedural rooms",
        description="Layouts of rooms with furniture, without pictures.",
    )
    inner = scenes.add_subparsers(title="commands", metavar="COMMAND", required=True)
    parser = add_command(
        inner,
        "make",
        "make procedural rooms",
        "Make N furnished rooms and write them to a file, one JSON object per line. The same seed gives "
        "the same rooms. Film them with tolman film.",
        "tolman scenes make 100 --seed 7 --difficulty 1 --out rooms.jsonl",
        run,
    )
    add_rooms(parser)
    parser.add_argument("--seed", type=int, default=0, help="seed of the first room (default: %(default)s)")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.jsonl", help="file to write")


def add_rooms(parser: argparse.ArgumentParser) -> None:
    """How many rooms, and how hard."""
    parser.add_argument("count", type=positive, metavar="N", help="how many rooms")
    parser.add_argument(
        "--difficulty",
        type=difficulties,
        default=(1,),
        metavar="LEVEL[,…]",
        help="0: a few big items in a small rectangle … 3: crowded, also L-shaped; several are taken in turn "
        "(default: 1)",
    )
    parser.add_argument(
        "--side",
        type=sides,
        metavar="LEAST,MOST",
        help="metres of a room's sides, 6,9 for halls (default: by difficulty, from 3 to 5 up to 5 to 9)",
    )


def run(arguments: argparse.Namespace) -> None:
    """Make and write the rooms."""
    from tolman.data.scene_io import write_scenes

    if arguments.out.suffix != ".jsonl":
        raise ValueError(f"--out must end in .jsonl, got {arguments.out}")
    rooms = procedural(arguments)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    write_scenes(arguments.out, rooms)
    say(f"{len(rooms)} rooms with {sum(len(room.items) for room in rooms)} items in {arguments.out}")


def procedural(arguments: argparse.Namespace) -> list[Scene]:
    """Rooms of consecutive seeds, the levels of difficulty taken in turn."""
    from tolman.scenes.generate import generate_scene

    levels, first = arguments.difficulty, arguments.seed
    return [
        generate_scene(first + k, levels[k % len(levels)], arguments.side) for k in range(arguments.count)
    ]
