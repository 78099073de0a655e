"""What a recipe will need, predicted: memory, seconds and which knob to turn. Pure.

`make_plan` takes a checked recipe, a policy's sizes and a machine. Formulas: `work`, `memory`, `duration`.
What they were checked against and how far off they are: docs/plan.md.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from tolman.learn.config import apply_overrides
from tolman.learn.hardware import GIB, Hardware
from tolman.learn.plan.duration import durations, reading
from tolman.learn.plan.memory import Memory, kind_of, memory
from tolman.learn.plan.sizes import ModelSize
from tolman.learn.plan.work import Lengths, Step, loss_flops, step_of
from tolman.learn.recipe import parse_recipe, parse_selection, recipe_to_toml
from tolman.learn.sections import Recipe, Selection

WORTH, QUICKER = 0.02, 0.05
"""A knob that moves less than this share is not named; one that saves less time is not advised."""
SPARE = 0.05
"""Share of the device's memory that a plan leaves free: what allocators lose to fragments."""
CHANGES = ("nothing", "rounding", "the batch", "what learns", "the method")
"""What turning a knob changes, from harmless to not."""


@dataclass(frozen=True)
class Plan:
    """A predicted step. trained: weights that learn. seconds: by part. reading: seconds to decode its clips
    where they are not held."""

    recipe: Recipe | Selection
    size: ModelSize
    hardware: Hardware
    lengths: Lengths
    clips: int | None
    step: Step
    memory: Memory
    seconds: dict[str, float]

    @property
    def step_seconds(self) -> float:
        """Of a whole step."""
        return sum(self.seconds.values())

    @property
    def sample_seconds(self) -> float:
        """Of a step, for each completion it learns from."""
        return self.step_seconds / self.step.samples

    @property
    def limit(self) -> float:
        """Bytes of the device that a run should not go beyond."""
        return self.hardware.memory * GIB * (1 - SPARE)

    @property
    def fits(self) -> bool:
        """Whether the peak stays within `limit`."""
        return self.memory.peak <= self.limit

    @property
    def flops(self) -> float:
        """Useful arithmetic of loss and gradients in a step."""
        step = self.step
        return step.processes * step.passes * loss_flops(self.size, step) if step.learns else 0.0

    @property
    def peak_flops(self) -> float:
        """Operations a second that the machine can do in the type of the recipe's matrix products."""
        return self.hardware.peak(kind_of(self.recipe, self.hardware.is_gpu).is_half)

    @property
    def mfu(self) -> float:
        """Model FLOP utilisation of loss and gradients: `flops` over what the machine can do in that time."""
        spent = sum(value for name, value in self.seconds.items() if name.startswith("loss"))
        return self.flops / spent / self.peak_flops / self.step.processes if spent else 0.0


class Change(NamedTuple):
    """A knob turned, nothing else. settings: overrides of the recipe. changes: one of `CHANGES`."""

    settings: tuple[str, ...]
    changes: str
    plan: Plan


@dataclass(frozen=True)
class Advice:
    """dominates: the part that needs most, of memory where the plan does not fit and of time where it does,
    and its share. turn: knobs to turn one after another, each plan with all before it; the last one fits
    where any does."""

    dominates: str
    share: float
    turn: tuple[Change, ...]


def make_plan(
    recipe: Recipe | Selection,
    size: ModelSize,
    hardware: Hardware,
    lengths: Lengths | None = None,
    *,
    clips: int | None = None,
    processes: int = 1,
) -> Plan:
    """Predict a step; of several processes, one device for each, what one of them needs.

    lengths: tokens of questions and completions. clips: how many the data has, None where that is not known:
    caches then count as full. Raises ValueError as `step_of`.
    """
    lengths = lengths or Lengths()
    step = step_of(recipe, size, lengths, processes)
    needed = memory(recipe, size, step, is_gpu=hardware.is_gpu, clips=clips)
    seconds = durations(recipe, size, step, hardware)
    return Plan(recipe, size, hardware, lengths, clips, step, needed, seconds)


def turned(plan: Plan, settings: Sequence[str]) -> Plan:
    """The plan of the recipe with overrides. Raises ValueError where the recipe does not take them."""
    parse = parse_selection if isinstance(plan.recipe, Selection) else parse_recipe
    table = apply_overrides(tomllib.loads(recipe_to_toml(plan.recipe)), settings)
    recipe = parse(table)
    return make_plan(
        recipe, plan.size, plan.hardware, plan.lengths, clips=plan.clips, processes=plan.step.processes
    )  # fmt: skip


def changes(plan: Plan) -> list[Change]:
    """Every knob that the recipe lets one turn and that moves memory or time, turned alone."""
    found = []
    for settings, kind in _knobs(plan):
        try:
            other = turned(plan, settings)
        except ValueError:  # this recipe's method does not allow it
            continue
        moved = (other.memory.peak / plan.memory.peak, other.sample_seconds / plan.sample_seconds)
        if any(abs(ratio - 1) > WORTH for ratio in moved):
            found.append(Change(tuple(settings), kind, other))
    return sorted(found, key=lambda change: CHANGES.index(change.changes))


def _knobs(plan: Plan) -> Iterator[tuple[list[str], str]]:
    """(overrides, what they change)."""
    recipe, step = plan.recipe, plan.step
    batch, model = recipe.batch, recipe.model
    if isinstance(recipe, Recipe):
        if step.part_clips > 1:
            yield ["batch.micro_clips=1"], "nothing"
        elif batch.micro_clips:
            yield ["batch.micro_clips=0"], "nothing"
        yield [f"model.gradient_checkpointing={str(not model.gradient_checkpointing).lower()}"], "nothing"
        if model.dtype == "float32" and not model.mixed:
            yield ["model.mixed=true"], "rounding"
    if recipe.data.cache_mb > 64:
        yield [f"data.cache_mb={recipe.data.cache_mb // 4}"], "nothing"
    if model.dtype == "float32":
        yield ["model.dtype=bfloat16", "model.mixed=false"], "rounding"
    if isinstance(recipe, Recipe) and step.processes > 1 and recipe.distributed.shard == "none":
        yield ["distributed.shard=full"], "nothing"
    if isinstance(recipe, Recipe) and model.train in ("all", "text+merger"):
        yield ["model.train=text"], "what learns"
    if isinstance(recipe, Recipe) and model.train != "vision" and not model.lora_rank:
        yield ["model.lora_rank=16", "model.train=text"], "what learns"
    if isinstance(recipe, Recipe) and model.lora_rank and not model.quantise:
        yield ["model.quantise=nf4"], "what learns"
    yield [f"batch.questions_per_clip={2 * batch.questions_per_clip}"], "the batch"
    if batch.clips > 1:
        yield [f"batch.clips={batch.clips // 2}"], "the batch"
    if step.frames > 2:
        yield [f"data.frames={step.frames // 2}"], "the method"
    if recipe.sampling is not None:
        yield [f"sampling.max_new_tokens={max(1, recipe.sampling.max_new_tokens // 2)}"], "the method"
        if recipe.sampling.group > 3:
            yield [f"sampling.group={recipe.sampling.group // 2}"], "the method"
    if isinstance(recipe, Recipe) and recipe.objective.name == "rl" and recipe.loss and recipe.loss.beta:
        yield ["loss.beta=0.0", "loss.clamp=0.0"], "the method"


def advise(plan: Plan) -> Advice:
    """What to turn: until it fits, the most harmless knobs first; where it fits, what makes it quicker."""
    if not plan.fits:
        needs = plan.memory.phases[plan.memory.peak_phase]
        largest = max(needs, key=lambda name: needs[name])
        return Advice(largest, needs[largest] / plan.memory.peak, tuple(_until_it_fits(plan)))
    longest = max(plan.seconds, key=lambda name: plan.seconds[name])
    quicker = [
        change
        for change in changes(plan)
        if change.plan.fits and change.plan.sample_seconds < plan.sample_seconds * (1 - QUICKER)
    ]
    first = min(quicker, key=_by(lambda other: other.sample_seconds), default=None)
    share = plan.seconds[longest] / plan.step_seconds
    return Advice(longest, share, (first,) if first else ())


def _by(value: Callable[[Plan], float]) -> Callable[[Change], tuple[int, float]]:
    """The most harmless first, among equals the one with the smallest value."""
    return lambda change: (CHANGES.index(change.changes), value(change.plan))


def _until_it_fits(plan: Plan) -> Iterator[Change]:
    """Knobs turned one on top of another, each of which lowers the peak."""
    used: set[str] = set()
    while not plan.fits:
        lower = [
            change
            for change in changes(plan)
            if change.plan.memory.peak < plan.memory.peak * (1 - WORTH) and change.settings[0] not in used
        ]
        if not lower:
            return
        change = min(lower, key=_by(lambda other: other.memory.peak))
        used.add(change.settings[0])
        yield change
        plan = change.plan


def to_json(plan: Plan) -> dict[str, Any]:
    """The plan with stable names; bytes and seconds."""
    advice, step = advise(plan), plan.step
    return {
        "run": plan.recipe.run.name,
        "model": {
            "path": plan.recipe.model.path,
            "parameters": plan.size.parameters,
            "adapter_rank": plan.recipe.model.lora_rank,
            "quantise": plan.recipe.model.quantise,
        },
        "hardware": {
            "name": plan.hardware.name,
            "memory_bytes": plan.hardware.memory * GIB,
            "flops_per_second": plan.peak_flops,
            "bytes_per_second": plan.hardware.bandwidth,
        },
        "step": {
            "processes": step.processes,
            "clips_per_process": step.clips,
            "frames": step.frames,
            "frame_size": list(step.frame_size),
            "patches_per_clip": step.patches,
            "clip_tokens": step.tree.clip,
            "question_tokens": step.tree.question,
            "completion_tokens": step.tree.completion,
            "longest_tokens": step.longest,
            "tree_tokens": step.tree.tokens,
            "samples": step.samples,
            "flops": plan.flops,
        },
        "memory": {
            "phases": {name: dict(parts) for name, parts in plan.memory.phases.items()},
            "peak_phase": plan.memory.peak_phase,
            "peak_bytes": plan.memory.peak,
            "fits": plan.fits,
            "host": dict(plan.memory.host),
        },
        "time": {
            "parts": dict(plan.seconds),
            "step_seconds": plan.step_seconds,
            "sample_seconds": plan.sample_seconds,
            "reading_seconds": reading(step),
            "mfu": plan.mfu,
        },
        "advice": {
            "dominates": advice.dominates,
            "share": advice.share,
            "turn": [_json(change) for change in advice.turn],
        },
        "knobs": [_json(change) for change in changes(plan)],
    }


def _json(change: Change) -> dict[str, Any]:
    return {
        "settings": list(change.settings),
        "changes": change.changes,
        "peak_bytes": change.plan.memory.peak,
        "fits": change.plan.fits,
        "step_seconds": change.plan.step_seconds,
        "sample_seconds": change.plan.sample_seconds,
    }
