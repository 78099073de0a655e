"""Several benchmarks in one folder of data: which they are, where each belongs, and what is missing there.

DATA/vsibench, DATA/stibench, …: question files as they are published, with the clips beside them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tolman.bench.benchmark import IN_TABLE, Benchmark, find_benchmark
from tolman.bench.frames import image_files, part_of
from tolman.bench.load import load_questions, missing_files, question_files, question_of
from tolman.bench.pictures import unpack_images
from tolman.data.rows import clip_path
from tolman.questions.question import Question
from tolman.video.errors import ClipError

SUITES = {
    "all6": (
        "vsibench",
        "stibench",
        "sparbench",
        "videomme",
        "tempcompass_multi_choice",
        "tempcompass_yes_no",
        "tempcompass_caption_matching",
        "longvideobench",
    )
}
"""all6: what SpaceR reports (arXiv 2504.01805); TempCompass by its tasks, less captioning, which has no rule
but a judge's."""


class Incomplete(ValueError):
    """Benchmarks whose files are not all there. told: of each, what is missing and what to download."""

    def __init__(self, told: Sequence[str], count: int) -> None:
        self.told = list(told)
        listed = "; ".join(f"({k}) {one}" for k, one in enumerate(told, 1))
        super().__init__(f"{len(told)} of {count} benchmarks are not complete: {listed}")


@dataclass(frozen=True)
class Part:
    """One benchmark of several. root: its folder, which the questions' paths are relative to. absent: clips
    that are not there, each once.
    """

    entry: Benchmark
    root: Path
    questions: list[Question]
    absent: list[str]


def suite_names(text: str) -> list[str]:
    """The benchmarks that a suite's name, or several names with commas between, stand for; each once.

    Raises ValueError for a name of neither, listing both.
    """
    names: list[str] = []
    for name in text.split(","):
        for one in SUITES.get(name.strip(), (name,)):
            try:
                names.append(find_benchmark(one).name)
            except ValueError as error:
                raise ValueError(f"{error}; and suites: {', '.join(SUITES)}") from error
    return list(dict.fromkeys(names))


Choose = Callable[[Sequence[Question]], list[Question]]


def read_suite(
    names: Sequence[str], data: Path, choose: Choose = list, absent_too: bool = False
) -> list[Part]:
    """Each benchmark's questions, with the paths of their clips as they lie in its folder (`located`).

    Images that lie in a table are written beside it first. choose: which questions. absent_too: take clips
    that are not there as they come; they will be rows without an answer. Raises Incomplete, which says of
    every benchmark what is missing and what to download, before anything else is done.
    """
    parts: list[Part] = []
    missing: list[str] = []
    for name in names:
        entry = find_benchmark(name)
        try:
            parts.append(_read(entry, data / (entry.folder or entry.name), choose))
        except ValueError as error:
            missing.append(str(error))
            continue
        if parts[-1].absent and not absent_too:
            missing.append(_told(parts[-1]))
    if missing:
        raise Incomplete(missing, len(names))
    return parts


def located(questions: Sequence[Question], root: Path) -> tuple[list[Question], list[str]]:
    """The questions with the paths of their clips as they are there, and those that are not there, each once.

    A file is where its row says, or, however its archive was unpacked, wherever below `root` a single file
    has its name. Raises ValueError for paths outside `root`.
    """
    by_name: dict[str, list[str]] | None = None
    known: dict[str, str | None] = {}
    found, absent = [], []
    for question in questions:
        parts = question.path.split("|") if question.data_type == "images" else [question.path]
        for part in parts:
            if part not in known:
                file = part_of(part)[0]
                place = clip_path(replace(question, path=file), root)
                if place.exists():
                    known[part] = part
                else:
                    by_name = _below(root) if by_name is None else by_name
                    same = by_name.get(place.name, [])
                    known[part] = same[0] + part.removeprefix(file) if len(same) == 1 else None
                    absent += [part] if known[part] is None else []
        found.append(replace(question, path="|".join(known[part] or part for part in parts)))
    return found, absent


def _below(root: Path) -> dict[str, list[str]]:
    places: dict[str, list[str]] = {}
    for file in root.rglob("*"):  # a folder may hold a clip's frames
        places.setdefault(file.name, []).append(file.relative_to(root).as_posix())
    return places


def placed(entry: Benchmark, where: str | Path, questions: Sequence[Question], root: Path) -> Part:
    """Questions of the files at `where` with their clips below `root` (`located`); images that lie in a table
    are written there first.
    """
    if entry.clips == IN_TABLE and not all(_unpacked(root, question) for question in questions):
        files = question_files(entry, where)
        unpack_images(files, lambda path, number, row: question_of(entry, path, number, row), root)
    return Part(entry, root, *located(questions, root))


def _read(entry: Benchmark, root: Path, choose: Choose) -> Part:
    if not root.is_dir():
        raise ValueError(missing_files(entry, root))
    return placed(entry, root, choose(load_questions(entry.name, root)), root)


def _unpacked(root: Path, question: Question) -> bool:
    try:
        return all((root / file).is_file() for file in image_files(root, question.path))
    except ClipError:
        return False


def _told(part: Part) -> str:
    entry, absent = part.entry, part.absent
    total = len({path for question in part.questions for path in question.path.split("|")})
    source = f"unpack {entry.clips}" if entry.clips not in ("", IN_TABLE) else "they come with the questions"
    return (
        f"{part.root}: {len(absent)} of {total} clips of {entry.title} are missing ({', '.join(absent[:3])}"
        f"{', …' if len(absent) > 3 else ''}): {source} there (from {entry.source})"
    )
