"""`tolman film`: scenes to clips and questions."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from tolman.cli.shared import Subparsers, add_command, add_filming, positive, progress_bar, say

if TYPE_CHECKING:
    from tolman.data.build import Dataset
    from tolman.scenes import Scene


def register(commands: Subparsers) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "film",
        "film scenes and ask questions about the clips",
        "Film every scene of a file and ask questions about what the clip shows. SCENES is a .jsonl of "
        "ours or VSI-Bench's scene metadata (.json). Writes clips/, sightings/, scenes.jsonl, "
        "questions.jsonl and card.json into DIR. An interrupted build goes on where it stopped; the same "
        "call gives the same bytes.",
        "tolman film rooms.jsonl --out data/rooms --style walk --frames 32 --size 448",
        run,
    )
    parser.add_argument("scenes", type=Path, nargs="+", metavar="SCENES", help="files or folders of scenes")
    add_dataset(parser)


def add_dataset(parser: argparse.ArgumentParser) -> None:
    """Options of every command that builds a data set."""
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the data set")
    add_filming(parser, 32, "448")
    parser.add_argument(
        "--seed", type=int, default=0, help="seed of cameras and questions (default: %(default)s)"
    )
    parser.add_argument(
        "--per-family",
        type=positive,
        default=4,
        help="most questions of a kind per clip (default: %(default)s)",
    )
    parser.add_argument(
        "--views",
        action="store_true",
        help="also write views/: which item covers which part of each frame, for the dense objective",
    )


def run(arguments: argparse.Namespace) -> None:
    """Read the scenes and build."""
    from tolman.data.scene_io import read_scenes

    build(arguments, [scene for place in arguments.scenes for scene in read_scenes(place)])


def build(arguments: argparse.Namespace, scenes: list[Scene]) -> Dataset:
    """Build a data set by a command's options, with a progress bar, and say what there is."""
    from tolman.data.build import build_dataset

    with progress_bar("filming") as show:
        dataset = build_dataset(
            arguments.out,
            scenes,
            seed=arguments.seed,
            frames=arguments.frames,
            size=arguments.size,
            style=arguments.style,
            fps=arguments.fps,
            per_family=arguments.per_family,
            workers=arguments.workers,
            views=arguments.views,
            progress=lambda done, total, _: show(done, total),
        )
    say(f"{len(dataset.scenes)} clips and {len(dataset.questions)} questions in {arguments.out}")
    return dataset
