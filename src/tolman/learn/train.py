"""The training loop: the only one. It draws batches, steps the optimiser, writes the run folder, and knows no
method.

Departures from the published trainers (Video-R1's, which SpaceR's extends): an unreadable clip drops its
questions and is logged, it is never replaced by another clip; a failed forward pass raises; a checkpoint
holds the optimiser, so that a resumed run equals one never interrupted.
"""

from __future__ import annotations

import hashlib
import math
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import closing, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch

from tolman.learn.checkpoint import bit_sums, clear_up, load_step, save_step, step_folders
from tolman.learn.corpus import Corpus, check_gold, load_corpus
from tolman.learn.objective import Batch, LossOutput, Objective, precision
from tolman.learn.optim import (
    choose_trained,
    clip_gradients,
    learning_rate,
    make_adamw,
    recompute_activations,
)
from tolman.learn.processes import Processes, connect, current, exchanging, own_device
from tolman.learn.recipe import Recipe, make_rewards, recipe_to_toml
from tolman.learn.registry import OBJECTIVES
from tolman.learn.run_folder import METRICS, ROLLOUTS, SKIPPED, RunFolder
from tolman.learn.sections import Selection
from tolman.learn.seeds import stream_seed
from tolman.learn.selection import select
from tolman.learn.sharding import Shards, whole_state
from tolman.learn.stages import Stage, folder_of
from tolman.learn.tracking import Trackers, check_trackers
from tolman.learn.utilisation import FlopMeter
from tolman.learn.watch import StallWatch, Watch
from tolman.policy.adapters import adapter_weights, add_adapters, check_peft
from tolman.policy.load import load_policy, save_policy
from tolman.policy.policy import Policy
from tolman.policy.quantised import check_bitsandbytes, quantise, scales, whole_bytes

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
    are changed). Where torchrun started several processes all of them must call this; the first writes and
    reports. Raises ValueError for what the recipe, data or run folder gets wrong, OSError when the disk does,
    LostProcess when another process of the run dies or hangs.
    """
    with connect(recipe.run.device, recipe.distributed.timeout) as processes:
        return _train(recipe, resume, progress or _ignore, policy, processes)


def _train(
    recipe: Recipe,
    resume: bool,
    progress: Callable[[Row], None],
    policy: Policy | None,
    processes: Processes,
) -> Path:
    _check_packages(recipe)
    folder = RunFolder(Path(recipe.run.out) / recipe.run.name)
    rewards = make_rewards(recipe) if recipe.rewards else None
    corpus = check_gold(load_corpus(recipe.data), rewards, drop=recipe.data.drop_bad_gold)
    if policy is None:
        device = own_device(recipe.run.device)
        first = "cpu" if recipe.model.quantise else device
        policy = load_policy(recipe.model.path, device=first, dtype=recipe.model.dtype)
    _choose_what_learns(recipe, policy)
    if recipe.model.gradient_checkpointing:
        recompute_activations(policy.model)
    threads = torch.get_num_threads()
    with torch.random.fork_rng():
        torch.manual_seed(stream_seed(recipe.run.seed, 0, "initial"))
        objective: Objective = OBJECTIVES[recipe.objective.name].load()(recipe, policy, corpus)
        with closing(objective):
            processes.agree(_digests(recipe, corpus, policy) if processes.size > 1 else {})
            if processes.first:
                folder.check_same(recipe) if resume else folder.start(recipe)
            try:
                torch.set_num_threads(recipe.run.threads or threads)
                _Loop(recipe, folder, policy, objective, len(corpus.training)).run(progress)
            finally:
                torch.set_num_threads(threads)
    return folder.path


def train_stages(
    stages: Sequence[Stage], *, resume: bool = False, progress: Callable[[Stage, Row], None] | None = None
) -> Path:
    """Run the stages of a recipe in order; the last one's run folder is returned.

    resume: pass over the stages that are done, go on in the one that was interrupted, begin the others.
    progress: called with the stage and each row of its metrics.jsonl. Raises ValueError, before anything
    starts, where a stage's folder exists already and resume is not given, and where stages differ in
    distributed.timeout; otherwise as `train`.
    """
    limits = {stage.distributed.timeout for stage in stages if isinstance(stage, Recipe)}
    if len(limits) != 1:
        raise ValueError(f"distributed.timeout must be the same in all stages, got {sorted(limits)}")
    with connect(stages[0].run.device, limits.pop()) as processes:
        processes.from_first(partial(_check_stages, stages, resume))
        for stage in stages:
            report = partial(progress, stage) if progress else _ignore
            _run_stage(stage, report, processes)
    return folder_of(stages[-1])


def _check_stages(stages: Sequence[Stage], resume: bool) -> None:
    if not resume and (there := [folder_of(one) for one in stages if folder_of(one).exists()]):
        raise ValueError(f"run {there[0]} exists; continue it with resume, or give another run.name")
    if resume and not folder_of(stages[0]).exists():
        raise ValueError(f"nothing to resume: {folder_of(stages[0])} is missing")
    for stage in stages:
        if not isinstance(stage, Selection):
            _check_packages(stage)


def _check_packages(recipe: Recipe) -> None:
    """Raise ValueError where a package that the recipe needs is not installed."""
    check_trackers(recipe)
    if recipe.model.lora_rank:
        check_peft()
    if recipe.model.quantise:
        check_bitsandbytes()


def _choose_what_learns(recipe: Recipe, policy: Policy) -> None:
    model = recipe.model
    choose_trained(policy.model, model.train)
    if model.quantise:
        quantise(policy, own_device(recipe.run.device))
    if model.lora_rank:
        alpha = model.lora_alpha or 2 * model.lora_rank
        seed = stream_seed(recipe.run.seed, 0, "adapters")
        add_adapters(policy, model.lora_rank, alpha, model.lora_targets, seed)


def _run_stage(stage: Stage, report: Callable[[Row], None], processes: Processes) -> None:
    """Begin a stage, go on in it, or pass over it, as its folder says."""
    folder = folder_of(stage)
    begun = processes.from_first((folder / "recipe.toml").is_file)
    if isinstance(stage, Selection):
        select(stage, resume=begun, progress=report)
    elif not processes.from_first((folder / "checkpoints" / "final").is_dir):
        train(stage, resume=begun, progress=report)
    elif processes.first:
        RunFolder(folder).check_same(stage)


def _digests(recipe: Recipe, corpus: Corpus, policy: Policy) -> dict[str, str]:
    """What all processes must have read alike, each as a number for comparing."""
    questions = [(clip.name, q.problem_id, q.problem) for clip in corpus.training for q in clip.questions]
    read = {"recipe": recipe_to_toml(recipe), "questions": repr(questions)}
    found = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in read.items()}
    return found | {"weights": bit_sums([*policy.model.parameters(), *scales(policy.model)])}


def _digest_of_base(policy: Policy) -> str:
    """Of the weights that adapters were put on, as they are held: of four-bit ones, bits and scales."""
    own = adapter_weights(policy.model)
    held = [weight for name, weight in policy.model.named_parameters() if name not in own]
    return bit_sums(held + scales(policy.model))


def _ignore(row: Row) -> None:
    """No progress wanted."""


class _Loop:
    """The state of a run between steps."""

    def __init__(
        self, recipe: Recipe, folder: RunFolder, policy: Policy, objective: Objective, clips: int
    ) -> None:
        self.recipe, self.folder, self.policy, self.objective = recipe, folder, policy, objective
        self.processes = current()
        self.base = _digest_of_base(policy) if adapter_weights(policy.model) else ""
        self.shards = self._split()
        self.modules = {"policy": policy.model, **objective.modules}
        self.parameters = [
            p for module in self.modules.values() for p in module.parameters() if p.requires_grad
        ]
        self.optimiser = make_adamw(self.parameters, recipe.optimiser)
        self.allowed_skips = math.floor(recipe.run.max_skipped * clips)
        self.unreadable: set[str] = set()
        self.watch, self.stall = Watch(), StallWatch()
        self.meter = FlopMeter(policy, recipe)
        weights = whole_bytes(policy.model)
        trained = sum(p.numel() * p.element_size() for p in self.parameters)
        if self.processes.first:
            written = trained if self.base else weights
            folder.need_space((written + 2 * trained) * (recipe.run.keep + 1) + weights)

    def _split(self) -> Shards | None:
        """The policy's shards, None where every process holds it whole."""
        if self.processes.size == 1 or self.recipe.distributed.shard == "none":
            return None
        if self.objective.modules:
            raise ValueError(
                f"distributed.shard is 'full', but objective {self.recipe.objective.name!r} trains heads "
                "beside the policy, which cannot be split; write 'none'"
            )
        return Shards(self.policy, self.processes.size)

    def run(self, progress: Callable[[Row], None]) -> None:
        """From the last checkpoint (or the start) to the end."""
        start = self._restore()
        if not self.processes.first:
            self._steps(start, _ignore)
            return
        with Trackers(self.recipe, self.folder) as trackers:
            trackers.log(self.folder.rows(METRICS))

            def report(row: Row) -> None:
                trackers.log([row])
                progress(row)

            self._steps(start, report)

    def _steps(self, start: int, report: Callable[[Row], None]) -> None:
        run = self.recipe.run
        for step in range(start, run.steps):
            with self.stall.step(step + 1):
                row = self._step(step)
            report(row)
            if (step + 1) % run.checkpoint_every == 0 or step + 1 == run.steps:
                if self.processes.first:
                    self.folder.flush()
                save_step(
                    self.folder.checkpoints, step + 1, self.modules, self.optimiser, run.keep,
                    self.objective.state, self.base,
                )  # fmt: skip
        self.policy.model.eval()
        state = whole_state(self.policy.model)
        if self.processes.first:
            save_policy(self.policy, self.folder.checkpoints / "final", state=state)
        self.processes.wait()

    def _restore(self) -> int:
        done = 0
        if checkpoints := self.processes.from_first(partial(step_folders, self.folder.checkpoints)):
            device = str(self.policy.device)
            state = self.objective.state
            done = load_step(checkpoints[-1], self.modules, self.optimiser, device, state, self.base)
        self.unreadable = self.processes.from_first(partial(self._forget, done))
        return done

    def _forget(self, done: int) -> set[str]:
        """Drop rows after step `done` and what a kill left; the clips that could not be read up to there."""
        self.folder.truncate(done)
        clear_up(self.folder.checkpoints, self.recipe.run.keep)
        return {row["path"] for row in self.folder.rows(SKIPPED)}

    def _step(self, step: int) -> Row:
        began = time.perf_counter()
        torch.manual_seed(stream_seed(self.recipe.run.seed, step, "step"))
        with self.shards.whole() if self.shards else nullcontext():
            batch = self.objective.batch(step)
        self._note_skipped(batch, step + 1)
        rate = learning_rate(self.recipe.optimiser, step, self.recipe.run.steps)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        updating = time.perf_counter()
        metrics, tokens = self._update(batch, step)
        seconds = time.perf_counter() - began
        updating = time.perf_counter() - updating
        row = {"step": step + 1, **batch.metrics, **metrics, "lr": rate}
        row |= {"samples": batch.samples, "tokens": tokens, "skipped": len(batch.skipped)}
        row |= {
            "seconds": seconds,
            "samples_per_second": batch.samples / seconds,
            "tokens_per_second": tokens / seconds,
        }
        flops = metrics.get("flops", 0.0) * (len(batch.updates) or 1)
        row |= self.meter.utilisation(flops, updating, self.processes.size)
        if self.processes.first:
            self.folder.append(ROLLOUTS, ({"step": step + 1, **rollout} for rollout in batch.rows))
            self.folder.append(METRICS, [row])
            for warning in self.watch.see(batch.metrics):
                warnings.warn(warning, stacklevel=2)
        return row

    def _update(self, batch: Batch, step: int) -> tuple[dict[str, float], int]:
        """Every optimiser step of the batch; metrics are means over them, tokens their sum, both of all
        processes."""
        sums: dict[str, float] = {}
        trained = 0
        updates = batch.updates or [batch.parts]
        for number, parts in enumerate(updates):
            passes = max(self.processes.gather(len(parts)))
            shares = self.processes.gather(self._backward(parts, passes, step))
            if self.shards is None:
                self.processes.sum_gradients(self.parameters)
            norm = clip_gradients(self.parameters, self.recipe.optimiser.max_grad_norm)
            if not math.isfinite(norm):
                raise ValueError(_not_finite("gradient norm", norm, step))
            if passes:
                self._seed_rounding(step, number)
                self.optimiser.step()
            self.optimiser.zero_grad(set_to_none=True)
            trained += sum(tokens for _, tokens in shares)
            for metrics in ({"grad_norm": norm}, *(metrics for metrics, _ in shares)):
                for name, value in metrics.items():
                    sums[name] = sums.get(name, 0.0) + value
        return {name: value / len(updates) for name, value in sums.items()}, trained

    def _seed_rounding(self, step: int, update: int) -> None:
        """Weights in bfloat16 are rounded at random: alike where processes hold the same ones, differently
        where they hold shares."""
        if self.processes.size > 1:
            share = self.processes.rank if self.shards else 0
            torch.manual_seed(stream_seed(self.recipe.run.seed, step, f"update {update} of share {share}"))

    def _backward(self, parts: Sequence[Any], passes: int, step: int) -> tuple[dict[str, float], int]:
        """Gradients of this process's parts. passes: the most parts of any process; shards need that many."""
        self.policy.model.train()
        metrics: dict[str, float] = {}
        tokens = 0
        for at in range(passes if self.shards else len(parts)):
            part = parts[at] if at < len(parts) else None
            with precision(self.recipe, self.policy):
                output = self._loss(part)
            value = float(output.loss.detach())
            if not math.isfinite(value):
                raise ValueError(_not_finite("loss", value, step))
            with exchanging():
                output.loss.backward()  # type: ignore[no-untyped-call]
            tokens += output.tokens
            for name, share in (output.metrics | self.meter.of(part)).items():
                metrics[name] = metrics.get(name, 0.0) + share
        return metrics, tokens

    def _loss(self, part: Any) -> LossOutput:
        if self.shards is None:
            return self.objective.loss(part)
        return self.shards.run(self.shards.nothing if part is None else partial(self.objective.loss, part))

    def _note_skipped(self, batch: Batch, step: int) -> None:
        if self.processes.first:
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
