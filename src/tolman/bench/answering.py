"""From tasks (a clip and the questions about it) to answers: clips are read while the model answers.

This is what one process does, be it the only one or a worker (`tolman.bench.workers`): a thread takes batches
of tasks as they come and has their clips read, so that those of the next batch are there when the model has
answered about the last one.
"""

from __future__ import annotations

import math
import queue
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from tolman.bench.backends.backend import Backend, Reply, Request
from tolman.bench.frames import Images, Reader, Sampling, Shown, show, show_images
from tolman.video.errors import ClipError
from tolman.video.isolation import IsolatedReader

_AHEAD = 1  # batches whose clips are read beside the one that is answered
_READERS = 2  # threads that read clips


class Task(NamedTuple):
    """Questions about one clip. path: the clip, or images, relative to the root; None: nothing is shown.

    images: whether the path is that of images. asked: (number, words of the user's turn) of each question.
    """

    path: str | None
    images: bool
    asked: tuple[tuple[int, str], ...]


@dataclass(frozen=True)
class Showing:
    """How tasks are shown and asked, the same for all of them; arguments of `tolman.bench.evaluate.evaluate`.

    root: folder that paths are relative to.
    """

    root: Path
    sampling: Sampling
    clip_source: str
    seed: int
    max_new_tokens: int
    isolate: bool = False


class Answer(NamedTuple):
    """number: the question's. seen: what a row says of what was shown."""

    number: int
    reply: Reply
    seen: Mapping[str, Any]


Batch = tuple[Task, ...]
Keep = Callable[[Answer], None]


def plan(tasks: Iterable[Task], batch: int) -> list[Batch]:
    """Tasks in batches of at most `batch` questions, in order.

    Questions about one clip stay in one batch, where they share its pass through the towers. A clip with more
    than `batch` of them is asked in equal parts.
    """
    batches: list[Batch] = []
    gathered: list[Task] = []
    for task in tasks:
        size = math.ceil(len(task.asked) / math.ceil(len(task.asked) / batch))
        for at in range(0, len(task.asked), size):
            part = task._replace(asked=task.asked[at : at + size])
            if sum(len(one.asked) for one in gathered) + len(part.asked) > batch:
                batches.append(tuple(gathered))
                gathered = []
            gathered.append(part)
    return [*batches, tuple(gathered)] if gathered else batches


def answer(backend: Backend, showing: Showing, batches: Iterable[Batch], keep: Keep) -> None:
    """Call `keep` with the answer to each question, as they come, in this thread.

    batches: taken one after the other; a batch is answered even where the next one is long in coming. A clip
    that cannot be read leaves its questions without an answer, with the reason. Raises as `batches` and
    `Backend.replies` do.
    """

    def requests() -> Generator[list[Request], None, None]:
        for looked in read_ahead(showing, batches):
            gathered: list[Request] = []
            for task, shown in looked:
                if isinstance(shown, ClipError):
                    _unreadable(task, shown, keep)
                else:
                    gathered += [Request(number, words, shown) for number, words in task.asked]
            if gathered:
                yield gathered

    coming = requests()
    try:
        for request, reply in backend.replies(coming, showing.max_new_tokens):
            keep(Answer(request.number, reply, seen(request.shown)))
    finally:
        coming.close()


Looked = tuple[Task, Shown | Images | ClipError | None]


def read_ahead(showing: Showing, batches: Iterable[Batch]) -> Iterator[list[Looked]]:
    """Each batch with what its tasks show (None: nothing; an error in place of what cannot be read), while
    threads read the next one's. Raises what `batches` raises, in its place.
    """
    room, stop = threading.Semaphore(_AHEAD + 1), threading.Event()
    coming: queue.SimpleQueue[list[tuple[Task, Future[Any]]] | BaseException | None] = queue.SimpleQueue()
    with ThreadPoolExecutor(_READERS) as readers:
        look = _looking(showing)

        def feed() -> None:
            last: tuple[Task | None, Future[Any] | None] = (None, None)
            try:
                for batch in batches:
                    room.acquire()
                    if stop.is_set():
                        return
                    reading = []
                    for task in batch:
                        # a clip that goes on from the last batch is not read anew
                        same = last[1] if last[0] is not None and last[0][:2] == task[:2] else None
                        reading.append((task, same or readers.submit(look, task)))
                    last = reading[-1]
                    coming.put(reading)
            except BaseException as error:  # raised again below, in the thread that waits for it
                coming.put(error)
            else:
                coming.put(None)

        # a daemon, since nobody can end it while it waits for the next batch
        threading.Thread(target=feed, daemon=True).start()
        try:
            while (got := coming.get()) is not None:
                if isinstance(got, BaseException):
                    raise got
                yield [(task, future.result()) for task, future in got]
                room.release()
        finally:
            stop.set()
            room.release()
            readers.shutdown(cancel_futures=True)


def _looking(showing: Showing) -> Callable[[Task], Shown | Images | ClipError | None]:
    """What reads a task's clip; where readers are isolated, each thread has one of its own."""
    local = threading.local()

    def reader() -> Reader | None:
        if not showing.isolate:
            return None
        if not hasattr(local, "reader"):
            local.reader = IsolatedReader()
        read: Reader = local.reader.read
        return read

    def look(task: Task) -> Shown | Images | ClipError | None:
        if task.path is None:
            return None
        shower = show_images if task.images else show
        try:
            return shower(
                showing.root, task.path, showing.sampling, showing.clip_source, showing.seed, reader()
            )
        except ClipError as error:
            return error

    return look


def seen(shown: Shown | Images | None) -> dict[str, Any]:
    """frames: how many; frame_times: seconds in the file, in the order shown; frame_size: height, width (of
    images a list of each one's, and no times).
    """
    if shown is None:
        return {"frames": 0, "frame_times": [], "frame_size": None}
    if isinstance(shown, Images):
        sizes = [list(rgb.shape[:2]) for rgb in shown.rgb]
        return {"frames": len(sizes), "frame_times": [], "frame_size": sizes}
    return {
        "frames": len(shown.rgb_THWC),
        "frame_times": [round(float(time), 3) for time in shown.source_T],
        "frame_size": list(shown.rgb_THWC.shape[1:3]),
    }


def numbers_of(batch: Sequence[Task]) -> list[int]:
    """The questions of a batch."""
    return [number for task in batch for number, _ in task.asked]


def _unreadable(task: Task, error: ClipError, keep: Keep) -> None:
    for number, _ in task.asked:
        keep(Answer(number, Reply(None, 0, False, 0.0, f"clip cannot be read: {error}"), seen(None)))
