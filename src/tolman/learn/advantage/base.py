"""What an advantage is given and what it gives back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class RewardedGroup:
    """The completions of one prompt and what they earned.

    rewards_G: weighted rewards plus bonuses, NaN where a completion could not be graded. parts: reward name →
    weighted values (G,). shuffled: the same for completions from shuffled frames (S,), None where nobody
    asked for them. problem_type, question_type: of the question. answers: what each completion answered in a
    form that can be compared, None for no answer. cuts_G: tokens before the second segment of each
    completion, None without segments. pair: index among the step's groups of the mirrored twin, or None.
    """

    rewards_G: Floats
    parts: Mapping[str, Floats] = field(default_factory=dict)
    shuffled: Mapping[str, Floats] | None = None
    problem_type: str = ""
    question_type: str = ""
    answers: tuple[str | None, ...] = ()
    cuts_G: npt.NDArray[np.int64] | None = None
    pair: int | None = None

    def total(self, names: Sequence[str]) -> Floats:
        """(G,) sum of the named weighted rewards."""
        summed: Floats = np.sum([self.parts[name] for name in names], axis=0, dtype=np.float64)
        return summed


def has_signal(advantages: npt.ArrayLike) -> bool:
    """Whether any completion of the group would be pushed anywhere (some advantage is neither 0 nor NaN).

    Equal rewards whose mean is not exactly representable leave advantages near 1e-13: these count as none.
    """
    return bool((np.abs(np.nan_to_num(np.asarray(advantages, dtype=np.float64))) > 1e-9).any())


class Advantage(ABC):
    """From the groups of a step to their advantages. Subclasses are dataclasses whose fields are options."""

    shuffled: int = 0
    """Completions with shuffled frames it needs of each prompt, 0 for none."""
    mark: str = ""
    """Text that ends the first segment of a completion, "" where segments do not matter."""
    mirrored: ClassVar[bool] = False
    """Whether every clip must also be shown mirrored, its groups paired with the clip's own."""

    @property
    def names(self) -> tuple[str, ...]:
        """Rewards it looks at one by one; the recipe must have them."""
        return ()

    @property
    def state(self) -> dict[str, Any]:
        """What it carries from step to step, as JSON can hold it; saved in checkpoints, restored in place."""
        return {}

    @abstractmethod
    def __call__(self, groups: Sequence[RewardedGroup]) -> list[Floats]:
        """Per group (G,), or (G, 2) where the two segments differ; NaN where the reward is NaN."""


class PerGroup(Advantage):
    """An advantage of one group alone."""

    @abstractmethod
    def of_group(self, group: RewardedGroup) -> Floats:
        """(G,) advantages, or (G, 2)."""

    def __call__(self, groups: Sequence[RewardedGroup]) -> list[Floats]:
        """Every group by itself."""
        return [self.of_group(group) for group in groups]
