"""The rollout interface: who samples a step's completions, and with which weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from tolman.learn.config import build
from tolman.learn.registry import ENGINES
from tolman.learn.sections import Recipe, Selection
from tolman.policy.generate import Sample, generate
from tolman.policy.policy import Policy
from tolman.policy.prompt import Prompt
from tolman.policy.sampling import Sampling


class Engine(Protocol):
    """Samples completions of prompts with the learner's weights.

    The learner calls `sync` before the first `sample` of every step, and `close` at the end of the run, also
    after an error. An engine never samples with other weights than those of the last `sync`. Where something
    outside this process is lost for good it raises `tolman.learn.processes.LostProcess`.
    """

    def sync(self, policy: Policy, step: int) -> None:
        """Take the learner's weights as they are now, those of `step` (0-based)."""
        ...

    def sample(
        self, prompts: Sequence[Prompt], group: int, sampling: Sampling, uniforms: Tensor
    ) -> list[list[Sample]]:
        """`group` completions of each prompt, in the prompts' order.

        uniforms: (len(prompts) * group, T) float64 in [0, 1), as `tolman.policy.generate.draw_uniforms` makes
        them: at most T tokens a completion, token t of row r drawn with number (r, t). An engine that cannot
        be told its random numbers takes each row's seed from them, so that a step still is a function of
        recipe, step and weights.
        """
        ...

    def close(self) -> None:
        """Let go of workers, servers and memory; may be called twice."""
        ...


class InProcess:
    """The learner's own policy samples, in the learner's process."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy

    def sync(self, policy: Policy, step: int) -> None:
        """As `Engine`; nothing travels."""
        self.policy = policy

    def sample(
        self, prompts: Sequence[Prompt], group: int, sampling: Sampling, uniforms: Tensor
    ) -> list[list[Sample]]:
        """As `Engine`."""
        return generate(
            self.policy,
            prompts,
            group,
            max_new_tokens=uniforms.shape[1],
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=sampling.top_k,
            uniforms=uniforms,
        )

    def close(self) -> None:
        """As `Engine`; there is nothing to let go of."""


def make_in_process(recipe: Recipe | Selection, policy: Policy, options: object) -> InProcess:
    """The factory that the registry names."""
    return InProcess(policy)


def make_engine(recipe: Recipe | Selection, policy: Policy) -> Engine:
    """The engine that a recipe names; without an [engine] section it is the learner's own process.

    policy: the learner's. Raises ValueError for what the engine cannot do or does not find.
    """
    if recipe.engine is None:
        return InProcess(policy)
    entry = ENGINES[recipe.engine.name]
    options: object = build(entry.options, recipe.engine.options, "recipe: engine.options")
    engine: Engine = entry.load()(recipe, policy, options)
    return engine
