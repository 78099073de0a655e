"""Many workers, each with a backend of its own, and one process that hands out batches and keeps answers.

A worker is told what to show, then gets batches of tasks, two at a time so that it can read the clips of the
second while it answers about the first, and sends each answer as it comes. What a worker was given and had
not answered when it died goes to the others; a batch that two workers died over ends the run with an error
that names its clips. Answers are kept by the caller alone, so that none is lost or kept twice.

Where workers live is their team's business: processes of this machine here (`ProcessTeam`), actors of a Ray
cluster in `tolman.bench.ray_workers`.
"""

from __future__ import annotations

import multiprocessing
import signal
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing import connection
from types import TracebackType
from typing import Any, NamedTuple, Protocol, Self

from tolman.bench.answering import Answer, Batch, Keep, Showing, answer, numbers_of
from tolman.bench.backends.backend import Backend
from tolman.bench.frames import Sampling

MakeBackend = Callable[[int], Backend]
"""Makes the backend of worker number 0, 1, …; must be importable by name in another process."""
_HELD = 2  # batches that a worker has at a time
_DEATHS = 2  # workers that may die over a batch


class Ready(NamedTuple):
    """A worker has its backend."""

    name: str
    sampling: Sampling


class Failed(NamedTuple):
    """A worker ended with an error. ours: a fault rather than something that the user can mend."""

    reason: str
    ours: bool


class Finished(NamedTuple):
    """A worker was told that there is no further batch, and has answered all it had."""


class Lost(NamedTuple):
    """A worker died."""

    reason: str


Message = Ready | Failed | Finished | Lost | Answer


class Line(Protocol):
    """A worker's end of the line to its caller. recv raises EOFError where the caller is gone."""

    def recv(self) -> Any: ...

    def send(self, message: Any, /) -> None: ...


class Team(Protocol):
    """Workers that run `work`, by number."""

    def members(self) -> Sequence[int]:
        """Those that are alive, as far as `receive` said."""
        ...

    def send(self, member: int, message: Any) -> None:
        """Say something to a worker; where it has died, nothing happens (`receive` will say so)."""
        ...

    def receive(self) -> tuple[int, Message]:
        """Wait for what a worker says. `Lost` is its last word."""
        ...

    def close(self) -> None:
        """End all workers."""
        ...


def work(line: Line, make: MakeBackend, member: int) -> None:
    """A worker: make the backend, then answer rounds of batches until the caller says None or is gone.

    A round is a `Showing`, batches, and None.
    """
    try:
        backend = make(member)
        line.send(Ready(backend.name, backend.sampling))
        while (showing := line.recv()) is not None:
            answer(backend, showing, iter(line.recv, None), line.send)
            line.send(Finished())
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # the caller is gone
    except ValueError as error:
        line.send(Failed(str(error), ours=False))
    except Exception:
        line.send(Failed(traceback.format_exc(), ours=True))


class Workers:
    """Workers of a team, as `tolman.bench.evaluate.evaluate` takes them in place of a backend.

    name, sampling: as the workers' backends have them; `sampling` may be set. Raises ValueError where a
    worker cannot make its backend, RuntimeError where one fails or dies over it.
    """

    def __init__(self, team: Team) -> None:
        self.team = team
        waiting = set(team.members())
        found: list[Ready] = []
        try:
            while waiting:
                member, message = team.receive()
                if isinstance(message, Lost):
                    raise RuntimeError(f"worker {member} died while it loaded its model: {message.reason}")
                ready = _checked(member, message)
                assert isinstance(ready, Ready), f"a worker began with {type(ready).__name__}"
                found.append(ready)
                waiting.discard(member)
        except BaseException:
            team.close()
            raise
        self.name = found[0].name
        self.sampling = found[0].sampling

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.team.close()

    def answer(self, showing: Showing, batches: Iterable[Batch], keep: Keep) -> None:
        """Call `keep` with the answer to each question, as they come from whichever worker.

        Raises ValueError where a backend does, and RuntimeError where a worker fails, where two die over the
        same batch, or all have died. What was kept until then stays kept.
        """
        shift = _Shift(self.team, deque(_Given(batch) for batch in batches))
        if shift.waiting:
            shift.run(showing, keep)


@dataclass
class _Given:
    """A batch, the questions of it without an answer, and the workers that died over it."""

    batch: Batch
    open: set[int] = field(default_factory=set)
    deaths: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.open = set(numbers_of(self.batch))

    def rest(self) -> _Given:
        """What of it is still to be answered."""
        left = [
            task._replace(asked=tuple(one for one in task.asked if one[0] in self.open))
            for task in self.batch
        ]
        return _Given(tuple(task for task in left if task.asked), deaths=self.deaths)


@dataclass
class _Shift:
    """One round: batches that wait, and those that each worker has."""

    team: Team
    waiting: deque[_Given]
    held: dict[int, list[_Given]] = field(default_factory=dict)

    def run(self, showing: Showing, keep: Keep) -> None:
        for member in self.team.members():
            self.held[member] = []
            self.team.send(member, showing)
        for _ in range(_HELD):  # one each, then the second
            for member in self.held:
                self._give(member)
        while self.waiting or any(self.held.values()):
            if not self.held:
                raise RuntimeError("no worker is left; start anew and resume the run")
            member, message = self.team.receive()
            if isinstance(message, Lost):
                self._lose(member, message.reason)
            elif isinstance(_checked(member, message), Answer):
                assert isinstance(message, Answer)
                keep(message)
                self._strike(member, message.number)
        self._finish()

    def _give(self, member: int) -> None:
        """The next batch to a worker, where there is one and it has room."""
        if self.waiting and len(self.held[member]) < _HELD:
            given = self.waiting.popleft()
            self.held[member].append(given)
            self.team.send(member, given.batch)

    def _strike(self, member: int, number: int) -> None:
        for given in self.held[member]:
            given.open.discard(number)
        self.held[member] = [given for given in self.held[member] if given.open]
        self._give(member)

    def _lose(self, member: int, reason: str) -> None:
        """What a dead worker had goes to the front; the first of its batches is the one that it died over.

        Raises RuntimeError where that one has cost enough, or nobody is left to take it.
        """
        left = [given.rest() for given in self.held.pop(member)]
        told = f"worker {member}: {reason}"
        if left:
            left[0].deaths.append(told)
        self.waiting.extendleft(reversed(left))
        if self.waiting and (len(self.waiting[0].deaths) >= _DEATHS or not self.held):
            raise RuntimeError(_blame(self.waiting[0], told, alone=not self.held))
        for other in self.held:
            self._give(other)

    def _finish(self) -> None:
        for member in self.held:
            self.team.send(member, None)
        while self.held:
            member, message = self.team.receive()
            if isinstance(message, Lost) or isinstance(_checked(member, message), Finished):
                self.held.pop(member, None)


def _blame(given: _Given, last: str, alone: bool) -> str:
    clips = ", ".join(str(task.path) for task in given.batch if task.path is not None) or "no clip"
    died = f"no worker is left after {last}" if alone else "; ".join(given.deaths)
    return f"workers died over questions about {clips} ({died}); the answers so far are kept: resume the run"


def _checked(member: int, message: Message) -> Message:
    """The message, unless it says that the run cannot go on."""
    if isinstance(message, Failed):
        if message.ours:
            raise RuntimeError(f"worker {member} failed:\n{message.reason}")
        raise ValueError(message.reason)
    return message


def _live(line: Line, make: MakeBackend, member: int) -> None:
    """A worker's process. An interrupt from the keyboard is the caller's, who then ends it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    work(line, make, member)


class ProcessTeam:
    """Processes of this machine, started afresh (`spawn`).

    count: how many. make: see `MakeBackend`. Raises ValueError for a count below 1.
    """

    def __init__(self, make: MakeBackend, count: int) -> None:
        if count < 1:
            raise ValueError(f"there must be at least 1 worker, got {count}")
        context = multiprocessing.get_context("spawn")
        self._lines: dict[int, Any] = {}
        self.processes: list[Any] = []
        for member in range(count):
            ours, its = context.Pipe()
            process = context.Process(target=_live, args=(its, make, member), daemon=True)
            process.start()
            its.close()  # so that the line ends with the worker
            self._lines[member] = ours
            self.processes.append(process)

    def members(self) -> Sequence[int]:
        """As `Team`."""
        return list(self._lines)

    def send(self, member: int, message: Any) -> None:
        """As `Team`."""
        try:
            self._lines[member].send(message)
        except (BrokenPipeError, ConnectionResetError):
            return  # its last words, and that it died, are still to be received

    def receive(self) -> tuple[int, Message]:
        """As `Team`."""
        for member in self._spoke():
            try:
                message: Message = self._lines[member].recv()
            except (EOFError, ConnectionResetError):
                self._lines.pop(member).close()
                return member, Lost(self._ended(member))
            return member, message
        raise RuntimeError("no worker is left to wait for")

    def close(self) -> None:
        """As `Team`."""
        for line in self._lines.values():
            line.close()
        self._lines = {}
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.join(10)
            if process.is_alive():
                process.kill()
                process.join()

    def _spoke(self) -> Iterator[int]:
        said = connection.wait(list(self._lines.values())) if self._lines else []
        return (member for member, line in list(self._lines.items()) if line in said)

    def _ended(self, member: int) -> str:
        process = self.processes[member]
        process.join(10)
        code = process.exitcode
        if code is None:
            return "its line broke"
        return f"killed by signal {-code}" if code < 0 else f"it ended with status {code}"
