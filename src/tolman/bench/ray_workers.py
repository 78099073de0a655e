"""Workers as actors of a Ray cluster. Ray is imported only here, and only where it is asked for."""

from __future__ import annotations

import importlib
import queue
import threading
from collections.abc import Iterator, Sequence
from typing import Any

from tolman.bench.workers import Lost, MakeBackend, Message, work


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
    cluster, or it has too few GPUs.
    """

    def __init__(self, make: MakeBackend, count: int | None, address: str, gpus: float = 0) -> None:
        self._ray = _ray()
        self._owned = not self._ray.is_initialized()
        if self._owned:
            try:
                self._ray.init(address=address, log_to_driver=False, logging_level="warning")
            except (ConnectionError, ValueError, RuntimeError) as error:
                raise ValueError(f"no Ray cluster at {address!r}: {error}") from error
        nodes = [node for node in self._ray.nodes() if node["Alive"]]
        there = self._ray.cluster_resources().get("GPU", 0)
        if count is None:
            count = int(there // gpus) if gpus else len(nodes)
        if count < 1 or count * gpus > there:
            self.close()
            raise ValueError(f"{count} workers of {gpus:g} GPUs each do not fit a cluster with {there:g}")
        actor = self._ray.remote(RayWorker).options(
            num_cpus=1, num_gpus=gpus, max_concurrency=2, scheduling_strategy="SPREAD"
        )
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
            told = [line.strip() for line in str(error).splitlines() if line.strip()] or ["it ended"]
            # the first line says what happened, the last one why
            return member, Lost(": ".join(dict.fromkeys([type(error).__name__, told[0], told[-1]])))
        return member, message

    def close(self) -> None:
        """As `tolman.bench.workers.Team`; leaves the cluster as it was."""
        for actor in getattr(self, "actors", []):
            self._ray.kill(actor)
        self._said = {}
        if self._owned:
            self._ray.shutdown()


def _ray() -> Any:
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        raise ValueError(
            f"Ray cannot be imported ({error}); install it on every node (pip install 'tolman[ray]')"
        ) from error
