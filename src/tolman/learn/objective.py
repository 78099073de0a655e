"""What the training loop knows of an objective: it draws batches and turns their parts into losses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from tolman.learn.recipe import Recipe
from tolman.policy.policy import Policy


class Skipped(NamedTuple):
    """A clip that could not be read."""

    path: str
    reason: str


@dataclass
class Batch:
    """One step's work.

    parts: what `loss` is called with, one after another; their losses add up to the step's loss. skipped:
    clips that could not be read (their questions are in no part). metrics: numbers of the step known before
    the loss. rows: what goes to rollouts.jsonl (without the step). samples: completions or gold answers in
    the parts. updates: the parts of each optimiser step, in order; empty for one step over all parts.
    """

    parts: Sequence[Any]
    samples: int
    skipped: list[Skipped] = field(default_factory=list)
    metrics: dict[str, float] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    updates: Sequence[Sequence[Any]] = ()


class LossOutput(NamedTuple):
    """A part's share of the step's loss (scalar with gradient), of its metrics, and its trained tokens."""

    loss: Tensor
    metrics: dict[str, float]
    tokens: int


class Objective(Protocol):
    """Draws the batch of a step and computes the loss of its parts.

    `batch(step)` must be a pure function of the recipe, the step, the weights and `state`: that is what makes
    a resumed run equal one never interrupted. `modules`: extra modules to train beside the policy (saved in
    checkpoints).
    """

    @property
    def modules(self) -> Mapping[str, nn.Module]:
        """Extra trained modules by name; empty where the policy is all there is."""
        ...

    @property
    def state(self) -> dict[str, Any]:
        """What else changes as the run goes, as JSON can hold it; saved in checkpoints, restored in place."""
        ...

    def batch(self, step: int) -> Batch:
        """The work of a step (0-based)."""
        ...

    def loss(self, part: Any) -> LossOutput:
        """The part's share of the loss."""
        ...

    def close(self) -> None:
        """Let go of what it holds outside this process; the run is over."""
        ...


def precision(recipe: Recipe, policy: Policy) -> torch.autocast:
    """Where matrix products are made in bfloat16, if the recipe wants that."""
    return torch.autocast(policy.device.type, torch.bfloat16, enabled=recipe.model.mixed)
