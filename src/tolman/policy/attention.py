"""How a packed tree attends, behind one switch: the fastest way its device has, the same numbers by each.

`segments` (CPU): a run of tokens that the same later tokens see is attended to by all of these in one causal
call without a mask, and a token's parts are joined by their log-sum-exp. Nothing that the mask forbids is
computed, no key is copied. `flex` (CUDA, long rows): torch's FlexAttention with a block mask made from one
number a token. `mask` (all else): torch's scaled dot-product attention with a boolean (L, L) mask.

The vision tower's attention is here too: transformers calls its attention once for each window of each frame,
this one once for each length that windows have.

Both are registered with transformers under names of their own and act as its `sdpa` wherever they are not
told of a tree or of windows, so a model that was switched to them still runs by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.attention.flex_attention import BlockMask, flex_attention

from .tree import Packed

TEXT, VISION = "tolman_tree", "tolman_flash_windows"
"""Names in transformers' registry. Only for names with `flash` in them does it hand over all windows at once.
"""
FLEX_FROM = 1024
"""Shortest row, in tokens, that is worth a block mask on CUDA."""
BLOCK = 128
"""Tokens a side of a block mask's blocks."""
FLEX_KERNELS = 64
"""Most kernels of FlexAttention in a process. torch's own limit, 8, is reached by a policy that samples in
float32 and learns in bfloat16, or by a judge beside it."""

Segment = tuple[int, int, int]
"""(start, end, until): tokens start..end-1 are seen by their own later ones and by end..until-1."""


class TreeAttention(NamedTuple):
    """What the language model is given in place of a mask; one of both or neither where `segments` says so.

    mask: (B, 1, L, L) bool, or a block mask of these sizes. segments: of each row.
    """

    mask: Tensor | BlockMask | None
    segments: list[list[Segment]] | None


def way_for(device: torch.device, length: int) -> str:
    """`segments`, `flex` or `mask`: what suits rows of `length` tokens on a device."""
    if device.type == "cpu":
        return "segments"
    return "flex" if device.type == "cuda" and length >= FLEX_FROM else "mask"


def tree_attention(packed: Packed, device: torch.device) -> TreeAttention:
    """The packed batch's attention in the way that suits the device."""
    way = way_for(device, packed.seen_until.shape[1])
    if way == "segments":
        return TreeAttention(None, segments(packed))
    seen_until = packed.seen_until.to(device)
    return TreeAttention(block_mask(seen_until) if way == "flex" else packed.attention_mask.to(device), None)


def use_tree_attention(core: Any) -> None:
    """Have both towers of a `Qwen2_5_VLModel` or the like attend by the functions of this module."""
    for tower, name in ((core.language_model, TEXT), (core.visual, VISION)):
        if tower.config._attn_implementation != name:
            _register()
            tower.config._attn_implementation = name


@cache
def _register() -> None:
    """Make the two functions known to transformers, with sdpa's masks for calls without a tree."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    for name, function in ((TEXT, attend_text), (VISION, attend_windows)):
        AttentionInterface.register(name, function)
        AttentionMaskInterface.register(name, sdpa_mask)


def attend_text(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | BlockMask | None,
    scaling: float | None = None,
    tree_segments: list[list[Segment]] | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attention as transformers calls it: (B, L, H, D) from query (B, H, L, D), key and value (B, Hkv, L, D).

    Raises ValueError where dropout is wanted in a tree.
    """
    is_block_mask = isinstance(attention_mask, BlockMask)
    if tree_segments is None and not is_block_mask:
        return _sdpa(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
    if kwargs.get("dropout"):
        raise ValueError("a token tree has no attention dropout; set the model's attention_dropout to 0")
    query, key = query.to(value.dtype), key.to(value.dtype)  # autocast leaves rotated ones in float32
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    if tree_segments is not None:
        out: Tensor = _SegmentAttention.apply(  # type: ignore[no-untyped-call]
            query, key, value, tree_segments, scaling
        )
        return out, None
    flex = flex_attention if torch.compiler.is_compiling() or not query.is_cuda else _compiled_flex()
    found: Any = flex(query, key, value, block_mask=attention_mask, scale=scaling, enable_gqa=True)
    return found.transpose(1, 2).contiguous(), None


def attend_windows(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    cu_seq_lens_q: Tensor | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Full attention within each window: all of (1, H, T, D), window n from cu_seq_lens_q[n] to the next;
    gives (1, T, H, D).

    Where the longest, which transformers finds once for all layers, says that all are as long, no layer has
    to wait for the device to tell their lengths, and a compiled one stays whole.
    """
    if cu_seq_lens_q is None:
        return _sdpa(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
    windows = [part.squeeze(0).transpose(0, 1) for part in (query, key, value)]  # (T, H, D)
    dropout, longest = kwargs.get("dropout", 0.0), kwargs.get("max_length_q")
    if isinstance(longest, int) and longest * (len(cu_seq_lens_q) - 1) == query.shape[2]:
        return _attend_equal(windows, longest, scaling, dropout)[None], None
    lengths = cu_seq_lens_q.diff()
    sizes = sorted(set(lengths.tolist()))
    if len(sizes) == 1:
        return _attend_equal(windows, sizes[0], scaling, dropout)[None], None
    out = torch.empty_like(windows[2])
    length_of_token = lengths.repeat_interleave(lengths)
    for size in sizes:
        places = (length_of_token == size).nonzero()[:, 0]
        found = _attend_equal([part[places] for part in windows], size, scaling, dropout)
        out = out.index_copy(0, places, found)
    return out[None], None


def _attend_equal(windows: Sequence[Tensor], size: int, scaling: float | None, dropout: float) -> Tensor:
    """(T, H, D) from query, key and value (T, H, D), windows of `size` one after another."""
    query, key, value = (torch.unflatten(part, 0, (-1, size)).transpose(1, 2) for part in windows)
    query, key = query.to(value.dtype), key.to(value.dtype)
    found = F.scaled_dot_product_attention(query, key, value, scale=scaling, dropout_p=dropout)
    return found.transpose(1, 2).flatten(0, 1)


def _sdpa(*args: Any, **kwargs: Any) -> tuple[Tensor, None]:
    """transformers' own function."""
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    found: tuple[Tensor, None] = sdpa_attention_forward(*args, **kwargs)
    return found


@cache
def _compiled_flex() -> Any:
    """FlexAttention as a kernel; uncompiled it computes the whole (L, L), so what torch does beyond its limit
    of kernels, to go on uncompiled, is an error here.

    Of one model and type there are 7 at most, however lengths and batches vary: with and without gradient, of
    one row and of several, for the first length and for any.
    """
    limits = torch._dynamo.config.patch(recompile_limit=FLEX_KERNELS, fail_on_recompile_limit_hit=True)
    return limits(torch.compile(flex_attention))


def block_mask(seen_until: Tensor, block: int = BLOCK) -> BlockMask:
    """FlexAttention's mask of packed rows, from `Packed.seen_until` (B, L), without any (L, L).

    In a block of keys before a block of queries some key is seen if the furthest reach is beyond the first of
    the queries, and every key by all if the shortest reach is beyond the last. On the diagonal a token sees
    itself. torch's `create_block_mask` finds the same from all (L, L) values.
    """
    length = seen_until.shape[1]
    count = -(-length // block)
    padding = count * block - length
    furthest = F.pad(seen_until, (0, padding), value=0).view(-1, count, block).amax(-1)
    shortest = F.pad(seen_until, (0, padding), value=length).view(-1, count, block).amin(-1)
    first = torch.arange(count, device=seen_until.device) * block
    earlier = first[:, None] > first
    full = earlier & (shortest[:, None] >= first[:, None] + block)
    partial = earlier & (furthest[:, None] > first[:, None]) & ~full
    partial |= torch.eye(count, dtype=torch.bool, device=seen_until.device)

    def sees(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return (key <= query) & (query < seen_until[batch, key])

    made: BlockMask = BlockMask.from_kv_blocks(
        *_block_lists(partial),
        *_block_lists(full),
        BLOCK_SIZE=block,
        mask_mod=sees,
        seq_lengths=(length,) * 2,
    )
    return made


def _block_lists(blocks: Tensor) -> tuple[Tensor, Tensor]:
    """Of (B, n, n) bool blocks: how many there are in each row (B, 1, n), and which, first (B, 1, n, n)."""
    which = blocks.to(torch.int8).argsort(dim=-1, descending=True, stable=True)
    return blocks.sum(-1)[:, None].to(torch.int32), which[:, None].to(torch.int32)


def segments(packed: Packed) -> list[list[Segment]]:
    """Each row's runs of tokens with the same `seen_until`, in order; padding is left out.

    A chain of only children is one run: nothing but its own descendants follows it.
    """
    found = []
    for until, spans in zip(packed.seen_until.tolist(), packed.spans, strict=True):
        length = max((end for _, end in spans), default=0)
        starts = [k for k in range(length) if k == 0 or until[k] != until[k - 1]]
        ends = [*starts[1:], length]
        found.append([(start, end, until[start]) for start, end in zip(starts, ends, strict=False)])
    return found


class _SegmentAttention(torch.autograd.Function):
    """softmax(q k^T * scale) v over a tree, a segment of keys at a time.

    The queries of a segment, start..until-1, see its keys in torch's causal pattern for more queries than
    keys: row i sees the keys up to i, so the segment's own tokens their elders and all later ones everything.
    Parts are joined by their log-sum-exp, out = out + w (part - out) with w = sigmoid(part_lse - lse). The
    backward pass needs no parts: a segment's probabilities are exp(score - lse) with the joined lse, and its
    row sums of dO * O are those of the joined output (FlashAttention, arXiv 2205.14135, appendix B).
    """

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, rows: list[list[Segment]], scale: float
    ) -> Tensor:
        """(B, L, H, D) from query (B, H, L, D), key and value (B, Hkv, L, D)."""
        batch, heads, length, size = query.shape
        exact, *inputs = _exact(query, key, value)
        out = exact.new_zeros((batch, length, heads, size))
        lse = exact.new_zeros((batch, heads, length, 1))
        for b, row in enumerate(rows):
            q, k, v, o, joined = _of_row(b, key.shape[1], exact, *inputs, out.transpose(1, 2), lse)
            covered = 0
            for start, end, until in row:
                own, seen = slice(start, end), slice(start, until)
                part, part_lse = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
                    q[:, :, seen], k[:, :, own], v[:, :, own], 0.0, True, scale=scale
                )
                _join(o[:, :, seen], joined[:, :, seen], part, part_lse[..., None], start >= covered)
                covered = max(covered, until)
        out = out.to(query.dtype)
        ctx.save_for_backward(query, key, value, out, lse)
        ctx.rows, ctx.scale = rows, scale
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of query, key and value."""
        *saved, lse = ctx.saved_tensors
        query, key, value, out, given = _exact(*saved, grad.contiguous())
        grads = [torch.zeros_like(part) for part in (query, key, value)]
        for b, row in enumerate(ctx.rows):
            q, k, v, g, o, joined, dq = _of_row(
                b, key.shape[1], query, key, value, given.transpose(1, 2), out.transpose(1, 2), lse, grads[0]
            )
            for start, end, until in row:
                own, seen = slice(start, end), slice(start, until)
                parts = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
                    g[:, :, seen], q[:, :, seen], k[:, :, own], v[:, :, own], o[:, :, seen],
                    joined[:, :, seen, 0], 0.0, True, scale=ctx.scale,
                )  # fmt: skip
                dq[:, :, seen] += parts[0]
                grads[1][b, :, own], grads[2][b, :, own] = parts[1].sum(1), parts[2].sum(1)
        return *(part.to(grad.dtype) for part in grads), None, None


def _exact(*parts: Tensor) -> list[Tensor]:
    """In float32 or float64: torch's backward pass in bfloat16 takes three times as long on a CPU."""
    return [part.to(torch.promote_types(part.dtype, torch.float32)) for part in parts]


def _of_row(b: int, key_heads: int, query: Tensor, *parts: Tensor) -> list[Tensor]:
    """Row b of (B, H or Hkv, L, D) tensors as (Hkv, H / Hkv, L, D); keys and values are not copied for it."""
    groups = query.shape[1] // key_heads
    return [
        torch.unflatten(part[b], 0, (key_heads, -1)).expand(-1, groups, -1, -1) for part in (query, *parts)
    ]


def _join(out: Tensor, lse: Tensor, part: Tensor, part_lse: Tensor, is_first: bool) -> None:
    """Join one more part (..., D) and its log-sum-exp (..., 1) into `out` and `lse`, in place."""
    if is_first:
        out.copy_(part)
        lse.copy_(part_lse)
    else:
        out.lerp_(part.to(out.dtype), torch.sigmoid(part_lse - lse))
        lse.copy_(torch.logaddexp(lse, part_lse))
