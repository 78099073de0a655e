"""The training loop: the only one. It draws batches, steps the optimiser, writes the run folder, and knows no
method.

Departures from the published trainers (Video-R1's, which SpaceR's extends): an unreadable clip drops its
questions and is logged, it is never replaced by another clip; a failed forward pass raises; a checkpoint
holds the optimiser, so that a resumed run equals one never interrupted.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from tolman.learn.checkpoint import load_step, save_step, step_folders
from tolman.learn.corpus import check_gold, load_corpus
from tolman.learn.objective import Batch, Objective, precision
from tolman.learn.optim import (
    choose_trained,
    clip_gradients,
    learning_rate,
    make_adamw,
    recompute_activations,
)
from tolman.learn.recipe import Recipe, make_rewards
from tolman.learn.registry import OBJECTIVES
from tolman.learn.run_folder import METRICS, ROLLOUTS, SKIPPED, RunFolder
from tolman.learn.sections import Selection
from tolman.learn.seeds import stream_seed
from tolman.learn.selection import select
from tolman.learn.stages import Stage, folder_of
from tolman.learn.watch import CollapseWatch
from tolman.policy.load import load_policy, save_policy
from tolman.policy.policy import Policy

Row = dict[str, Any]


def train(
    recipe: Recipe,
    *,
    resume: bool = False,
    progress: Callable[[Row], None] | None = None,
    policy: Policy | None = None,
) -> Path:
    """Run a recipe to its last step and return the run folder; the trained policy is `checkpoints/final`.

    resume: continue from the run's last checkpoint (from the start when it has none yet). progress: called
    with each row of metrics.jsonl. policy: the initial policy, in place of loading model.path (its weights
    are changed). Raises ValueError for what the recipe, data or run folder gets wrong, OSError when the disk
    does.
    """
    folder = RunFolder(Path(recipe.run.out) / recipe.run.name)
    rewards = make_rewards(recipe) if recipe.rewards else None
    corpus = check_gold(load_corpus(recipe.data), rewards, drop=recipe.data.drop_bad_gold)
    if policy is None:
        policy = load_policy(recipe.model.path, device=recipe.run.device, dtype=recipe.model.dtype)
    choose_trained(policy.model, recipe.model.train)
    if recipe.model.gradient_checkpointing:
        recompute_activations(policy.model)
    threads = torch.get_num_threads()
    with torch.random.fork_rng():
        torch.manual_seed(stream_seed(recipe.run.seed, 0, "initial"))
        objective: Objective = OBJECTIVES[recipe.objective.name].load()(recipe, policy, corpus)
        if resume:
            folder.check_same(recipe)
        else:
            folder.start(recipe)
        try:
            torch.set_num_threads(recipe.run.threads or threads)
            _Loop(recipe, folder, policy, objective, len(corpus.training)).run(progress or _ignore)
        finally:
            torch.set_num_threads(threads)
    return folder.path


def train_stages(
    stages: Sequence[Stage], *, resume: bool = False, progress: Callable[[Stage, Row], None] | None = None
) -> Path:
    """Run the stages of a recipe in order; the last one's run folder is returned.

    resume: pass over the stages that are done, go on in the one that was interrupted, begin the others.
    progress: called with the stage and each row of its metrics.jsonl. Raises ValueError, before anything
    starts, where a stage's folder exists already and resume is not given; otherwise as `train`.
    """
    if not resume and (there := [folder_of(one) for one in stages if folder_of(one).exists()]):
        raise ValueError(f"run {there[0]} exists; continue it with resume, or give another run.name")
    if resume and not folder_of(stages[0]).exists():
        raise ValueError(f"nothing to resume: {folder_of(stages[0])} is missing")
    for stage in stages:
        folder = folder_of(stage)
        begun = (folder / "recipe.toml").is_file()
        report = partial(progress, stage) if progress else _ignore
        if isinstance(stage, Selection):
            select(stage, resume=begun, progress=report)
        elif (folder / "checkpoints" / "final").is_dir():
            RunFolder(folder).check_same(stage)
        else:
            train(stage, resume=begun, progress=report)
    return folder


def _ignore(row: Row) -> None:
    """No progress wanted."""


class _Loop:
    """The state of a run between steps."""

    def __init__(
        self, recipe: Recipe, folder: RunFolder, policy: Policy, objective: Objective, clips: int
    ) -> None:
        self.recipe, self.folder, self.policy, self.objective = recipe, folder, policy, objective
        self.modules = {"policy": policy.model, **objective.modules}
        self.parameters = [
            p for module in self.modules.values() for p in module.parameters() if p.requires_grad
        ]
        self.optimiser = make_adamw(self.parameters, recipe.optimiser)
        self.allowed_skips = math.floor(recipe.run.max_skipped * clips)
        self.unreadable: set[str] = set()
        self.watch = CollapseWatch()
        weights = sum(p.numel() * p.element_size() for p in policy.model.parameters())
        trained = sum(p.numel() * p.element_size() for p in self.parameters)
        folder.need_space((weights + 2 * trained) * (recipe.run.keep + 1) + weights)

    def run(self, progress: Callable[[Row], None]) -> None:
        """From the last checkpoint (or the start) to the end."""
        run = self.recipe.run
        start = self._restore()
        for step in range(start, run.steps):
            progress(self._step(step))
            if (step + 1) % run.checkpoint_every == 0 or step + 1 == run.steps:
                self.folder.flush()
                save_step(
                    self.folder.checkpoints, step + 1, self.modules, self.optimiser, run.keep,
                    self.objective.state,
                )  # fmt: skip
        self.policy.model.eval()
        save_policy(self.policy, self.folder.checkpoints / "final")

    def _restore(self) -> int:
        done = 0
        if checkpoints := step_folders(self.folder.checkpoints):
            done = load_step(
                checkpoints[-1], self.modules, self.optimiser, self.recipe.run.device, self.objective.state
            )
        self.folder.truncate(done)
        self.unreadable = {row["path"] for row in self.folder.rows(SKIPPED)}
        return done

    def _step(self, step: int) -> Row:
        began = time.perf_counter()
        torch.manual_seed(stream_seed(self.recipe.run.seed, step, "step"))
        batch = self.objective.batch(step)
        self._note_skipped(batch, step + 1)
        rate = learning_rate(self.recipe.optimiser, step, self.recipe.run.steps)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        metrics, tokens = self._update(batch, step)
        seconds = time.perf_counter() - began
        row = {"step": step + 1, **batch.metrics, **metrics, "lr": rate}
        row |= {"samples": batch.samples, "tokens": tokens, "skipped": len(batch.skipped)}
        row |= {
            "seconds": seconds,
            "samples_per_second": batch.samples / seconds,
            "tokens_per_second": tokens / seconds,
        }
        self.folder.append(ROLLOUTS, ({"step": step + 1, **rollout} for rollout in batch.rows))
        self.folder.append(METRICS, [row])
        if warning := self.watch.see(batch.metrics):
            warnings.warn(warning, stacklevel=2)
        return row

    def _update(self, batch: Batch, step: int) -> tuple[dict[str, float], int]:
        """Every optimiser step of the batch; metrics are means over them, tokens their sum."""
        sums: dict[str, float] = {}
        trained = 0
        updates = batch.updates or [batch.parts]
        for parts in updates:
            metrics, tokens = self._backward(parts, step)
            norm = clip_gradients(self.parameters, self.recipe.optimiser.max_grad_norm)
            if not math.isfinite(norm):
                raise ValueError(_not_finite("gradient norm", norm, step))
            if parts:
                self.optimiser.step()
            self.optimiser.zero_grad(set_to_none=True)
            trained += tokens
            for name, value in (metrics | {"grad_norm": norm}).items():
                sums[name] = sums.get(name, 0.0) + value
        return {name: value / len(updates) for name, value in sums.items()}, trained

    def _backward(self, parts: Sequence[Any], step: int) -> tuple[dict[str, float], int]:
        self.policy.model.train()
        metrics: dict[str, float] = {}
        tokens = 0
        for part in parts:
            with precision(self.recipe, self.policy):
                output = self.objective.loss(part)
            value = float(output.loss.detach())
            if not math.isfinite(value):
                raise ValueError(_not_finite("loss", value, step))
            output.loss.backward()  # type: ignore[no-untyped-call]
            tokens += output.tokens
            for name, share in output.metrics.items():
                metrics[name] = metrics.get(name, 0.0) + share
        return metrics, tokens

    def _note_skipped(self, batch: Batch, step: int) -> None:
        self.folder.append(SKIPPED, ({"step": step, **skip._asdict()} for skip in batch.skipped))
        self.unreadable |= {skip.path for skip in batch.skipped}
        if len(self.unreadable) > self.allowed_skips:
            last = batch.skipped[-1]
            raise ValueError(
                f"{len(self.unreadable)} clips cannot be read, {self.allowed_skips} are allowed "
                f"(run.max_skipped = {self.recipe.run.max_skipped:g} of the training clips); the last one: "
                f"{last.path}: {last.reason}. All are listed in {self.folder.path / SKIPPED}; "
                "repair or remove them"
            )


def _not_finite(what: str, value: float, step: int) -> str:
    return (
        f"the {what} of step {step + 1} is {value}; the last checkpoint is untouched. Lower optimiser.lr, "
        "set optimiser.max_grad_norm, lengthen optimiser.warmup, or train in float32 (model.dtype)"
    )
