"""A Ray cluster. Ray is imported only here, and only where it is asked for."""

from __future__ import annotations

import importlib
import socket
from typing import Any


class Cluster:
    """A connection to a Ray cluster, every node of which has this package, the models and the clips at the
    same paths.

    ray: the module. address: as `ray.init` takes it (`auto`, `HOST:PORT`, `ray://…`); where this process is
    connected already, that cluster is taken and `close` leaves it connected. Raises ValueError where Ray is
    not installed or there is no such cluster.
    """

    def __init__(self, address: str) -> None:
        self.ray = _ray()
        self._owned = not self.ray.is_initialized()
        if self._owned:
            _knock(address)
            try:
                self.ray.init(address=address, log_to_driver=False, logging_level="warning")
            except (ConnectionError, ValueError, RuntimeError) as error:
                raise ValueError(f"no Ray cluster at {address!r}: {error}") from error

    def count(self, wanted: int | None, cpus: int, gpus: float) -> int:
        """How many workers to start: `wanted`, or with None one for each GPU of the cluster where `gpus` is
        above 0, else one for each node.

        cpus, gpus: what each takes. Raises ValueError where they do not fit.
        """
        there = self.ray.cluster_resources()
        if wanted is None:
            nodes = sum(node["Alive"] for node in self.ray.nodes())
            wanted = int(there.get("GPU", 0) // gpus) if gpus else nodes
        for each, unit in ((gpus, "GPU"), (cpus, "CPU")):
            if wanted < 1 or wanted * each > there.get(unit, 0):
                have = f"{there.get(unit, 0):g}"
                raise ValueError(
                    f"{wanted} workers of {each:g} {unit}s each do not fit a cluster with {have}"
                )
        return wanted

    def spread(self, actor: type, cpus: int, gpus: float, **options: Any) -> Any:
        """The class as an actor class whose members are spread over the nodes and see no other GPUs."""
        return self.ray.remote(actor).options(
            num_cpus=cpus, num_gpus=gpus, scheduling_strategy="SPREAD", **options
        )

    def close(self) -> None:
        """Leave the cluster as it was found."""
        if self._owned:
            self._owned = False
            self.ray.shutdown()


def own_address() -> str:
    """The address of the node that this actor is on."""
    return str(_ray().util.get_node_ip_address())


def told(error: BaseException) -> str:
    """What a Ray error says: its first line says what happened, its last one why."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or ["it ended"]
    return ": ".join(dict.fromkeys([type(error).__name__, lines[0], lines[-1]]))


def ours(error: Any, who: str) -> Exception:
    """What code of ours raised in a worker (a RayTaskError), to raise here: what the user can mend
    (ValueError, OSError) as it is, anything else as a RuntimeError with its traceback."""
    for kind in (ValueError, OSError):
        if isinstance(error.cause, kind):
            return kind(str(error.cause))
    return RuntimeError(f"{who} failed:\n{error}")


def _knock(address: str) -> None:
    """Raise ValueError where nobody listens at HOST:PORT; Ray would try again for many minutes."""
    host, _, port = address.rpartition(":")
    if "://" in address or not port.isdecimal():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except (OSError, OverflowError) as error:
        raise ValueError(f"no Ray cluster at {address!r}: {error}") from error


def _ray() -> Any:
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        raise ValueError(
            f"Ray cannot be imported ({error}); install it on every node (pip install 'tolman[ray]')"
        ) from error
