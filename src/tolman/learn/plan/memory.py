"""Bytes that a run needs, by what they are for and when they are needed. Pure.

Activations are what transformers' layers save for the backward pass with this project's tree attention,
tensor by tensor (tests/test_learn_plan.py counts them); weights, gradients and moments follow from the
optimiser. Three moments compete for the peak: the rollout, the loss, the update.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tolman.learn.plan.sizes import ModelSize
from tolman.learn.plan.work import Step, Tree
from tolman.learn.sections import Recipe, Selection

CHUNK_ELEMENTS = 2**24
"""Logits held at a time (`tolman.policy.logprobs`)."""
LOGIT_COPIES, SAMPLING_COPIES = 3, 6
"""Float32 tensors as large as the logits alive at once: in their backward pass, in a decoding step."""
STOCHASTIC_COPIES, SLICE = 8, 2**21
"""Four-byte tensors as large as the slice of a weight being updated, alive at once, and elements of a slice
(`StochasticAdamW`)."""
RUNTIME = {True: 0.6 * 2**30, False: 0.47 * 2**30}
"""What a process holds before any weight: a CUDA context and its libraries' workspaces; Python with torch and
transformers on a CPU."""
PEFT = 0.05 * 2**30
"""What a process of main memory holds more where adapters learn: PEFT and what it imports."""

LAID_OUT = 2**29
"""Most weights of which decoding on a CPU makes a copy (`tolman.policy.products`)."""
TOGETHER = (("q_proj", "k_proj", "v_proj"), ("o_proj",), ("gate_proj", "up_proj", "down_proj"))
"""Layers that it copies together or not at all."""
FRAGMENTS = 0.2
"""On a CPU: of what comes and goes, the share that malloc has on top of it. torch's own allocator on a GPU
keeps fragments too; `Plan.limit` leaves room for them."""

Bytes = dict[str, float]


class Kind(NamedTuple):
    """How numbers are held: bytes of a weight; whether matrix products of the loss are in bfloat16; whether
    on a GPU."""

    weight: int
    is_half: bool
    is_gpu: bool

    @property
    def is_mixed(self) -> bool:
        """Float32 weights with bfloat16 products."""
        return self.weight == 4 and self.is_half


@dataclass(frozen=True)
class Memory:
    """phases: moment → what for → bytes on the device. host: bytes of main memory where the device is a GPU,
    empty where it is the same memory."""

    phases: Mapping[str, Bytes]
    host: Bytes

    @property
    def peak_phase(self) -> str:
        """The moment that needs most."""
        return max(self.phases, key=lambda name: sum(self.phases[name].values()))

    @property
    def peak(self) -> float:
        """Bytes on the device at that moment."""
        return sum(self.phases[self.peak_phase].values())


def kind_of(recipe: Recipe | Selection, is_gpu: bool) -> Kind:
    """The recipe's numeric types."""
    mixed = recipe.model.mixed and isinstance(recipe, Recipe)
    is_half = mixed or recipe.model.dtype == "bfloat16"
    return Kind(4 if recipe.model.dtype == "float32" else 2, is_half, is_gpu)


def memory(
    recipe: Recipe | Selection, size: ModelSize, step: Step, *, is_gpu: bool, clips: int | None
) -> Memory:
    """What a step of the recipe needs. clips: how many the data has, None where that is not known."""
    kind = kind_of(recipe, is_gpu)
    held = _held(recipe, size, step, kind)
    peft = PEFT if recipe.model.lora_rank else 0.0
    held["libraries"] = RUNTIME[is_gpu] + (0.0 if is_gpu else peft)
    host = _host(recipe, size, step, clips)
    if not is_gpu:
        held |= host
    passing: dict[str, Bytes] = {}
    if step.group:
        passing["rollout"] = _rollout(recipe, size, step, kind)
    if step.learns:
        assert isinstance(recipe, Recipe)
        passing["loss"] = _loss(recipe, size, step, kind)
        passing["update"] = _update(recipe, size, is_gpu)
    if recipe.model.quantise:
        _unpack(passing, size, kind)
    phases = {}
    for name, parts in passing.items():
        fragments = {} if is_gpu else {"fragments": FRAGMENTS * sum(parts.values())}
        phases[name] = held | parts | fragments
        if isinstance(recipe, Recipe) and recipe.distributed.shard == "full" and step.processes > 1:
            phases[name] = _split(name, phases[name], size, step, kind)
    weights = {"libraries": RUNTIME[False] + peft, "weights while loading": size.parameters * kind.weight}
    return Memory(phases, (weights | host) if is_gpu else {})


def weight_bytes(recipe: Recipe | Selection, size: ModelSize, kind: Kind) -> float:
    """Of the policy as it is held."""
    whole = size.parameters * kind.weight
    if not recipe.model.quantise:
        return float(whole)
    matrices = size.text.layer_matrices * kind.weight
    return float(whole - size.text.layers * (matrices - size.text.packed_matrices))


def _unpack(passing: dict[str, Bytes], size: ModelSize, kind: Kind) -> None:
    """Four-bit weights as products take them, one matrix at a time, and all of them in main memory when the
    trained policy is written."""
    largest = size.text.hidden * max(size.text.intermediate, size.text.query)
    for moment in ("rollout", "loss"):
        if moment in passing:
            passing[moment]["scratch"] += float(largest * kind.weight)
    if not kind.is_gpu:
        passing["saving"] = {"merged weights": float(size.parameters * kind.weight)}


def _split(moment: str, parts: Bytes, size: ModelSize, step: Step, kind: Kind) -> Bytes:
    """A process's share where the policy is split (`tolman.learn.sharding`), with what it gathers.

    All weights are whole in the rollout, those outside the layers and two layers in the loss. A frozen tower
    and the reference are whole in every process.
    """
    whole = float(size.parameters * kind.weight)
    apart = float(size.vision.parameters * kind.weight) if step.tower == "frozen" else 0.0
    layer = size.text.layer_matrices * kind.weight
    outer = whole - apart - size.text.layers * layer
    shared = {"optimiser", "gradients"} | ({"scratch"} if moment == "update" else set())
    found = {name: value / (step.processes if name in shared else 1) for name, value in parts.items()}
    found["weights"] = apart + (whole - apart) / step.processes
    gathered = {
        "rollout": whole - apart,
        "loss": 2 * outer + 3 * layer,
        "update": 0.0,
    }  # gradients among them
    return found | {"gathered": gathered[moment]}


def trained_bytes(recipe: Recipe | Selection, size: ModelSize) -> tuple[float, int]:
    """How many weights learn, and how many bytes each takes. Adapters are float32."""
    if not isinstance(recipe, Recipe):
        return 0, 4
    if recipe.model.lora_rank:
        return size.text.adapters(recipe.model.lora_rank, recipe.model.lora_targets), 4
    return size.trained(recipe.model.train), 4 if recipe.model.dtype == "float32" else 2


def _held(recipe: Recipe | Selection, size: ModelSize, step: Step, kind: Kind) -> Bytes:
    """What is there all the time. The reference of adapters is the policy without them."""
    trained, each = trained_bytes(recipe, size)
    found = {"weights": weight_bytes(recipe, size, kind)}
    if step.learns:
        found["optimiser"] = 2.0 * trained * each
        if recipe.model.lora_rank:
            return found | {"adapters": trained * each}
    if step.references:
        found["reference"] = found["weights"]
    return found


def _host(recipe: Recipe | Selection, size: ModelSize, step: Step, clips: int | None) -> Bytes:
    """Frames and features that are kept, up to the recipe's bounds, and the step's pixels in float32."""
    frame_bytes = step.frames * step.frame_size[0] * step.frame_size[1] * 3
    limit = recipe.data.cache_mb << 20
    found = {"clip cache": float(limit if clips is None else min(limit, clips * frame_bytes))}
    tokens = step.patches // size.vision.merge**2
    features = (
        tokens
        * size.text.hidden
        * (1 + size.vision.deepstack)
        * (4 if recipe.model.dtype == "float32" else 2)
    )
    if step.tower == "frozen":
        limit = recipe.data.features_mb << 20
        found["feature cache"] = float(limit if clips is None else min(limit, clips * features))
    else:
        found["pixels of the step"] = float(step.clips * step.patches * size.vision.patch_values * 4)
    return found


def text_activations(size: ModelSize, kind: Kind, learns: bool) -> float:
    """Bytes that one layer saves of one token.

    Norms save their input in float32, the normalised values, and what the next matrices take; these save it
    once, or each its own bfloat16 copy under autocast. Frozen matrices save no input.
    """
    text, half = size.text, 2 if kind.is_half else 4
    hidden, wide = text.hidden, text.query + text.key
    heads = 2 * wide + (text.query if kind.is_gpu else 0)  # FlexAttention's result is copied behind it
    if not learns:
        norms, mlp = 8 * hidden, 3 * half * text.intermediate
    elif kind.is_mixed:
        norms, mlp = 26 * hidden, 4 * half * text.intermediate
    else:
        norms, mlp = (8 + 4 * half) * hidden, 4 * half * text.intermediate
    if text.qk_norm:
        norms += (4 + (half if learns else 0)) * wide + 4 * (text.heads + text.kv_heads)
    return norms + half * heads + mlp + 4 * text.heads + 8


def adapter_activations(size: ModelSize, kind: Kind, rank: int, targets: Sequence[str]) -> float:
    """Bytes that a layer's adapters save of one token more: what goes into A and what comes out of it.

    Where all is float32, maps of the same values share them, and attention's result is held anyway; elsewhere
    each has its own copy in the type it computes in.
    """
    inputs = {name: size.text.widths[name][0] for name in targets}
    if not kind.is_half:
        shared = {"k_proj": "q_proj", "v_proj": "q_proj", "up_proj": "gate_proj"}
        inputs = {shared.get(name, name): width for name, width in inputs.items() if name != "o_proj"}
    return (2 if kind.is_mixed else 4) * (sum(inputs.values()) + rank * len(targets))


def tower_activations(size: ModelSize, kind: Kind) -> tuple[float, float]:
    """Bytes that one block saves of one patch, and that the mergers do."""
    vision, half = size.vision, 2 if kind.is_half else 4
    hidden = vision.hidden
    attention = 6 * half * hidden + 4 * vision.heads
    if vision.gated:
        norms = (18 if kind.is_mixed else 8 + 4 * half) * hidden + 8
        mlp, merger = 4 * half * vision.intermediate, (4 + 4 * half) * hidden + 4
    else:
        norms = (14 if kind.is_mixed else 4 * half) * hidden + 16
        mlp, merger = 2 * half * vision.intermediate, (4 + 3 * vision.deepstack) * half * hidden
    return norms + attention + mlp, merger


def activations(recipe: Recipe, size: ModelSize, step: Step, kind: Kind) -> dict[str, tuple[float, float]]:
    """Of one part of a step: what for → (bytes until the backward pass is there, more bytes while it is)."""
    text, vision, half = size.text, size.vision, 2 if kind.is_half else 4
    alone = Tree(0, 1, step.tree.question, 1, step.tree.completion)
    tokens = max(step.part_clips * step.tree.tokens, step.blind * alone.tokens)
    layer = text_activations(size, kind, step.text_learns)
    if recipe.model.lora_rank:
        layer += adapter_activations(size, kind, recipe.model.lora_rank, recipe.model.lora_targets)
    layer *= tokens
    # the last norm, rotary tables, ids
    norm = (4 + (kind.weight if step.text_learns else 0)) * text.hidden
    rest = tokens * (norm + 2 * kind.weight * text.head_dim + 16)
    if recipe.model.lora_rank:  # nothing before the first adapters needs a gradient: a norm saves nothing
        rest -= tokens * (4 * text.hidden + 4)
    scratch: float = tokens * half * (3 * text.intermediate + 2 * text.hidden)
    found: dict[str, tuple[float, float]] = {}
    found["activations of the language model"] = (text.layers * layer + rest, scratch)
    if recipe.model.gradient_checkpointing:
        inputs = text.layers * tokens * text.hidden * kind.weight
        found["activations of the language model"] = (inputs + rest, layer + scratch)
    patches = step.part_clips * step.patches
    if step.tower != "frozen":
        block, merger = tower_activations(size, kind)
        pixels = blocks = 0.0
        if step.tower == "trained":
            pixels, blocks = patches * vision.patch_values * half, patches * block * vision.depth
        scratch = patches * half * (3 * vision.intermediate + 2 * vision.hidden)
        if recipe.model.gradient_checkpointing and step.tower == "trained":
            blocks, scratch = patches * vision.hidden * half * vision.depth, patches * block + scratch
        found["activations of the vision tower"] = (pixels + blocks + patches * merger, scratch)
    return found


def _loss(recipe: Recipe, size: ModelSize, step: Step, kind: Kind) -> Bytes:
    """At the start of the backward pass, or at its end where gradients outgrow activations."""
    text = size.text
    trained, each = trained_bytes(recipe, size)
    gradients = trained * each
    parts = activations(recipe, size, step, kind)
    scored = max(step.part_clips * step.tree.scored, step.blind * step.tree.completion)
    chunk = min(scored, max(1, CHUNK_ELEMENTS // text.vocabulary))
    logits = LOGIT_COPIES * 4.0 * chunk * text.vocabulary
    logits += scored * text.hidden * (2 if kind.is_half else 4)
    head = 0.0  # the output layer's gradient comes first, chunks of logits being added to it one by one
    if step.text_learns:
        head = float(text.head * each * (1 if chunk == scored else 2))
    casts = 2.0 * cast_weights(size, step) if kind.is_mixed else 0.0
    saved = {
        name: kept + casts * (name == "activations of the language model")
        for name, (kept, _) in parts.items()
    }
    scratch = max(extra for _, extra in parts.values())
    earlier = gradients if step.parts > 1 else 0.0
    start = saved | {"logits": logits, "gradients": earlier + head, "scratch": scratch}
    tower = {name: kept for name, kept in saved.items() if name.endswith("tower")}
    middle = tower | {"gradients": gradients, "scratch": scratch}
    return max(start, middle, key=lambda moment: sum(moment.values()))


def cast_weights(size: ModelSize, step: Step) -> int:
    """Weights that autocast copies for the loss."""
    text, vision = size.text, size.vision
    found = text.layers * text.layer_matrices + text.head
    if step.tower == "trained":
        found += vision.depth * vision.block_matrices + vision.hidden * vision.patch_values
    return found + (0 if step.tower == "frozen" else (1 + vision.deepstack) * vision.merger_matrices)


def _update(recipe: Recipe, size: ModelSize, is_gpu: bool) -> Bytes:
    """The optimiser's step."""
    trained, each = trained_bytes(recipe, size)
    found = {"gradients": float(trained * each)}
    rank = recipe.model.lora_rank
    largest = rank * size.text.intermediate if rank else _largest(size, recipe.model.train)
    if each == 2:
        found["scratch"] = STOCHASTIC_COPIES * 4.0 * min(SLICE, largest)
    else:  # on a GPU torch's AdamW takes all weights at once
        found["scratch"] = 4.0 * trained if is_gpu else 2 * 4.0 * largest
    return found


def _largest(size: ModelSize, train: str) -> int:
    """Weights in the largest tensor that learns."""
    tower = max(size.vision.merged**2, size.vision.merged * size.vision.out, size.vision.block_matrices // 3)
    return tower if train == "vision" else max(tower if train != "text" else 0, size.text.head)


def laid_out(recipe: Recipe | Selection, size: ModelSize, kind: Kind) -> float:
    """The copy that decoding on a CPU makes of plain float32 weights (`tolman.policy.products`)."""
    model, text = recipe.model, size.text
    if kind.is_gpu or kind.weight != 4:
        return 0.0
    changed = {*model.lora_targets} if model.lora_rank else set()
    units = () if model.quantise else [unit for unit in TOGETHER if not changed & {*unit}]
    names = [name for unit in units for name in unit]
    count = text.head + text.layers * sum(math.prod(text.widths[name]) for name in names)
    return 4.0 * count if count <= LAID_OUT else 0.0


def _rollout(recipe: Recipe | Selection, size: ModelSize, step: Step, kind: Kind) -> Bytes:
    """Prefill or decoding, whichever is larger; sampling is done in the type of the weights."""
    text, vision, each = size.text, size.vision, kind.weight
    prompts = step.clips * step.tree.prompt
    column = 2.0 * text.layers * text.key * each
    shown = step.clips * step.patches
    wide = each * (3 * text.intermediate + 2 * text.query + 2 * text.hidden) + 8 * text.hidden
    tower = shown * (
        each * (3 * vision.intermediate + 6 * vision.hidden + vision.patch_values) + 8 * vision.hidden
    )
    prefill = {"keys and values": 2 * prompts * column, "scratch": max(prompts * wide, tower)}
    above = step.tree.clip + step.tree.question + step.tree.completion
    scores = 3 * 4.0 * step.rows * text.heads * above
    decoding = {
        "weights laid out for decoding": laid_out(recipe, size, kind),
        "keys and values": (prompts + step.rows * step.tree.completion) * column,
        "scratch": scores + SAMPLING_COPIES * 4.0 * step.rows * text.vocabulary,
    }
    return max(prefill, decoding, key=lambda moment: sum(moment.values()))
