"""The matrix products of a decoding step: every weight for a few rows.

On a CPU, plain float32 weights are copied for as long as decoding lasts, in the order that oneDNN wants,
those that multiply the same states in one matrix, with the weights of the norm before them multiplied in. MKL
reads a large matrix for eight rows at 5 to 14 GB/s on the CPU it was measured on, oneDNN at 20; small ones,
out of the caches, take half as long. torch's compiler uses the same two operations; torch has no public name
for them, so a build without them decodes with the model's own modules, as a GPU does, and as adapters and
quantised weights do. perf/rollout.py measures it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PACK_FROM = 16
"""Fewest steps worth it: laying out takes as long as it saves in about ten."""
HUGE = 2**29
"""Most elements of all such matrices: of more than 2 GiB a copy may be what memory lacks."""
QKV, OUT, MLP = ("q_proj", "k_proj", "v_proj"), ("o_proj",), ("gate_proj", "up_proj", "down_proj")
"""Layers of a decoder layer that are laid out together or not at all."""
ROWS = 16
"""Rows that the layout is made for; one row and 64 gain as well."""

Product = Callable[[Tensor], Tensor]
"""(R, out) of (R, in)."""


class LayerProducts(NamedTuple):
    """Of one decoder layer: queries, keys and values side by side, of normed states; the attention's output;
    the MLP of normed states."""

    qkv: Product
    out: Product
    mlp: Product


def rms_norm(states: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    """transformers' RMS norm over the last dimension, as one operation."""
    return F.rms_norm(states, weight.shape, weight, epsilon)


class OneDNNLinear:
    """What linear layers compute of the same states, one's features behind another's, from a copy of their
    weights at this moment. Without gradient. norm: an RMS norm of the states before that."""

    def __init__(self, *layers: nn.Linear, norm: Any = None) -> None:
        weight = torch.cat([layer.weight.detach() for layer in layers])
        self.least = None
        if norm is not None:  # x / sqrt(mean(x²) + eps) = sqrt(d) x / hypot(|x|, sqrt(d eps))
            width = weight.shape[1]
            weight = weight * (norm.weight.detach() * width**0.5)
            self.least = weight.new_tensor((width * norm.variance_epsilon) ** 0.5)
        self.weight = torch.ops.mkldnn._reorder_linear_weight(weight, ROWS)
        self.bias = None
        if any(layer.bias is not None for layer in layers):
            biases: list[Tensor | None] = [layer.bias for layer in layers]
            zeros = (torch.zeros(layer.out_features) for layer in layers)
            parts = [
                none if bias is None else bias.detach() for none, bias in zip(zeros, biases, strict=True)
            ]
            self.bias = torch.cat(parts)

    def __call__(self, states: Tensor) -> Tensor:
        """(R, out) of (R, in)."""
        if self.least is not None:
            states = states / torch.hypot(torch.linalg.vector_norm(states, dim=-1, keepdim=True), self.least)
        out: Tensor = torch.ops.mkldnn._linear_pointwise.default(
            states.contiguous(), self.weight, self.bias, "none", [], ""
        )
        return out


class OneDNNMLP:
    """What a decoder layer's gated MLP computes of states that `norm` norms, likewise."""

    def __init__(self, mlp: Any, norm: Any) -> None:
        self.gate_up = OneDNNLinear(mlp.gate_proj, mlp.up_proj, norm=norm)
        self.down = OneDNNLinear(mlp.down_proj)
        self.act = mlp.act_fn

    def __call__(self, states: Tensor) -> Tensor:
        """(R, hidden) of (R, hidden)."""
        gate, up = self.gate_up(states).chunk(2, -1)
        return self.down(self.act(gate) * up)


def products_of(model: Any, steps: int) -> tuple[list[LayerProducts], Product]:
    """Those of every decoder layer, and the output's of normed states. steps: that decoding may take."""
    laid_out = {id(module) for module in to_lay_out(model, steps)}
    stack, head = model.model.language_model, model.get_output_embeddings()
    layers = [_layer_products(layer, laid_out) for layer in stack.layers]
    if id(head) in laid_out:
        return layers, OneDNNLinear(head, norm=stack.norm)
    return layers, lambda states: head(_normed(stack.norm, states))


def _layer_products(layer: Any, laid_out: set[int]) -> LayerProducts:
    """laid_out: identities of the modules whose weights are to be copied."""
    attention, mlp, before, between = (
        layer.self_attn, layer.mlp, layer.input_layernorm, layer.post_attention_layernorm
    )  # fmt: skip
    projections = [getattr(attention, name) for name in QKV]

    def side_by_side(states: Tensor) -> Tensor:
        normed = _normed(before, states)
        return torch.cat([projection(normed) for projection in projections], -1)

    def gated(states: Tensor) -> Tensor:
        out: Tensor = mlp(_normed(between, states))
        return out

    return LayerProducts(
        OneDNNLinear(*projections, norm=before) if id(projections[0]) in laid_out else side_by_side,
        OneDNNLinear(attention.o_proj) if id(attention.o_proj) in laid_out else attention.o_proj,
        OneDNNMLP(mlp, between) if id(mlp.down_proj) in laid_out else gated,
    )


def to_lay_out(model: Any, steps: int) -> list[nn.Linear]:
    """The layers whose weights are worth a copy: plain ones on a CPU, if oneDNN is there."""
    if steps < PACK_FROM or not _is_built():
        return []
    found = [module for unit in _units(model) if all(map(_is_plain, unit)) for module in unit]
    return found if sum(module.weight.numel() for module in found) <= HUGE else []


def _units(model: Any) -> Iterator[list[Any]]:
    """Layers that are laid out together or not at all."""
    for layer in model.model.language_model.layers:
        for holder, names in ((layer.self_attn, QKV), (layer.self_attn, OUT), (layer.mlp, MLP)):
            yield [getattr(holder, name) for name in names]
    yield [model.get_output_embeddings()]


def _is_plain(module: nn.Module) -> bool:
    """Whether oneDNN can stand in for it."""
    if type(module) is not nn.Linear or type(module.weight) is not nn.Parameter:
        return False
    return module.weight.is_cpu and module.weight.dtype == torch.float32


def _normed(norm: Any, states: Tensor) -> Tensor:
    """By a module of transformers."""
    return rms_norm(states, norm.weight, norm.variance_epsilon)


def _is_built() -> bool:
    """Whether this build of torch has oneDNN and both operations."""
    names = ("_reorder_linear_weight", "_linear_pointwise")
    is_there: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return is_there and all(hasattr(torch.ops.mkldnn, name) for name in names)
