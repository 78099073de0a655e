"""Seconds that a step takes, part by part. Pure.

A part takes the longest of what its arithmetic, its memory traffic and its number of layers ask for. The
shares of a machine's peak that this needs were measured on one GPU and on one CPU (docs/plan.md).
"""

from __future__ import annotations

import math

from tolman.learn.hardware import Hardware, reached
from tolman.learn.plan.memory import Kind, kind_of, trained_bytes
from tolman.learn.plan.sizes import ModelSize
from tolman.learn.plan.work import Step, loss_flops, text_flops, tower_flops
from tolman.learn.sections import Recipe, Selection

FRAME_SECONDS = 0.03
"""To decode one frame of a 720p video on one core (16 of two minutes in 0.47 s)."""
COMPACT_AT = 0.25
"""Share of the rows that has finished when they are dropped (`tolman.policy.decode`)."""
UPDATE_BYTES = {(2, False): 200, (4, False): 33, (2, True): 200, (4, True): 90}
"""Read and written for each weight that learns, gradient clipping included, by a weight's bytes and whether
on a GPU: `StochasticAdamW` on bfloat16, torch's AdamW on float32, on a GPU operation by operation for all
weights. Measured on a CPU."""


def durations(
    recipe: Recipe | Selection, size: ModelSize, step: Step, hardware: Hardware
) -> dict[str, float]:
    """Part of the step → seconds.

    Left out: decoding clips that are not held, what several processes exchange, adapters' own products,
    unpacking four-bit weights and reading less of them.
    """
    kind = kind_of(recipe, hardware.is_gpu)
    found: dict[str, float] = {}
    if step.group:
        found |= _rollout(size, step, kind, hardware)
    if step.references:
        found["reference"] = step.passes * step.references * _forward(size, step, kind, hardware)
    if step.forwards:
        found["old log-probabilities"] = step.forwards * _forward(size, step, kind, hardware)
    if step.learns:
        assert isinstance(recipe, Recipe)
        text, tower = _loss(recipe, size, step, kind, hardware)
        found["loss, language model"] = step.passes * text
        if tower:
            found["loss, vision tower"] = step.passes * tower
        trained, each = trained_bytes(recipe, size)
        if recipe.distributed.shard == "full":
            trained /= step.processes
        traffic = (
            trained * UPDATE_BYTES[each, hardware.is_gpu] / (hardware.bandwidth * reached(hardware).copy)
        )
        found["update"] = step.updates * traffic
    return found


def reading(step: Step) -> float:
    """Seconds to decode a step's clips where they are not in the cache."""
    return step.clips * step.frames * FRAME_SECONDS


def _text(
    size: ModelSize, flops: float, pairs: float, is_half: bool, hardware: Hardware, passes: float
) -> float:
    """pairs: visible ones. passes: through all layers. A backward pass counts for two in both."""
    rates, text = reached(hardware), size.text
    busy = flops / (hardware.peak(is_half) * rates.text[0 if is_half else 1])
    busy += pairs * text.heads * text.layers * rates.pair
    apart = passes * text.layers * rates.layer
    return max(busy, apart) if hardware.is_gpu else busy + apart


def _tower(size: ModelSize, step: Step, is_half: bool, hardware: Hardware, passes: float) -> float:
    """Of all clips of the step; passes as in `_text`."""
    rates = reached(hardware)
    flops = passes * step.clips * tower_flops(size, step.patches, step.frame_size)
    return max(
        flops / (hardware.peak(is_half) * rates.tower[0 if is_half else 1]),
        passes * size.vision.depth * rates.layer,
    )


def _forward(size: ModelSize, step: Step, kind: Kind, hardware: Hardware) -> float:
    """A pass without gradient over all trees; a tower that learns anything is run again."""
    tree = step.tree
    flops = step.clips * text_flops(size, tree.tokens, tree.pairs, tree.scored)
    parts = math.ceil(step.clips / step.part_clips)
    seconds = _text(size, flops, step.clips * tree.pairs, kind.is_half, hardware, parts)
    return seconds + (0.0 if step.tower == "frozen" else _tower(size, step, kind.is_half, hardware, 1))


def _loss(recipe: Recipe, size: ModelSize, step: Step, kind: Kind, hardware: Hardware) -> tuple[float, float]:
    """One pass of loss and gradients over the batch: of the language model and of the vision tower."""
    again = recipe.model.gradient_checkpointing
    of_tower = {"trained": 3.0, "merger": 1.0, "frozen": 0.0}[step.tower]
    tower_work = of_tower * step.clips * tower_flops(size, step.patches, step.frame_size)
    flops = loss_flops(size, step) - tower_work
    passes = step.text_passes
    if again:
        flops, passes = flops * (1 + 1 / passes), passes + 1
    pairs = passes * (step.clips * step.tree.pairs + step.blind * step.alone.pairs)
    text = _text(size, flops, pairs, kind.is_half, hardware, passes * step.parts)
    if not of_tower:
        return text, 0.0
    tower = _tower(size, step, kind.is_half, hardware, of_tower)
    return text, tower * (reached(hardware).recompute if again and step.tower == "trained" else 1)


def _rollout(size: ModelSize, step: Step, kind: Kind, hardware: Hardware) -> dict[str, float]:
    """In the type of the weights. A frozen tower's features come from the cache after the first epoch."""
    is_half = kind.weight == 2
    tree = step.tree
    rounds = 1 + (step.shuffled > 0)
    flops = step.clips * text_flops(size, tree.prompt, tree.prompt_pairs, 0)
    seen = rounds - (step.tower == "frozen")
    decode = decode_step(size, step, step.group, kind, hardware)
    if step.shuffled:
        decode += decode_step(size, step, step.shuffled, kind, hardware)
    pairs = step.clips * tree.prompt_pairs
    found = {"rollout, prefill": rounds * _text(size, flops, pairs, is_half, hardware, 1)}
    if seen:
        found["rollout, vision tower"] = seen * _tower(size, step, is_half, hardware, 1)
    return found | {"rollout, decoding": step.longest * decode}


def decode_step(size: ModelSize, step: Step, group: int, kind: Kind, hardware: Hardware) -> float:
    """Seconds of one token of every completion: weights and keys are read once, or arithmetic bounds it."""
    text, tree, rates = size.text, step.tree, reached(hardware)
    rows = step.clips * tree.questions * group
    if not hardware.is_gpu and step.longest > tree.completion:  # rows that have finished are dropped, late
        rows = min(rows, math.ceil(rows * tree.completion / step.longest / (1 - COMPACT_AT / 2)))
    weights = text.layers * text.layer_matrices + text.head
    held = step.clips * tree.prompt + rows * tree.completion / 2
    traffic = kind.weight * (weights + 2 * text.layers * text.key * held)
    is_half = kind.weight == 2
    flops = rows * text_flops(size, 1, tree.clip + tree.question + tree.completion / 2, 1)
    share = rates.decode[0 if is_half else 1]
    busy = max(traffic / (hardware.bandwidth * rates.copy), flops / (hardware.peak(is_half) * share))
    return busy + text.layers * rates.decode_layer
