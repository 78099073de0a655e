"""What a recipe can name: objectives, losses and advantages. Torch is imported only when one is built.

A new method adds a line here and at most one small file beside this one.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tolman.learn import advantage, bonus


@dataclass(frozen=True)
class Entry:
    """An objective: where it is made, the recipe sections and losses it reads, and its own options.

    factory: `module:function`, called as function(recipe, policy, corpus) → Objective. sections: those it
    needs beside the common ones; optional: those it may have. A recipe that has others is refused, because
    they would be ignored. options: name → default; a given option must have the default's type.
    """

    factory: str
    sections: frozenset[str] = frozenset()
    optional: frozenset[str] = frozenset()
    losses: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)

    def load(self) -> Callable[..., Any]:
        """Import and return the factory."""
        module, _, name = self.factory.partition(":")
        return getattr(importlib.import_module(module), name)  # type: ignore[no-any-return]


OBJECTIVES: dict[str, Entry] = {
    "sft": Entry("tolman.learn.sft:make_sft", frozenset({"loss"}), losses=("nll",)),
    "dense": Entry("tolman.learn.dense:make_dense", options={"placed_weight": 1.0}),
    "rl": Entry(
        "tolman.learn.rl:make_rl",
        frozenset({"loss", "sampling", "rewards", "advantage"}),
        frozenset({"bonuses"}),
        ("policy_gradient",),
    ),
}

LOSSES: tuple[str, ...] = ("nll", "policy_gradient")
NORMALISE: tuple[str, ...] = ("tokens", "sequences", "constant")

ADVANTAGES: dict[str, Callable[..., Any]] = {
    "group_mean_std": advantage.group_mean_std,
    "group_mean": advantage.group_mean,
}

BONUSES: dict[str, type[bonus.Bonus]] = {
    "temporal": bonus.TemporalBonus,
    "length": bonus.LengthBonus,
}
