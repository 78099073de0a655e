"""What a recipe can name: objectives, losses, advantages, engines, trackers.

Torch is imported only when one is built. A new method adds a line here and at most one small file beside this
one.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tolman.learn import bonus
from tolman.learn.advantage import Advantage, GroupMean, GroupMeanStd, LeaveOneOut
from tolman.learn.advantage.bands import TaskBands
from tolman.learn.advantage.difficulty import DifficultyWeighted
from tolman.learn.advantage.duality import Duality
from tolman.learn.advantage.ema import EmaPerTask
from tolman.learn.advantage.segments import PerSegment
from tolman.learn.advantage.temporal import OrderWeighted, TemporalContrast
from tolman.learn.advantage.views import ViewConsistent
from tolman.learn.engines.options import NoOptions as NoEngineOptions
from tolman.learn.engines.options import RayOptions, VllmOptions
from tolman.learn.loss_options import NoOptions, Pairs, Regression, TokenWeights, Verdicts


def _load(path: str) -> Callable[..., Any]:
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)  # type: ignore[no-any-return]


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
        return _load(self.factory)


NORMALISE: tuple[str, ...] = ("tokens", "sequences", "constant")


@dataclass(frozen=True)
class LossEntry:
    """A loss: where it is, the keys of [loss] and the rules of normalisation it takes, its own options.

    function: `module:function`. keys: those beside name, normalise and options; they are passed on. options:
    dataclass of what [loss.options] may hold. divergence: whether it needs the divergence of the group's
    distributions at every token (`tolman.learn.loss.divergence`), a second forward pass.
    """

    function: str
    keys: frozenset[str] = frozenset()
    normalise: tuple[str, ...] = NORMALISE
    options: type = NoOptions
    divergence: bool = False

    def load(self) -> Callable[..., Any]:
        """Import and return the function."""
        return _load(self.function)


_LOSS = "tolman.learn.loss"
_RATIO = frozenset({"beta", "clamp", "clip", "dual_clip"})
_BETA = frozenset({"beta"})
_SEQUENCES = ("sequences",)

LOSSES: dict[str, LossEntry] = {
    "nll": LossEntry(f"{_LOSS}.terms:nll", normalise=("tokens", "sequences")),
    "policy_gradient": LossEntry(f"{_LOSS}.policy_gradient:policy_gradient", _RATIO),
    "gspo": LossEntry(f"{_LOSS}.policy_gradient:gspo", _RATIO),
    "tw_grpo": LossEntry(f"{_LOSS}.policy_gradient:tw_grpo", _RATIO, options=TokenWeights, divergence=True),
    "reg_grpo": LossEntry(f"{_LOSS}.reg_grpo:reg_grpo", frozenset({"beta", "clamp"}), _SEQUENCES, Regression),
    "dpo": LossEntry(f"{_LOSS}.preference:dpo", _BETA, _SEQUENCES, Pairs),
    "kto": LossEntry(f"{_LOSS}.preference:kto", _BETA, _SEQUENCES, Verdicts),
}

OBJECTIVES: dict[str, Entry] = {
    "sft": Entry(
        "tolman.learn.sft:make_sft",
        frozenset({"loss"}),
        losses=("nll",),
        options={"turns": 0, "working": False, "after_map": 1.0, "blind": 0},
    ),
    "dense": Entry("tolman.learn.dense:make_dense", options={"placed_weight": 1.0}),
    "rl": Entry(
        "tolman.learn.rl:make_rl",
        frozenset({"loss", "sampling", "rewards", "advantage"}),
        frozenset({"bonuses", "filter", "engine"}),
        ("policy_gradient", "gspo", "tw_grpo", "reg_grpo"),
    ),
    "review": Entry(
        "tolman.learn.review:make_review",
        frozenset({"loss", "sampling", "rewards", "advantage"}),
        frozenset({"filter"}),
        ("policy_gradient",),
        options={"frames": 0, "sufficiency": 0.3},
    ),
    "dpo": Entry("tolman.learn.preference:make_dpo", frozenset({"loss"}), losses=("dpo",)),
    "kto": Entry("tolman.learn.preference:make_kto", frozenset({"loss"}), losses=("kto",)),
}

ADVANTAGES: dict[str, type[Advantage]] = {
    "group_mean_std": GroupMeanStd,
    "group_mean": GroupMean,
    "leave_one_out": LeaveOneOut,
    "ema_per_task": EmaPerTask,
    "difficulty_weighted": DifficultyWeighted,
    "task_bands": TaskBands,
    "temporal_contrast": TemporalContrast,
    "order_weighted": OrderWeighted,
    "view_consistent": ViewConsistent,
    "duality": Duality,
    "per_segment": PerSegment,
}


@dataclass(frozen=True)
class EngineEntry:
    """An engine: where it is made and its own options.

    factory: `module:function`, called as function(recipe, policy, options) → Engine with a Recipe or a
    Selection and the learner's policy (`tolman.learn.engines.engine`). options: dataclass of what
    [engine.options] may hold.
    """

    factory: str
    options: type = NoEngineOptions

    def load(self) -> Callable[..., Any]:
        """Import and return the factory."""
        return _load(self.factory)


ENGINES: dict[str, EngineEntry] = {
    "in_process": EngineEntry("tolman.learn.engines.engine:make_in_process"),
    "ray": EngineEntry("tolman.learn.engines.ray_workers:make_ray", RayOptions),
    "vllm": EngineEntry("tolman.learn.engines.vllm:make_vllm", VllmOptions),
}

TRACKERS: dict[str, str] = {
    "tensorboard": "tolman.learn.trackers:TensorBoard",
    "wandb": "tolman.learn.trackers:Wandb",
    "trackio": "tolman.learn.trackers:Trackio",
}
"""`module:class` of a `tolman.learn.trackers.Tracker`; the names are those of the packages they need, too."""

BONUSES: dict[str, type[bonus.Bonus]] = {
    "temporal": bonus.TemporalBonus,
    "length": bonus.LengthBonus,
}
