"""Learners on a Ray cluster: one run, its processes placed on the cluster's nodes instead of by torchrun.

Every node needs this package, the model, the data and the run folder at the same paths. A learner that dies
takes the others with it (none can go on without its share); all are placed anew and go on from the last
checkpoint, to the run it would have been. Whoever starts them only watches.
"""

from __future__ import annotations

import os
import queue
import socket
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tolman.learn.cluster import Cluster, ours, own_address, told
from tolman.learn.processes import LostProcess
from tolman.learn.sections import Recipe
from tolman.learn.stages import Stage, folder_of
from tolman.learn.train import train, train_stages

Row = dict[str, Any]


class Reported(NamedTuple):
    """A row of metrics.jsonl. stage: the number of the stage it is of."""

    stage: int
    row: Row


class Warned(NamedTuple):
    """A warning of a learner."""

    text: str


class Learner:
    """The actor: one of the processes of a run, number `rank` of `size`.

    folder: where relative paths begin.
    """

    def __init__(self, rank: int, size: int, folder: str) -> None:
        self.rank, self.size, self.folder = rank, size, folder
        self.said: queue.SimpleQueue[Reported | Warned | BaseException | None] = queue.SimpleQueue()

    def meeting_point(self) -> tuple[str, int]:
        """The node's address and a port that is free on it, where the processes can find each other."""
        with socket.socket() as found:
            found.bind(("", 0))
            port: int = found.getsockname()[1]
        return own_address(), port

    def run(
        self, stages: Sequence[Stage], resume: bool, again: bool, host: str, port: int
    ) -> Iterator[Reported | Warned]:
        """Train; what the first process reports, as it comes.

        again: go on where an earlier attempt of the same call has begun. host, port: the meeting point.
        """
        os.chdir(self.folder)
        place = {"RANK": self.rank, "WORLD_SIZE": self.size, "LOCAL_RANK": 0, "MASTER_PORT": port}
        os.environ.update({name: str(value) for name, value in place.items()} | {"MASTER_ADDR": host})
        resume = resume or (again and (folder_of(stages[0]) / "recipe.toml").is_file())
        threading.Thread(target=self._work, args=(stages, resume), daemon=True).start()
        while (said := self.said.get()) is not None:
            if isinstance(said, BaseException):
                raise said
            yield said

    def _work(self, stages: Sequence[Stage], resume: bool) -> None:
        numbers = {stage.run.name: number for number, stage in enumerate(stages)}

        def report(stage: Stage, row: Row) -> None:
            self.said.put(Reported(numbers[stage.run.name], row))

        def warn(message: Warning | str, *_: Any, **__: Any) -> None:
            self.said.put(Warned(str(message)))

        warnings.showwarning = warn
        try:
            if len(stages) == 1 and isinstance(only := stages[0], Recipe):
                train(only, resume=resume, progress=lambda row: report(only, row))
            else:
                train_stages(stages, resume=resume, progress=report)
            self.said.put(None)
        except BaseException as error:
            self.said.put(error)


class _Died(Exception):
    """A learner, or what it cannot do without, is no more."""


def train_on(
    address: str,
    stages: Sequence[Stage],
    *,
    learners: int = 1,
    deaths: int = 3,
    resume: bool = False,
    progress: Callable[[Stage, Row], None] | None = None,
) -> Path:
    """Run the stages of a recipe on a Ray cluster; the last one's run folder is returned.

    address: as `ray.init` takes it. learners: processes, each with run.threads CPU cores (at least one) and,
    where run.device is `cuda`, a GPU of its own. deaths: how often learners may die without a new step in
    between. resume, progress: as `train_stages`. Raises ValueError for what recipe, data, run folder or
    cluster get wrong, OSError when the disk does, LostProcess where learners die too often.
    """
    if wrong := {stage.run.device for stage in stages} - {"cpu", "cuda"}:
        raise ValueError(f"run.device is {wrong.pop()!r}; on a cluster it is 'cpu' or 'cuda'")
    cluster = Cluster(address)
    died: list[str] = []
    furthest = (0, 0)

    def heard(said: Reported | Warned) -> None:
        nonlocal furthest
        if isinstance(said, Warned):
            warnings.warn(said.text, stacklevel=2)
            return
        if (reached := (said.stage, int(said.row["step"]))) > furthest:
            furthest = reached
            died.clear()
        if progress is not None:
            progress(stages[said.stage], said.row)

    try:
        again = False
        while True:
            try:
                _attempt(cluster, stages, learners, (resume, again), heard)
                return folder_of(stages[-1])
            except _Died as error:
                died.append(str(error))
            if len(died) > deaths:
                raise LostProcess(
                    f"learners died {len(died)} times without a new step in between; go on from the last "
                    f"checkpoint with --resume. {'; '.join(died)}"
                )
            again = True
            warnings.warn(f"{died[-1]}; all learners are placed anew", stacklevel=2)
    finally:
        cluster.close()


def _attempt(
    cluster: Cluster,
    stages: Sequence[Stage],
    learners: int,
    begin: tuple[bool, bool],
    heard: Callable[[Reported | Warned], None],
) -> None:
    """Place the learners and listen until they are done. begin: `resume` and `again` of `Learner.run`.

    Raises _Died where one dies.
    """
    cpus = max(1, *(stage.run.threads for stage in stages))
    gpus = float(any(stage.run.device != "cpu" for stage in stages))
    actor = cluster.spread(Learner, cpus, gpus)
    count = cluster.count(learners, cpus, gpus)
    members = [actor.remote(rank, learners, os.getcwd()) for rank in range(count)]
    try:
        try:
            point = cluster.ray.get(members[0].meeting_point.remote())
        except cluster.ray.exceptions.RayError as error:
            raise _Died(f"learner 0: {told(error)}") from error
        streams = [
            member.run.options(num_returns="streaming").remote(stages, *begin, *point) for member in members
        ]
        waiting = dict(enumerate(streams))
        while waiting:
            [first], _ = cluster.ray.wait(list(waiting.values()), num_returns=1)
            rank = streams.index(first)
            said = _next(cluster, first, rank)
            if said is None:
                del waiting[rank]
            else:
                heard(said)
    finally:
        for member in members:
            cluster.ray.kill(member)


def _next(cluster: Cluster, stream: Any, rank: int) -> Reported | Warned | None:
    """What a learner says next; None where it is done. Raises _Died, and what it raised itself."""
    exceptions = cluster.ray.exceptions
    try:
        said: Reported | Warned = cluster.ray.get(next(stream))
    except StopIteration:
        return None
    except exceptions.RayTaskError as error:
        if isinstance(error.cause, LostProcess):
            raise _Died(f"learner {rank}: {error.cause}") from error
        raise ours(error, f"learner {rank}") from error
    except exceptions.RayError as error:
        raise _Died(f"learner {rank}: {told(error)}") from error
    return said
