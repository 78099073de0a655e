"""Linear layers of a decoding step on a CPU: large matrices laid out anew, for a few rows at a time.

A step reads every weight for a handful of rows. MKL does that at 5 to 14 GB/s on the CPU it was measured on,
oneDNN, with weights in its own order, at 20, which is what the memory gives. The order costs a copy of the
weights for as long as decoding lasts. torch's compiler uses the same two operations; torch has no public name
for them, so a build without them decodes as it always would. perf/rollout.py measures it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

PACK_FROM = 16
"""Fewest steps worth it: laying out takes as long as it saves in about ten."""
LARGE, HUGE = 2**24, 2**29
"""Elements of all such matrices: fewer than 64 MiB stay in the caches from step to step; of more than 2 GiB a
copy may be what memory lacks."""
ATTENTION, MLP = ("q_proj", "k_proj", "v_proj", "o_proj"), ("gate_proj", "up_proj", "down_proj")
ROWS = 8
"""Rows that the layout is made for; one row and 64 gain as well."""


class OneDNNLinear:
    """What a linear layer computes, from a copy of its weights at this moment. Without gradient."""

    def __init__(self, linear: nn.Linear) -> None:
        self.weight = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), ROWS)
        self.bias = None if linear.bias is None else linear.bias.detach()

    def __call__(self, states: Tensor) -> Tensor:
        """(R, out) of (R, in)."""
        out: Tensor = torch.ops.mkldnn._linear_pointwise(
            states.contiguous(), self.weight, self.bias, "none", [], ""
        )
        return out


StandIns = dict[nn.Module, OneDNNLinear]
"""What stands in for which of a model's layers."""


def stand_ins(model: Any, steps: int) -> StandIns:
    """Of the decoder layers and the output, if these are many: plain float32 layers on a CPU.

    steps: that decoding may take. Adapters and quantised weights are left as they are.
    """
    if steps < PACK_FROM or not _is_built():
        return {}
    layers = model.model.language_model.layers
    found = [getattr(layer.self_attn, name) for layer in layers for name in ATTENTION]
    found += [getattr(layer.mlp, name) for layer in layers for name in MLP]
    plain = [module for module in (*found, model.get_output_embeddings()) if _is_plain(module)]
    if not LARGE <= sum(module.weight.numel() for module in plain) <= HUGE:
        return {}
    return {module: OneDNNLinear(module) for module in plain}


def _is_plain(module: nn.Module) -> bool:
    """Whether oneDNN can stand in for it."""
    if type(module) is not nn.Linear or type(module.weight) is not nn.Parameter:
        return False
    return module.weight.is_cpu and module.weight.dtype == torch.float32


def linear(quick: StandIns, module: nn.Module, states: Tensor) -> Tensor:
    """What the module computes of (R, in)."""
    out: Tensor = quick.get(module, module)(states)
    return out


def gated_mlp(quick: StandIns, mlp: Any, states: Tensor) -> Tensor:
    """What the MLP of a decoder layer computes of (R, hidden)."""
    if not quick:
        out: Tensor = mlp(states)
        return out
    gate, up = linear(quick, mlp.gate_proj, states), linear(quick, mlp.up_proj, states)
    return linear(quick, mlp.down_proj, mlp.act_fn(gate) * up)


def _is_built() -> bool:
    """Whether this build of torch has oneDNN and both operations."""
    names = ("_reorder_linear_weight", "_linear_pointwise")
    is_there: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return is_there and all(hasattr(torch.ops.mkldnn, name) for name in names)
