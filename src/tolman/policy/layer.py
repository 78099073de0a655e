"""A decoder layer for one new token a row, each beginning's keys and values read where they lie.

It is written against the modules of transformers' decoder layers and does not call these layers: they want
all that a row sees in one tensor, which would be a copy of the clip for every row. The modules (projections,
norms, MLP) are the model's own, so adapters and quantised weights work; on a CPU plain weights are laid out
anew first (`products`). Letters as in `cache`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .cache import Slots
from .products import LayerProducts, rms_norm

Parts = tuple[Tensor, Tensor]
"""Keys and values of one layer."""


class Seen(NamedTuple):
    """What is the same for every layer in a step: who shares what; the additive mask (R, 1, columns) over all
    levels' columns and then the own ones, None where all are seen; the column (1,) of the new token among the
    own ones, and how many of these to look at."""

    slots: list[Slots]
    bias: Tensor | None
    at: Tensor
    width: int


def decoder_layer(
    layer: Any,
    products: LayerProducts,
    states: Tensor,
    rotary: Parts,
    seen: Seen,
    beginnings: Sequence[Parts],
    own: Parts,
) -> Tensor:
    """(R, hidden) of (R, hidden); writes to `own` at `seen.at`.

    rotary: cosines and sines, (R, 1, D) each, see `decode.rotary_table`. beginnings: of each level. own:
    (H * R, steps, D) each.
    """
    attention = layer.self_attn
    rows, size = len(states), attention.head_dim
    heads = len(own[0]) // rows
    norms = (attention.q_norm, attention.k_norm) if hasattr(attention, "q_norm") else ()
    weights = [(norm.weight, norm.variance_epsilon) for norm in norms]
    projected = products.qkv(states).view(rows, -1, size)
    query, *new = turn(projected, heads, weights, rotary, attention.scaling)
    for kept, part in zip(own, new, strict=True):
        kept.view(heads, rows, -1, size).index_copy_(2, seen.at, part)
    own_keys, own_values = (part[:, : seen.width] for part in own)
    mixed = attend(query, seen.slots, seen.bias, beginnings, own_keys, own_values)
    states = states + products.out(mixed)
    return states + products.mlp(states)


def turn(
    projected: Tensor, heads: int, norms: Sequence[tuple[Tensor, float]], rotary: Parts, scaling: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Rotated and scaled queries (H, R, Q, D), rotated keys and values (H, R, 1, D).

    projected: (R, Q * H + 2 * H, D), all of them side by side.
    norms: weight and epsilon of the RMS norms of queries and of keys, where the model has them.
    """
    rows, _, size = projected.shape
    both, value = projected[:, :-heads], projected[:, -heads:]
    if norms:
        parts = zip((both[:, :-heads], both[:, -heads:]), norms, strict=True)
        both = torch.cat([rms_norm(part, *norm) for part, norm in parts], 1)
    cos, signed_sin = rotary
    both = torch.addcmul(both * cos, both.roll(size // 2, -1), signed_sin)
    query = (both[:, :-heads] * scaling).view(rows, heads, -1, size).transpose(0, 1).contiguous()
    return query, both[:, -heads:].transpose(0, 1)[:, :, None], value.transpose(0, 1)[:, :, None]


def attend(
    query: Tensor,
    slots: Sequence[Slots],
    bias: Tensor | None,
    beginnings: Sequence[Parts],
    own_keys: Tensor,
    own_values: Tensor,
) -> Tensor:
    """(R, H * Q * D): one softmax over the beginnings' columns and the rows' own, each read where it lies.

    query: (H, R, Q, D), scaled. bias: as in `Seen`. own_keys, own_values: (H * R, width, D).
    """
    heads, rows, queries, size = query.shape
    widths = [*(keys.shape[1] for keys, _ in beginnings), own_keys.shape[1]]
    scores = [
        place.to_rows(_products(place.to_nodes(query), keys), heads, queries)
        for place, (keys, _) in zip(slots, beginnings, strict=True)
    ]
    alone = _products(query.view(heads * rows, queries, size), own_keys)
    together = torch.cat([*scores, alone.view(heads, rows, queries, -1)], -1)
    if bias is not None:
        together += bias
    *shared, last = torch.split(together.softmax(-1).to(query.dtype), widths, -1)
    mixed = torch.bmm(last.reshape(heads * rows, queries, -1), own_values).view(query.shape)
    for part, place, (_, values) in zip(shared, slots, beginnings, strict=True):
        mixed = mixed + place.to_rows(torch.bmm(place.to_nodes(part), values), heads, queries)
    return mixed.transpose(0, 1).reshape(rows, -1)


def _products(left: Tensor, right: Tensor) -> Tensor:
    """(B, m, n) scores of (B, m, D) and (B, n, D), never rounded to half precision."""
    if left.dtype not in (torch.bfloat16, torch.float16):
        return torch.bmm(left, right.mT)
    if left.is_cuda:
        return torch.bmm(left, right.mT, out_dtype=torch.float32)
    return torch.bmm(left.float(), right.float().mT)
