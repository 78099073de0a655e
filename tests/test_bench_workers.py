"""Workers: what one process would have answered, whoever dies. Backends are scripted; no model takes part."""

from __future__ import annotations

import os
import queue
import signal
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from test_bench_predictions import COUNT, Counting, numbers, questions
from tolman.bench.answering import Answer, Showing, Task, plan
from tolman.bench.backends.backend import Reply, Request
from tolman.bench.evaluate import Evaluation, evaluate
from tolman.bench.frames import Sampling
from tolman.bench.workers import Lost, MakeBackend, Message, ProcessTeam, Workers, work


class Death(BaseException):
    """A thread's death."""


class Fateful(Counting):
    """Dies instead of answering its question number `after` (from 0), or a question in `fatal`."""

    def __init__(self, after: int | None = None, fatal: frozenset[int] = frozenset()) -> None:
        super().__init__()
        self.after, self.fatal = after, fatal

    def replies(
        self, batches: Iterable[Sequence[Request]], max_new_tokens: int
    ) -> Iterator[tuple[Request, Reply]]:
        for request, reply in super().replies(batches, max_new_tokens):
            if len(self.asked) - 1 == self.after or request.number in self.fatal:
                self.die()
            yield request, reply

    def die(self) -> None:
        raise Death


class ThreadLine:
    """Both ends of a line to a thread."""

    def __init__(self) -> None:
        self.inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.outbox: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def recv(self) -> Any:
        got = self.inbox.get()
        if got is EOFError:
            raise EOFError
        return got

    def send(self, message: Any, /) -> None:
        self.outbox.put(message)


class ThreadTeam:
    """Workers in threads of this process, which say things one after the other as the test likes."""

    def __init__(self, backends: Sequence[Counting]) -> None:
        self.said: queue.SimpleQueue[tuple[int, Message]] = queue.SimpleQueue()
        self.lines = {}
        for member, backend in enumerate(backends):
            line = self.lines[member] = ThreadLine()
            line.send = partial(self.hear, member)  # type: ignore[method-assign]
            threading.Thread(target=self.live, args=(line, backend, member), daemon=True).start()

    def hear(self, member: int, message: Any) -> None:
        self.said.put((member, message))

    def live(self, line: ThreadLine, backend: Counting, member: int) -> None:
        try:
            work(line, lambda _: backend, member)
        except Death:
            self.said.put((member, Lost("died")))

    def members(self) -> Sequence[int]:
        return list(self.lines)

    def send(self, member: int, message: Any) -> None:
        self.lines[member].inbox.put(message)

    def receive(self) -> tuple[int, Message]:
        member, message = self.said.get(timeout=60)
        if isinstance(message, Lost):
            del self.lines[member]
        return member, message

    def close(self) -> None:
        for line in self.lines.values():
            line.inbox.put(EOFError)


OPTIONS: dict[str, Any] = {"clip_source": "none", "template": "vsibench", "max_new_tokens": 4}
SHOWING = Showing(Path(), Sampling(4), "none", 0, 4)


def asked(sizes: Sequence[int]) -> list[Task]:
    """Tasks with so many questions each."""
    ends = [sum(sizes[: k + 1]) for k in range(len(sizes))]
    return [
        Task(None, False, tuple((number, f"Question {number}?") for number in range(end - size, end)))
        for size, end in zip(sizes, ends, strict=True)
    ]


def collect(backends: Sequence[Counting], tasks: Sequence[Task], batch: int) -> list[int]:
    """The numbers of the answers that were kept, in the order they came; each must be the right answer."""
    kept: list[Answer] = []
    with Workers(ThreadTeam(backends)) as workers:
        workers.answer(SHOWING, plan(tasks, batch), kept.append)
    for one in kept:
        assert one.reply.text == (str(one.number + 1) if one.number % 2 == 0 else "many")
    return [one.number for one in kept]


def test_questions_of_a_clip_stay_together_in_batches() -> None:
    sizes = [[len(task.asked) for task in batch] for batch in plan(asked([2, 1, 10, 3]), 4)]
    # 10 in equal parts of at most 4: 4, 4, 2
    assert sizes == [[2, 1], [4], [4], [2], [3]]
    assert plan([], 4) == []


@settings(max_examples=25)
@given(
    sizes=st.lists(st.integers(1, 5), max_size=8),
    batch=st.integers(1, 6),
    after=st.lists(st.one_of(st.none(), st.integers(0, 4)), max_size=3),
)
def test_whoever_dies_each_question_is_answered_once(
    sizes: list[int], batch: int, after: list[int | None]
) -> None:
    backends = [Counting(), *(Fateful(one) for one in after)]
    try:
        found = collect(backends, asked(sizes), batch)
    except RuntimeError as error:
        # two may die over one batch by chance, which ends the run
        if sum(one is not None for one in after) < 2 or "workers died over questions" not in str(error):
            raise
        return
    assert sorted(found) == list(range(sum(sizes)))


def test_a_batch_that_two_workers_die_over_ends_the_run() -> None:
    tasks = [Task(f"{k}.mp4", False, ((k, "?"),)) for k in range(6)]
    backends = [Fateful(fatal=frozenset({3})) for _ in range(3)]
    kept: list[Answer] = []
    showing = Showing(Path("/nowhere"), Sampling(4), "true", 0, 4)
    with Workers(ThreadTeam(backends)) as workers:
        workers.answer(showing, plan(tasks[:1], 1), kept.append)
        # a clip that is not there is a row, not a death, and its worker goes on
        assert kept[0].reply.text is None
        assert "0.mp4" in kept[0].reply.reason
        told = [task._replace(path=None) for task in tasks]
        with pytest.raises(RuntimeError, match=r"died over questions about no clip \(worker \d: died"):
            workers.answer(showing, plan(told, 1), kept.append)
    assert len({one.number for one in kept[1:]}) == len(kept[1:])


def test_when_all_are_dead_an_error_says_so() -> None:
    with pytest.raises(RuntimeError, match="no worker is left after worker 0: died"):
        collect([Fateful(after=1)], asked([1, 1, 1]), 1)


class Broken(Counting):
    """A backend whose server stays away."""

    def replies(
        self, batches: Iterable[Sequence[Request]], max_new_tokens: int
    ) -> Iterator[tuple[Request, Reply]]:
        raise ValueError("the server is gone")
        yield  # a generator


class Faulty(Counting):
    """A backend with a fault."""

    def replies(
        self, batches: Iterable[Sequence[Request]], max_new_tokens: int
    ) -> Iterator[tuple[Request, Reply]]:
        return iter([{}["absent"]])  # type: ignore[misc]


def test_errors_of_backends_are_the_callers() -> None:
    with pytest.raises(ValueError, match=r"^the server is gone$"):
        collect([Broken()], asked([1]), 1)
    with pytest.raises(RuntimeError, match=r"(?s)worker 0 failed:.*KeyError: 'absent'"):
        collect([Faulty()], asked([1]), 1)


def test_one_team_serves_several_rounds() -> None:
    first: list[Answer] = []
    second: list[Answer] = []
    with Workers(ThreadTeam([Counting(), Counting()])) as workers:
        workers.answer(SHOWING, plan(asked([2, 2]), 2), first.append)
        workers.answer(SHOWING, [], second.append)
        workers.answer(SHOWING, plan(asked([3, 3, 3]), 3), second.append)
    assert sorted(one.number for one in first) == list(range(4))
    assert sorted(one.number for one in second) == list(range(9))


# Real processes: `make` is imported by them, so what they do is told by files.


class Slow(Counting):
    """Takes its time, says in a file that it has begun, and hangs over question 5 where told to."""

    def __init__(self, folder: Path, member: int, hang: bool) -> None:
        super().__init__()
        self.folder, self.member, self.hang = folder, member, hang

    def replies(
        self, batches: Iterable[Sequence[Request]], max_new_tokens: int
    ) -> Iterator[tuple[Request, Reply]]:
        for request, reply in super().replies(batches, max_new_tokens):
            if self.hang and request.number == 5 and not (self.folder / "hangs").exists():
                (self.folder / "hangs").write_text(f"{self.member} {os.getpid()}")
                time.sleep(600)
            yield request, reply


def slow(member: int, folder: Path, hang: bool) -> Slow:
    return Slow(folder, member, hang)


def no_model(member: int) -> Counting:
    raise ValueError(f"no policy for worker {member}")


def dies_at_once(member: int) -> Counting:
    os.kill(os.getpid(), signal.SIGKILL)
    return Counting()


def run(make: MakeBackend, out: Path, **options: Any) -> tuple[Evaluation, list[int | None]]:
    team = ProcessTeam(make, 2)
    with Workers(team) as workers:
        found = evaluate(workers, questions(), out.parent, out=out, batch=2, **OPTIONS | options)
    return found, [process.exitcode for process in team.processes]


def test_a_killed_worker_loses_and_doubles_nothing(tmp_path: Path) -> None:
    one = evaluate(Counting(), questions(), tmp_path, batch=2, out=tmp_path / "one.jsonl", **OPTIONS)
    hangs = tmp_path / "hangs"

    def kill() -> None:
        while not hangs.is_file() or not hangs.read_text():
            time.sleep(0.02)
        os.kill(int(hangs.read_text().split()[1]), signal.SIGKILL)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    out = tmp_path / "many" / "predictions.jsonl"
    found, codes = run(partial(slow, folder=tmp_path, hang=True), out)
    killer.join(10)
    assert codes[int(hangs.read_text().split()[0])] == -signal.SIGKILL
    assert sorted(numbers(out)) == list(range(COUNT))
    # the same rows, wherever and in whatever order they were answered
    assert [row | {"clip_root": ""} for row in found.rows] == [row | {"clip_root": ""} for row in one.rows]
    assert found.to_json() == one.to_json()
    # and a resumed run asks nothing
    content = out.read_bytes()
    again = evaluate(Counting(), questions(), out.parent, batch=2, out=out, resume=True, **OPTIONS)
    assert out.read_bytes() == content
    assert again.to_json() == one.to_json()


def test_workers_that_cannot_begin(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^no policy for worker "):
        Workers(ProcessTeam(no_model, 1))
    with pytest.raises(RuntimeError, match=r"died while it loaded its model: killed by signal 9"):
        Workers(ProcessTeam(dies_at_once, 1))
    with pytest.raises(ValueError, match="at least 1 worker"):
        ProcessTeam(no_model, 0)
