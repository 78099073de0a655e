"""Workers as actors of a Ray cluster."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Sequence
from typing import Any

from tolman.bench.workers import Lost, MakeBackend, Message, work
from tolman.learn.cluster import Cluster, told


class _Line:
    """A line inside an actor: one thread works, the actor's own carry messages."""

    def __init__(self) -> None:
        self.inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.outbox: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def recv(self) -> Any:
        return self.inbox.get()

    def send(self, message: Any, /) -> None:
        self.outbox.put((message,))


class RayWorker:
    """The actor."""

    def __init__(self, make: MakeBackend, member: int) -> None:
        self.line = _Line()

        def run() -> None:
            try:
                work(self.line, make, member)
            finally:
                self.line.outbox.put(None)

        threading.Thread(target=run, daemon=True).start()

    def put(self, message: Any) -> None:
        """What the caller says."""
        self.line.inbox.put(message)

    def messages(self) -> Iterator[Message]:
        """What the worker says, to its end."""
        while (said := self.line.outbox.get()) is not None:
            yield said[0]


class RayTeam:
    """Actors spread over the nodes of a cluster; every node needs this package, the model and the clips at
    the same paths.

    address: the cluster's, as `ray.init` takes it (`auto`, `HOST:PORT`, `ray://…`). count: how many actors;
    None: one for each GPU of the cluster where `gpus` is above 0, else one for each node. gpus: GPUs that an
    actor needs, which then sees those alone. Raises ValueError where Ray is not installed, there is no such
    cluster, or it has too few CPUs or GPUs.
    """

    def __init__(self, make: MakeBackend, count: int | None, address: str, gpus: float = 0) -> None:
        self._cluster = Cluster(address)
        self._ray = self._cluster.ray
        try:
            count = self._cluster.count(count, 1, gpus)
        except BaseException:
            self._cluster.close()
            raise
        actor = self._cluster.spread(RayWorker, 1, gpus, max_concurrency=2)
        self.actors = [actor.remote(make, member) for member in range(count)]
        self._said = {
            member: one.messages.options(num_returns="streaming").remote()
            for member, one in enumerate(self.actors)
        }

    def members(self) -> Sequence[int]:
        """As `tolman.bench.workers.Team`."""
        return list(self._said)

    def send(self, member: int, message: Any) -> None:
        """As `tolman.bench.workers.Team`."""
        self.actors[member].put.remote(message)

    def receive(self) -> tuple[int, Message]:
        """As `tolman.bench.workers.Team`."""
        if not self._said:
            raise RuntimeError("no worker is left to wait for")
        (first, *_), _ = self._ray.wait(list(self._said.values()), num_returns=1)
        member = next(number for number, said in self._said.items() if said is first)
        try:
            message: Message = self._ray.get(next(first))
        except (self._ray.exceptions.RayError, StopIteration) as error:
            del self._said[member]
            return member, Lost(told(error))
        return member, message

    def close(self) -> None:
        """As `tolman.bench.workers.Team`; leaves the cluster as it was."""
        for actor in self.actors:
            self._ray.kill(actor)
        self._said = {}
        self._cluster.close()
