"""The card of a built data set: what was made, and how."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tolman import __version__
from tolman.data.files import read_text, write_lines
from tolman.questions.question import Question
from tolman.scenes import Scene

CARD_FILE = "card.json"


@dataclass(frozen=True)
class Filming:
    """What every clip of a data set shares; a clip made with other values is made again.

    size: (height, width) in pixels. styles: taken in turn. fps: frames a second. versions: of the packages
    that shape the bytes.
    """

    seed: int
    frames: int
    size: tuple[int, int]
    styles: tuple[str, ...]
    fps: float
    versions: tuple[tuple[str, str], ...]


def versions() -> tuple[tuple[str, str], ...]:
    """(name, version) of the packages that shape a clip's bytes."""
    return ("tolman", __version__), *((name, version(name)) for name in ("av", "embreex", "numpy"))


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_card(
    out: Path,
    scenes: Sequence[Scene],
    questions: Sequence[Question],
    filming: Filming,
    per_family: int | Mapping[str, int],
    files: Sequence[str],
) -> None:
    """Write `card.json` into `out`: how the clips were made, counts, and digests of `files` (names in `out`).

    Neither a path nor the time of day is in it: the same data set has the same card.
    """
    clips = [out / "clips" / f"{scene.id}.mp4" for scene in scenes]
    card: dict[str, Any] = {
        "seed": filming.seed,
        "styles": list(filming.styles),
        "fps": filming.fps,
        "frames": filming.frames,
        "size": list(filming.size),
        "per_family": per_family if isinstance(per_family, int) else dict(sorted(per_family.items())),
        "scenes": {"total": len(scenes), "sources": dict(sorted(Counter(s.source for s in scenes).items()))},
        "clips": {"total": len(clips), "bytes": sum(clip.stat().st_size for clip in clips)},
        "questions": {
            "total": len(questions),
            "families": dict(sorted(Counter(q.question_type for q in questions).items())),
        },
        "sha256": {name: file_sha256(out / name) for name in files},
        "versions": dict(filming.versions),
    }
    write_lines(out / CARD_FILE, [json.dumps(card, indent=2, ensure_ascii=False)])


def read_card(folder: Path) -> dict[str, Any]:
    """The card of a data set folder.

    Raises ValueError naming the folder that has none (not a data set, or not built to its end), or a
    damaged card.
    """
    path = folder / CARD_FILE
    if not path.is_file():
        raise ValueError(f"{folder}: no {CARD_FILE}; not a data set, or not built to its end: build it again")
    try:
        card = json.loads(read_text(path))
        if not isinstance(card["questions"]["total"], int):
            raise ValueError("`questions.total` is not a number")
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: not a data set's card: {error}") from error
    assert isinstance(card, dict)
    return card
