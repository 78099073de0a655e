"""Weights held in four bits (QLoRA, arXiv 2305.14314), by bitsandbytes.

Of a matrix, each weight is one of 16 levels (NF4: quantiles of a normal distribution) times a scale that 64
weights share; the scales are numbers of eight bits with scales of their own. Products unpack the matrix to
the type that it had before. Nothing held so can learn: adapters over it do (`adapters`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from .policy import Policy

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

BLOCK = 64
"""Weights that share a scale. Rows must be whole blocks: bitsandbytes 0.50.2 takes the wrong scales on a CPU
where a block goes on in the next row."""
_MATRIX = re.compile(r".*\.language_model\.layers\.\d+\.\w+\.\w+_proj")


def check_bitsandbytes() -> None:
    """Raise ValueError where bitsandbytes is not installed."""
    if find_spec("bitsandbytes") is None:
        raise ValueError(
            "model.quantise wants weights in four bits, which need bitsandbytes: "
            "pip install 'tolman[qlora]', or write ''"
        )


def quantise(policy: Policy, device: torch.device | str | None = None) -> None:
    """Hold the matrices of the language model's layers in four bits, and move the policy to a device.

    They are packed there one by one, so that whole weights in main memory need never fit on it. device: None
    is where the policy is. Vision tower, embeddings, norms, biases and output layer stay as they are. Raises
    ValueError where bitsandbytes is not installed, for a policy that has adapters or is packed already, and
    for matrices whose rows are not whole blocks of 64.
    """
    check_bitsandbytes()
    import torch

    model, target = policy.model, torch.device(device or policy.device)
    names = [name for name, _ in model.named_modules() if _MATRIX.fullmatch(name)]
    for name in names:
        layer = model.get_submodule(name)
        if type(layer) is not torch.nn.Linear:
            raise ValueError(f"policy {policy.name!r} is packed or has adapters already, in {name}")
        if layer.in_features % BLOCK:
            raise ValueError(
                f"rows of {layer.in_features} weights in {name} are not whole blocks of {BLOCK}; leave out "
                "model.quantise"
            )
    for name in names:
        model.set_submodule(name, _packed(model.get_submodule(name), target))
    model.to(target)


def _packed(layer: nn.Linear, device: torch.device) -> nn.Module:
    """The same map, its weights in four bits."""
    bnb: Any = import_module("bitsandbytes.nn")
    weight = layer.weight.detach()
    made = bnb.Linear4bit(
        layer.in_features, layer.out_features, bias=False, compute_dtype=weight.dtype, device="meta"
    )
    made.weight = bnb.Params4bit(weight, quant_type="nf4", compress_statistics=True).to(device)
    made.bias = layer.bias
    # Where a CPU has AVX512-BF16, products without gradient would be taken in bfloat16 and with gradient in
    # the weights' type: samples would not come from the policy that the loss scores.
    made.support_avx512bf16_for_cpu = False
    module: nn.Module = made.train(layer.training)
    return module


def _packed_weights(model: Any) -> dict[str, Any]:
    """What is held in four bits, by name."""
    weights = model.named_parameters()
    return {name: weight for name, weight in weights if getattr(weight, "quant_state", None) is not None}


def scales(model: Any) -> list[Tensor]:
    """What packed weights are multiplied by, in its own eight bits: with the weights' four bits, all that
    tells two packed policies apart. Empty for a model that is not packed."""
    states = [weight.quant_state for weight in _packed_weights(model).values()]
    return [part for state in states for part in (state.absmax, state.state2.absmax, state.offset)]


def whole_bytes(model: Any) -> int:
    """Bytes of a model's weights once packed ones are unpacked."""
    packed = _packed_weights(model)
    states = [
        packed[name].quant_state if name in packed else weight for name, weight in model.named_parameters()
    ]
    return sum(state.shape.numel() * state.dtype.itemsize for state in states)


def whole_weights(model: Any, state: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """A model's state with packed weights as the matrices that products take, each unpacked when it is its
    turn; all else is passed on."""
    packed = _packed_weights(model)
    for name, weight in state.items():
        owner = name.partition(".weight.")[0] + ".weight"
        if name in packed:
            yield name, _unpacked(packed[name])
        elif owner not in packed:  # of a packed weight's entries: its scales and tables
            yield name, weight


def _unpacked(weight: Any) -> Tensor:
    from bitsandbytes.functional import dequantize_4bit

    found: Tensor = dequantize_4bit(weight.data, weight.quant_state)
    return found
