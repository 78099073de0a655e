"""Rollout workers on a Ray cluster: each holds a policy and samples its share of a step's prompts.

The learner puts the weights that learn into the cluster's object store, as safetensors, once per step; what
never changes every worker reads from `model.path` itself. A worker that dies is replaced: another one loads
the policy, takes the weights of the step and is asked for the same share, with the same random numbers, so
that the step is the step it would have been. Prompts and completions travel pickled: the processes of a
cluster trust one another.
"""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load, save
from torch import Tensor

from tolman.learn.checkpoint import bit_sums, shapes_of
from tolman.learn.cluster import Cluster, ours, told
from tolman.learn.engines.engine import InProcess
from tolman.learn.engines.options import RayOptions
from tolman.learn.processes import LostProcess, current
from tolman.learn.sections import Model, Recipe, Selection
from tolman.policy.adapters import add_adapters
from tolman.policy.generate import Sample
from tolman.policy.load import load_policy
from tolman.policy.policy import Policy
from tolman.policy.prompt import Prompt
from tolman.policy.quantised import quantise, scales
from tolman.policy.sampling import Sampling

PIECE = 2**28
"""Bytes of weights in one object of the store."""
Piece = npt.NDArray[np.uint8]


class Weights(NamedTuple):
    """What `RolloutWorker.take` is told beside the weights: the step they are of, and the digest (`bit_sums`)
    of those that do not learn."""

    version: int
    frozen: str


class RolloutWorker:
    """The actor. It samples with the weights it is asked to sample with, or not at all.

    model: the recipe's, which it loads when it first takes weights. device: where to.
    """

    def __init__(self, model: Model, device: str) -> None:
        self.model, self.device = model, device
        self.policy: Policy | None = None
        self.version: int | None = None

    def take(self, weights: Weights, *pieces: Piece) -> int:
        """Take the weights that learn, safetensors in pieces, as those of a step; returns the process's id.

        Raises ValueError where the others are not the learner's.
        """
        self.version = None
        fresh = self.policy is None
        self.policy = self.policy or self._load()
        own = dict(self.policy.model.named_parameters())
        learned = set()
        for piece in pieces:
            given = load(piece.tobytes())
            if wrong := sorted(set(shapes_of(given).items()) - set(shapes_of(own).items())):
                raise ValueError(f"{self.model.path} has no weight {wrong[0][0]} of shape {wrong[0][1]}")
            with torch.no_grad():
                for name, weight in given.items():
                    own[name].copy_(weight)
            learned |= set(given)
        frozen = [weight for name, weight in own.items() if name not in learned]
        frozen += scales(self.policy.model)
        if fresh and bit_sums(frozen) != weights.frozen:
            raise ValueError(
                f"a rollout worker found other weights at {self.model.path} than the learner has; every node "
                "must have the same model there"
            )
        self.version = weights.version
        return os.getpid()

    def _load(self) -> Policy:
        device = "cpu" if self.model.quantise else self.device
        policy = load_policy(self.model.path, device=device, dtype=self.model.dtype)
        if self.model.quantise:
            quantise(policy, self.device)
        if rank := self.model.lora_rank:  # at any random numbers: the learner's take their place
            alpha = self.model.lora_alpha or 2 * rank
            add_adapters(policy, rank, alpha, self.model.lora_targets, seed=0)
        return policy

    def sample(
        self, version: int, prompts: Sequence[Prompt], group: int, sampling: Sampling, uniforms: Tensor
    ) -> list[list[Sample]]:
        """As `Engine`. Raises RuntimeError where other weights than those of step `version` are held."""
        if self.policy is None or self.version != version:
            raise RuntimeError(f"asked for samples of step {version}, but the weights are of {self.version}")
        return InProcess(self.policy).sample(prompts, group, sampling, uniforms)


@dataclass
class _Member:
    """A worker as the learner sees it: the actor, and what it says about the last weights it was sent."""

    actor: Any
    taking: Any


@dataclass(frozen=True)
class _Round:
    """What all workers are asked for in one call of `sample`."""

    prompts: Sequence[Prompt]
    group: int
    sampling: Sampling
    uniforms: Tensor

    def share(self, numbers: Sequence[int]) -> tuple[list[Prompt], int, Sampling, Tensor]:
        """Of the prompts with these numbers: what `sample` takes."""
        rows = self.uniforms.view(len(self.prompts), self.group, -1)[list(numbers)].flatten(0, 1)
        return [self.prompts[number] for number in numbers], self.group, self.sampling, rows


class RayEngine:
    """Rollout workers as actors; see `Engine`.

    model: the recipe's. policy: the learner's. Raises ValueError where there is no such cluster, or it has
    too few CPUs or GPUs. `sample` raises LostProcess where more workers die over it than `deaths`, or one has
    not answered for `timeout`, and ValueError where a worker cannot load the model.
    """

    def __init__(self, model: Model, policy: Policy, options: RayOptions) -> None:
        if model.path != "starter" and (folder := Path(model.path)).is_dir():
            model = replace(model, path=str(folder.resolve()))  # workers start in folders of their own
        self.model, self.options = model, options
        self.cluster = Cluster(options.address)
        try:
            self.count = self.cluster.count(options.workers or None, options.cpus, options.gpus)
        except BaseException:
            self.cluster.close()
            raise
        frozen = [weight for weight in policy.model.parameters() if not weight.requires_grad]
        self.weights = Weights(-1, bit_sums(frozen + scales(policy.model)))
        self.pieces: list[Any] = []
        self.members: list[_Member] = []
        self.deaths: list[str] = []

    def sync(self, policy: Policy, step: int) -> None:
        """As `Engine`. The workers take the weights while the learner goes on."""
        ray = self.cluster.ray
        self.weights = self.weights._replace(version=step)
        self.pieces = [ray.put(piece) for piece in pieces_of(learned_weights(policy))]
        if not self.members:
            self.members = [self._start() for _ in range(self.count)]
        for member in self.members:
            member.taking = member.actor.take.remote(self.weights, *self.pieces)

    def sample(
        self, prompts: Sequence[Prompt], group: int, sampling: Sampling, uniforms: Tensor
    ) -> list[list[Sample]]:
        """As `Engine`."""
        asked, self.deaths = _Round(prompts, group, sampling, uniforms), []
        found: dict[int, list[Sample]] = {}
        shares = shares_of(prompts, self.count)
        waiting = {self._ask(number, asked, share): number for number, share in enumerate(shares)}
        limit = time.monotonic() + self.options.timeout
        while waiting:
            done, _ = self.cluster.ray.wait(list(waiting), timeout=max(0.0, limit - time.monotonic()))
            if not done:
                raise LostProcess(self._silent(list(waiting.values())))
            number = waiting.pop(done[0])
            groups = self._answer(number, done[0])
            if groups is None:
                waiting[self._ask(number, asked, shares[number])] = number
                limit = time.monotonic() + self.options.timeout
            else:
                found.update(zip(shares[number], groups, strict=True))
        return [found[number] for number in range(len(prompts))]

    def _start(self) -> _Member:
        device = "cuda" if self.options.gpus else "cpu"
        actor = self.cluster.spread(RolloutWorker, self.options.cpus, self.options.gpus)
        return _Member(actor.remote(self.model, device), None)

    def _ask(self, number: int, asked: _Round, share: Sequence[int]) -> Any:
        return self.members[number].actor.sample.remote(self.weights.version, *asked.share(share))

    def _answer(self, number: int, said: Any) -> list[list[Sample]] | None:
        """What a worker has sampled; None where it died, and another one has taken its place.

        Raises LostProcess where too many have died, and what the worker itself raised.
        """
        ray, member = self.cluster.ray, self.members[number]
        try:
            _, groups = ray.get([member.taking, said])
        except ray.exceptions.RayTaskError as error:
            raise ours(error, f"rollout worker {number}") from error
        except ray.exceptions.RayError as error:
            self._replace(number, told(error))
            return None
        found: list[list[Sample]] = groups
        return found

    def _replace(self, number: int, reason: str) -> None:
        """Start another worker in place of a dead one, with the step's weights."""
        self.deaths.append(f"worker {number}: {reason}")
        if len(self.deaths) > self.options.deaths:
            raise LostProcess(
                f"{len(self.deaths)} rollout workers died over step {self.weights.version + 1}, "
                f"{self.options.deaths} may (engine.options.deaths); go on from the last checkpoint with "
                f"--resume. {'; '.join(self.deaths)}"
            )
        warnings.warn(f"rollout {self.deaths[-1]}; another one takes its place", stacklevel=2)
        self.cluster.ray.kill(self.members[number].actor)  # where only the line to it was lost
        self.members[number] = self._start()
        self.members[number].taking = self.members[number].actor.take.remote(self.weights, *self.pieces)

    def _silent(self, numbers: Sequence[int]) -> str:
        return (
            f"rollout workers {', '.join(map(str, sorted(numbers)))} have not answered for "
            f"{self.options.timeout:g} s (engine.options.timeout): they hang, or wait for CPUs or GPUs that "
            "the cluster does not have free; go on from the last checkpoint with --resume"
        )

    def close(self) -> None:
        """As `Engine`; the cluster is left as it was found."""
        for member in self.members:
            self.cluster.ray.kill(member.actor)
        self.members, self.pieces = [], []
        self.cluster.close()


def learned_weights(policy: Policy) -> dict[str, Tensor]:
    """The weights that learn, by name; tied ones once."""
    return {name: weight.detach() for name, weight in policy.model.named_parameters() if weight.requires_grad}


def pieces_of(weights: Mapping[str, Tensor], size: int = PIECE) -> Iterator[Piece]:
    """The weights as safetensors of up to `size` bytes of numbers each, a larger weight alone."""
    some: dict[str, Tensor] = {}
    for name, weight in weights.items():
        if some and sum(one.nbytes for one in some.values()) + weight.nbytes > size:
            yield np.frombuffer(save(some), np.uint8)
            some = {}
        some[name] = weight.cpu().contiguous()
    if some:
        yield np.frombuffer(save(some), np.uint8)


def shares_of(prompts: Sequence[Prompt], count: int) -> list[list[int]]:
    """The prompts' numbers in up to `count` runs of about equal length, none empty.

    Prompts about one clip stay together, so that one worker sees it once.
    """
    clips: dict[tuple[int, ...], list[int]] = {}
    for number, prompt in enumerate(prompts):
        shown = (*(id(image) for _, image in prompt.earlier), id(prompt.clip))
        clips.setdefault((-1, number) if prompt.clip is None else shown, []).append(number)
    shares: list[list[int]] = [[] for _ in range(count)]
    placed = 0
    for numbers in clips.values():  # a clip goes where its middle prompt falls
        shares[(2 * placed + len(numbers)) * count // (2 * len(prompts))].extend(numbers)
        placed += len(numbers)
    return [share for share in shares if share]


def make_ray(recipe: Recipe | Selection, policy: Policy, options: RayOptions) -> RayEngine:
    """The factory that the registry names.

    Raises ValueError for a learner of several processes, and as `RayEngine`.
    """
    if current().size > 1:
        raise ValueError(
            f"engine.name is 'ray', but {current().size} processes learn; rollout workers serve one learner: "
            "start it without torchrun, or write 'in_process'"
        )
    return RayEngine(recipe.model, policy, options)
