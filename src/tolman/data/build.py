"""Build a data set: scenes to clips, what each clip shows, and questions about it.

Every scene is one task with its own seeds, drawn from the data set's seed and the scene's id: neither the
number of workers nor the other scenes change a byte of it. Workers are started afresh (`spawn`) and never
import torch.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from pathlib import Path

from tolman.data.card import CARD_FILE, Filming, file_sha256, read_card, versions, write_card
from tolman.data.rows import clip_path, read_questions, write_questions
from tolman.data.scene_io import SCENES_FILE, read_scenes, scene_text, write_scenes
from tolman.data.sightings_io import Made, read_sightings, write_sightings
from tolman.data.views import make_views, write_views
from tolman.questions.ask import ask
from tolman.questions.question import Question
from tolman.render.film import film
from tolman.render.sightings import Sightings
from tolman.scenes import Scene
from tolman.video.encode import write_clip

QUESTIONS_FILE = "questions.jsonl"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}")
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True, eq=False)
class Dataset:
    """A built data set. Paths in the questions are relative to `folder`."""

    folder: Path
    scenes: list[Scene]
    questions: list[Question]

    def clip(self, question: Question) -> Path:
        """The question's clip."""
        return clip_path(question, self.folder)

    def sightings(self, scene_id: str) -> Sightings:
        """What the scene's clip shows. Raises ValueError naming the file that cannot be read."""
        return read_sightings(self.folder / "sightings" / f"{scene_id}.npz")[0]


def build_dataset(
    out: str | Path,
    scenes: Sequence[Scene],
    *,
    seed: int,
    frames: int = 32,
    size: tuple[int, int] = (448, 448),
    style: str | Sequence[str] = "walk",
    fps: float = 2.0,
    per_family: int | Mapping[str, int] = 4,
    workers: int = 2,
    questions: bool = True,
    views: bool = False,
    progress: Progress | None = None,
) -> Dataset:
    """Film every scene and ask about it; the same call gives the same bytes.

    Writes `clips/<scene id>.mp4`, `sightings/<scene id>.npz`, `scenes.jsonl`, `questions.jsonl` (not where
    `questions` is False) and `card.json` into the folder `out`, which is made where it is missing. frames,
    size, fps: as `film`. style: as `film`, or several that scenes take in turn. per_family: as `ask`.
    workers: processes; 1 films in this one. views: also write `views/<scene id>.npz`, what each part of each
    frame shows (`tolman.data.views`). progress: called with (scenes done, all scenes, "made" or "kept") after
    each.

    A call that was interrupted goes on where it stopped: a clip is kept if it is whole and was made with
    the same values from the same scene. Clips of other scenes in the folder are left alone.

    Raises ValueError for no scenes, ids that are repeated or cannot be file names, and a folder that cannot
    be written; a scene that fails is a ValueError or RuntimeError naming it. The card is written last.
    """
    out = Path(out)
    _check(scenes, workers)
    styles = (style,) if isinstance(style, str) else tuple(style)
    filming = Filming(seed, frames, (size[0], size[1]), styles, fps, versions())
    _prepare(out, views)
    asked: list[Question] = []
    tasks = [
        _Task(out, scene, filming, styles[k % len(styles)], per_family, questions, views)
        for k, scene in enumerate(scenes)
    ]
    for done, (kept, rows) in enumerate(_run(tasks, workers), start=1):
        asked.extend(rows)
        if progress is not None:
            progress(done, len(tasks), "kept" if kept else "made")
    files = [SCENES_FILE]
    write_scenes(out / SCENES_FILE, scenes)
    if questions:
        files.append(QUESTIONS_FILE)
        write_questions(out / QUESTIONS_FILE, asked)
    write_card(out, scenes, asked, filming, per_family, files)
    return Dataset(out, list(scenes), asked)


def load_dataset(folder: str | Path) -> Dataset:
    """Open a built data set; one without questions has an empty list.

    Raises ValueError naming the folder that has no card (it was not built, or not to the end), or the file
    and line that cannot be read.
    """
    folder = Path(folder)
    card = read_card(folder)
    questions = read_questions(folder / QUESTIONS_FILE) if card["questions"]["total"] else []
    return Dataset(folder, read_scenes(folder / SCENES_FILE), questions)


def scene_seed(seed: int, scene_id: str) -> int:
    """The seed of one scene's film and questions, 0 ≤ value < 2⁶³; independent of every other scene."""
    digest = hashlib.sha256(f"{seed}:{scene_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


@dataclass(frozen=True, eq=False)
class _Task:
    """All that a worker needs to make one scene."""

    out: Path
    scene: Scene
    filming: Filming
    style: str
    per_family: int | Mapping[str, int]
    questions: bool
    views: bool

    @property
    def views_file(self) -> Path:
        """Where the scene's views go."""
        return self.out / "views" / f"{self.scene.id}.npz"


def _run(tasks: Sequence[_Task], workers: int) -> Iterator[tuple[bool, list[Question]]]:
    """Results in the tasks' order."""
    if workers == 1:
        yield from map(_make, tasks)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(tasks)), mp_context=context) as pool:
        futures = [pool.submit(_make, task) for task in tasks]
        try:
            for task, future in zip(tasks, futures, strict=True):
                try:
                    yield future.result()
                except BrokenProcessPool as error:
                    raise RuntimeError(
                        f"a worker process was killed (out of memory?) at scene {task.scene.id} or a later "
                        "one; build again with fewer workers: finished clips are kept"
                    ) from error
        finally:
            for future in futures:
                future.cancel()


def _make(task: _Task) -> tuple[bool, list[Question]]:
    """Film (or keep) one scene and ask about it."""
    name = f"{task.scene.id}.mp4"
    try:
        made = Made(_digest(task), "")
        clip = task.out / "clips" / name
        record = task.out / "sightings" / f"{task.scene.id}.npz"
        sightings = _kept(clip, record, made) if task.views_file.is_file() or not task.views else None
        kept = sightings is not None
        if sightings is None:
            sightings = _film(task, clip, record, made)
        if not task.questions:
            return kept, []
        seed = scene_seed(task.filming.seed, task.scene.id)
        return kept, ask(task.scene, sightings, seed, path=f"clips/{name}", per_family=task.per_family)
    except ValueError as error:
        raise ValueError(f"scene {task.scene.id}: {error}") from error
    except Exception as error:  # whatever it is, the caller learns which of many scenes it was
        raise RuntimeError(f"scene {task.scene.id}: {type(error).__name__}: {error}") from error


def _film(task: _Task, clip: Path, record: Path, made: Made) -> Sightings:
    """Film one scene and write its clip, then the record that says the clip is whole."""
    shot = film(
        task.scene,
        scene_seed(task.filming.seed, task.scene.id),
        frames=task.filming.frames,
        size=task.filming.size,
        style=task.style,
        fps=task.filming.fps,
    )
    record.unlink(missing_ok=True)
    if task.views:
        write_views(task.views_file, make_views(task.scene, shot.ids_THW))
    write_clip(clip, shot.rgb_THWC, shot.fps)
    write_sightings(record, shot.sightings, Made(made.parameters, file_sha256(clip)))
    return shot.sightings


def _kept(clip: Path, record: Path, made: Made) -> Sightings | None:
    """The sightings of a clip that is whole and was made with the same parameters, or None."""
    if not (clip.is_file() and record.is_file()):
        return None
    try:
        sightings, found = read_sightings(record)
    except ValueError:  # damaged: made again, which is what the caller asks for
        return None
    return sightings if found == Made(made.parameters, file_sha256(clip)) else None


def _digest(task: _Task) -> str:
    """SHA-256 of everything that shapes a clip."""
    text = json.dumps(asdict(task.filming) | {"styles": task.style}, sort_keys=True) + scene_text(task.scene)
    return hashlib.sha256(text.encode()).hexdigest()


def _check(scenes: Sequence[Scene], workers: int) -> None:
    """Refuse what would fail later or overwrite itself."""
    if not scenes:
        raise ValueError("a data set needs at least one scene, got none")
    if workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}")
    for scene_id, count in Counter(scene.id for scene in scenes).items():
        if count > 1:
            raise ValueError(f"scene id {scene_id!r} occurs {count} times; ids name files and must be unique")
        if not _NAME.fullmatch(scene_id):
            raise ValueError(f"scene id {scene_id!r} cannot name a file; use letters, digits, `_`, `-`, `.`")


def _prepare(out: Path, views: bool) -> None:
    """Make the folders, and take away what would call an unfinished data set finished.

    Raises ValueError naming what cannot be made.
    """
    for folder in (out / name for name in ("clips", "sightings", *(["views"] if views else []))):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ValueError(f"{folder}: cannot be made: {error.strerror or error}") from error
    for name in (CARD_FILE, QUESTIONS_FILE):
        (out / name).unlink(missing_ok=True)
