"""Decode rows that share beginnings: one token a row and step, each beginning's keys and values held once.

`layer` computes a decoder layer for these; here are the steps, the rows that are still running, and on a GPU
the graphs. Letters as in `cache`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .cache import Level, part_of
from .layer import Parts, Seen, decoder_layer
from .products import products_of
from .sampling import Sampling, pick

LAYERS = ("Qwen2_5_VLDecoderLayer", "Qwen3VLTextDecoderLayer")
"""Classes of the decoder layers whose parts a step knows."""

COMPACT_AT = 0.25
"""On a CPU, finished rows are dropped once they are this share of the batch: the copy then pays within a few
steps."""

FIRST_WIDTH, GROWTH = 256, 4
"""On a GPU a step reads room for this many new tokens, later for GROWTH times as many: each width is a graph
of its own, and to read unused room costs less than to capture often."""

EAGER_STEPS = 2
"""Steps taken before a graph is captured, so that all libraries have set themselves up."""

CHECK_EVERY = 16
"""Steps on a GPU between looks at whether all rows have finished; a look waits for the device."""


@dataclass(frozen=True, eq=False)
class Prefix:
    """Where R rows start.

    levels: their beginnings, outermost first. states: (R, hidden) last hidden states of these. positions:
    each row's next rotary position.
    """

    levels: list[Level]
    states: Tensor
    positions: list[int]


class Decoded(NamedTuple):
    """Of R rows. tokens: (R, steps). log_probs: (R, steps), of what each token was drawn from;
    full_log_probs: before top-k and top-p. lengths: (R,) how many of a row's tokens count. finished: (R,)
    True where the last of them is a stop token."""

    tokens: Tensor
    log_probs: Tensor
    full_log_probs: Tensor
    lengths: Tensor
    finished: Tensor


def check_layers(model: Any) -> None:
    """Raises ValueError where the model has decoder layers of a class that a step does not know."""
    found = {type(layer).__name__.removeprefix("FSDP") for layer in model.model.language_model.layers}
    unknown = found - {*LAYERS}  # a layer split by FSDP2 has its class's name behind that prefix
    if unknown:
        raise ValueError(
            f"cannot sample from decoder layers of class {', '.join(sorted(unknown))}; "
            f"a decoding step is written for {' and '.join(LAYERS)}"
        )


def decode(model: Any, prefix: Prefix, sampling: Sampling, uniforms: Tensor, stops: Sequence[int]) -> Decoded:
    """Decode until every row has stopped or has as many tokens as `uniforms` (R, steps) has columns.

    The model must be one that `check_layers` lets pass. Returns inference tensors on the CPU, which a loss
    must not use before they are cloned.
    """
    with torch.inference_mode():  # every operation is a little quicker than without gradient alone
        rows = Rows(model, prefix, sampling, uniforms, stops)
        if uniforms.is_cuda:
            _decode_in_graphs(rows)
        else:
            _decode_compacting(rows)
        return Decoded(*(part.cpu() for part in rows.results()))


def _decode_compacting(rows: Rows) -> None:
    """Drop finished rows as they become many."""
    for width in range(1, rows.steps):
        running = ~rows.found.finished
        left = int(running.sum())
        if left == 0:
            return
        if left <= (1 - COMPACT_AT) * len(running):
            rows.keep(running.nonzero()[:, 0])
        rows.step(width, filled=True)


def _decode_in_graphs(rows: Rows) -> None:
    """Replay one captured step. All of it on one stream, so that libraries keep their workspaces, and of the
    rows' own device, which need not be the current one: a graph of another device's stream would be empty."""
    device = rows.uniforms.device
    stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(stream):
        width, graph, eager = 0, None, 0
        for step in range(1, rows.steps):
            if step % CHECK_EVERY == 0 and bool(rows.found.finished.all()):
                break
            if step > width:
                width, graph, eager = min(rows.steps, max(FIRST_WIDTH, GROWTH * width)), None, 0
            if eager < EAGER_STEPS:
                rows.step(width)
                eager += 1
                continue
            if graph is None:
                graph = torch.cuda.CUDAGraph()
                with torch.cuda.graph(graph, stream=stream):
                    rows.step(width)
            graph.replay()
    torch.cuda.current_stream(device).wait_stream(stream)


class Rows:
    """A batch being decoded: the tokens so far, and what each layer looks at.

    at: (1,) column of the newest token, in `found` and in the rows' own keys and values. `step` changes all
    it changes in place and never waits for the device, so that it can be captured as a CUDA graph.
    """

    def __init__(
        self, model: Any, prefix: Prefix, sampling: Sampling, uniforms: Tensor, stops: Sequence[int]
    ) -> None:
        self.model, self.sampling, self.uniforms = model, sampling, uniforms
        rows, self.steps = uniforms.shape
        device = uniforms.device
        self.stops = torch.tensor(list(stops), dtype=torch.long, device=device)
        self.at = torch.zeros(1, dtype=torch.long, device=device)
        self.found = Decoded(
            tokens=torch.zeros((rows, self.steps), dtype=torch.long, device=device),
            log_probs=torch.zeros((rows, self.steps), device=device),
            full_log_probs=torch.zeros((rows, self.steps), device=device),
            lengths=torch.zeros(rows, dtype=torch.long, device=device),
            finished=torch.zeros(rows, dtype=torch.bool, device=device),
        )
        self.stored = Decoded(*(part.clone() for part in self.found))
        self.index = torch.arange(rows, device=device)
        self.levels = prefix.levels
        self.own = _room(prefix, self.steps)
        self.bias = _bias(prefix.levels, self.steps, device)
        self.padded = any(level.padded for level in prefix.levels)
        self.rotary = rotary_table(model, prefix, self.steps)
        self.offsets = torch.tensor(prefix.positions, device=device) - min(prefix.positions)
        self.products, self.head = products_of(model, self.steps)
        self._pick(model.get_output_embeddings()(prefix.states))

    def step(self, width: int, filled: bool = False) -> None:
        """Feed the newest tokens, draw the next. width: how many columns of own keys and values to look at;
        more than `at`. filled: that is all of them, no room that a mask must hide."""
        stack = self.model.model.language_model
        tokens = self.found.tokens.index_select(1, self.at)[:, 0]
        cos, sin = self.rotary[self.offsets + self.at].unsqueeze(2).unbind(1)
        bias = None
        if self.padded or not filled:
            shared = self.bias.shape[-1] - self.steps
            bias = self.bias.index_fill_(-1, self.at + shared, 0.0)[..., : shared + width]
        seen = Seen([level.sharing.slots for level in self.levels], bias, self.at, width)
        states = self.model.get_input_embeddings()(tokens)
        for k, layer in enumerate(stack.layers):
            beginnings = [(level.keys[k], level.values[k]) for level in self.levels]
            states = decoder_layer(layer, self.products[k], states, (cos, sin), seen, beginnings, self.own[k])
        self.at += 1
        self._pick(self.head(states))

    def _pick(self, scores: Tensor) -> None:
        """Draw the tokens of column `at` from scores (R, V)."""
        uniforms = self.uniforms.index_select(1, self.at)[:, 0]
        picked = pick(scores.float(), self.sampling, uniforms)
        for kept, new in zip(self.found[:3], picked, strict=True):
            kept.index_copy_(1, self.at, new[:, None])
        self.found.lengths.add_(~self.found.finished)
        self.found.finished.logical_or_((picked.tokens[:, None] == self.stops).any(1))

    def keep(self, rows: Tensor) -> None:
        """Drop all rows but these (indices), and the beginnings that only the others shared."""
        self._store()
        before = len(self.index)
        self.index, self.uniforms, self.offsets = self.index[rows], self.uniforms[rows], self.offsets[rows]
        self.bias = self.bias[rows]
        self.found = Decoded(*(part[rows] for part in self.found))
        self.own = [(part_of(keys, before, rows), part_of(values, before, rows)) for keys, values in self.own]
        kept = rows.tolist()
        self.levels = [level.keep(kept) for level in self.levels]

    def _store(self) -> None:
        """Write the batch's rows to their places among all."""
        for all_rows, part in zip(self.stored, self.found, strict=True):
            all_rows[self.index] = part

    def results(self) -> Decoded:
        """Of all rows, dropped ones too."""
        self._store()
        return self.stored


def rotary_table(model: Any, prefix: Prefix, steps: int) -> Tensor:
    """(positions, 2, D): cosines, and sines with the sign that rotating by halves wants, from the smallest
    first position on. A text token's three positions are equal, so one number names them."""
    first, end = min(prefix.positions), max(prefix.positions) + steps
    places = torch.arange(first, end, device=prefix.states.device)[None, None].expand(3, 1, -1)
    # early transformers 5 leave time, height and width apart here: three times the same
    cos, sin = (
        part.flatten(0, -3)[0] for part in model.model.language_model.rotary_emb(prefix.states, places)
    )
    half = sin.shape[-1] // 2
    return torch.stack([cos, torch.cat([-sin[:, :half], sin[:, half:]], -1)], 1)


def _room(prefix: Prefix, steps: int) -> list[Parts]:
    """Of each layer, room for the rows' own keys and values (H * R, steps, D). Zeros: what a mask hides must
    still be a number."""
    level = prefix.levels[0]
    rows = len(prefix.states)
    shapes = [(len(keys) // level.sharing.slots.nodes * rows, steps, keys.shape[2]) for keys in level.keys]
    return [(prefix.states.new_zeros(shape), prefix.states.new_zeros(shape)) for shape in shapes]


def _bias(levels: Sequence[Level], steps: int, device: torch.device) -> Tensor:
    """(R, 1, columns) float32: 0 where a row looks; minus infinity on padding and on its own room, until
    that is filled."""
    masks = [level.mask[torch.tensor(level.sharing.node_of_row, device=device)] for level in levels]
    masks.append(torch.zeros((len(masks[0]), steps), dtype=torch.bool, device=device))
    looked_at = torch.cat(masks, 1)[:, None]
    return torch.zeros(looked_at.shape, device=device).masked_fill_(~looked_at, -torch.inf)
