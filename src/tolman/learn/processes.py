"""The processes of one run, started by torchrun: every one works on its share of each step's clips.

All of them draw the same clips and take every size-th. What one finds out about its clips and the others need
(files that cannot be read, graded groups, counts) is exchanged in the order of the clips, so that a step is
the same step however many processes take part. A program that torchrun did not start is one process that
exchanges nothing. Objects travel pickled: the processes of a run trust one another.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.rendezvous import rendezvous

from tolman.policy.device import find_device

T = TypeVar("T")
BUCKET = 2**24
"""Gradients summed in one exchange: 64 MiB of float32."""
_COUNTER = itertools.count()
_SIGNS = ("gloo", "application timeout", "nccl")
_timeout = 0.0


class LostProcess(ConnectionError):
    """Another process of the run has died, or has not answered in time."""


@dataclass(frozen=True)
class Processes:
    """This process among those of the run. All methods that exchange must be called by every process.

    rank: its number; 0 is the first, which writes the run folder. size: how many there are.
    """

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the process that writes."""
        return self.rank == 0

    def share(self, items: Sequence[T]) -> list[tuple[int, T]]:
        """This process's part of the items with their places: every size-th. Exchanges nothing."""
        return list(enumerate(items))[self.rank :: self.size]

    def gather(self, value: T) -> list[T]:
        """The values of all processes, by rank."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        with exchanging():
            dist.all_gather_object(values, value)
        return values

    def in_order(self, placed: Iterable[tuple[int, T]]) -> list[T]:
        """What all processes have, sorted by place; no two have the same place."""
        everything = itertools.chain(*self.gather(list(placed)))
        return [value for _, value in sorted(everything, key=lambda entry: entry[0])]

    def joined(self, values: Sequence[T]) -> list[T]:
        """The lists of all processes one after another."""
        return list(itertools.chain(*self.gather(list(values))))

    def from_first(self, find: Callable[[], T]) -> T:
        """What the first process finds; the others do not look."""
        found: Any = self.gather(find() if self.first else None)[0]
        return found  # type: ignore[no-any-return]

    def wait(self) -> None:
        """Until all processes are here."""
        self.gather(None)

    def agree(self, digests: Mapping[str, str]) -> None:
        """Raise ValueError naming the first entry, name → digest, in which a process differs from rank 0."""
        everyone = self.gather(dict(digests))
        for name, digest in everyone[0].items():
            for rank, other in enumerate(everyone):
                if other[name] != digest:
                    raise ValueError(
                        f"process {rank} has other {name} than process 0; all {self.size} must read the same "
                        "files"
                    )

    @torch.no_grad()
    def sum_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Make every gradient the sum over the processes, added up in float32.

        A process without a gradient adds 0; one that no process has stays None.
        """
        if self.size == 1:
            return
        device = parameters[0].device
        has = torch.tensor([p.grad is not None for p in parameters], dtype=torch.uint8, device=device)
        with exchanging():
            dist.all_reduce(has, dist.ReduceOp.MAX)
        wanted = [parameter for parameter, any_has in zip(parameters, has.tolist(), strict=True) if any_has]
        for bucket in _buckets(wanted):
            flat = torch.cat([_gradient(parameter).float().flatten() for parameter in bucket])
            with exchanging():
                dist.all_reduce(flat)
            parts = torch.split(flat, [parameter.numel() for parameter in bucket])
            for parameter, part in zip(bucket, parts, strict=True):
                _gradient(parameter).copy_(part.view_as(parameter))


def _gradient(parameter: nn.Parameter) -> Tensor:
    """The gradient, made of zeros where there is none."""
    if parameter.grad is None:
        parameter.grad = torch.zeros_like(parameter)
    return parameter.grad


def _buckets(parameters: Iterable[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
    """Consecutive parameters, up to BUCKET numbers at a time (a larger one alone)."""
    bucket: list[nn.Parameter] = []
    for parameter in parameters:
        if bucket and sum(p.numel() for p in bucket) + parameter.numel() > BUCKET:
            yield bucket
            bucket = []
        bucket.append(parameter)
    if bucket:
        yield bucket


def current() -> Processes:
    """The processes that this one is connected with; one alone where it is not."""
    if not dist.is_available() or not dist.is_initialized():
        return Processes()
    return Processes(dist.get_rank(), dist.get_world_size())


@contextmanager
def exchanging() -> Iterator[None]:
    """Raises LostProcess for what the communication library raises; other errors pass."""
    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, dist.DistError) and not any(sign in str(error).lower() for sign in _SIGNS):
            raise
        raise LostProcess(
            f"process {current().rank}: another of the {current().size} processes has died or has not "
            f"answered for {_timeout:g} s (distributed.timeout); see what the others say and go on from the "
            f"last checkpoint with --resume ({' '.join(str(error).split())[:200]})"
        ) from error


@contextmanager
def connect(device: str, timeout: float) -> Iterator[Processes]:
    """Connect with the other processes that torchrun started, until the block ends.

    device: the recipe's; gloo connects CPUs, nccl GPUs. timeout: seconds that one may wait for another before
    LostProcess is raised. Within such a block, or where the caller has made a process group, that one is
    used. Raises ValueError for another timeout than the outer block's, LostProcess where not all come.
    """
    global _timeout
    if current().size > 1 or int(os.environ.get("WORLD_SIZE", "1")) == 1:
        if _timeout and timeout != _timeout:
            raise ValueError(
                f"distributed.timeout is {timeout:g} in one stage, {_timeout:g} in another; a run has one"
            )
        yield current()
        return
    kind = find_device(own_device(device)).type
    limit = timedelta(seconds=timeout)
    _timeout = timeout
    try:
        with exchanging():
            store, rank, size = next(rendezvous("env://", timeout=limit))
            prefix = f"tolman-{next(_COUNTER)}"  # a second block must not find the first one's keys
            prefixed = dist.PrefixStore(prefix, store)  # type: ignore[attr-defined]
            dist.init_process_group(
                "gloo" if kind == "cpu" else "cpu:gloo,cuda:nccl",
                store=prefixed,
                rank=rank,
                world_size=size,
                timeout=limit,
            )
        yield current()
        dist.destroy_process_group()  # after an error the end of the process does it, and the others notice
    finally:
        _timeout = 0.0


def is_first() -> bool:
    """Whether this is the first of the processes that torchrun started, or the only one."""
    return os.environ.get("RANK", "0") == "0"


def own_device(device: str) -> str:
    """Where this process works: with several processes each has the GPU of its own number on its machine.

    Raises ValueError where there is no such device, or the recipe names one GPU for several processes.
    """
    found = find_device(device)
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or found.type == "cpu":
        return device
    index: int | None = found.index
    if index is not None:
        raise ValueError(f'run.device is {device!r}, one GPU for several processes; write "cuda"')
    own = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    torch.cuda.set_device(own)
    return own
