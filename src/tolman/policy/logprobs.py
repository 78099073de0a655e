"""Log-probabilities of a tree's tokens, with gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from .forward import hidden_states, logits
from .tree import Packed

CHUNK_ELEMENTS = 2**24
"""Logits held at a time: 64 MiB of float32."""


class TokenScores(NamedTuple):
    """Of one node's T tokens: log_probs (T,), and the entropy (T,) in nats of each token's distribution or
    None."""

    log_probs: Tensor
    entropy: Tensor | None


def tree_log_probs(
    model: Any,
    packed: Packed,
    nodes: Sequence[tuple[int, int]],
    temperature: float = 1.0,
    features: Sequence[Tensor] | None = None,
) -> list[Tensor]:
    """Log-probability of each token of each listed node given its ancestors and the node's earlier tokens.

    nodes: (row, node) pairs. A node's first token is predicted at its parent's last token. Returns one
    float32 tensor (T,) per pair, empty for an empty node. See `tree_scores` for the rest.
    """
    return [scores.log_probs for scores in tree_scores(model, packed, nodes, temperature, features=features)]


def tree_scores(
    model: Any,
    packed: Packed,
    nodes: Sequence[tuple[int, int]],
    temperature: float = 1.0,
    entropy: bool = False,
    features: Sequence[Tensor] | None = None,
) -> list[TokenScores]:
    """`tree_log_probs`, with the entropies where asked for.

    temperature: divides the logits, as in sampling. features: `clip_features` of `packed.clips`, for a frozen
    vision tower. Only the listed tokens get logits, a chunk at a time and again in the backward pass, so that
    (tokens, vocabulary) never exists as a whole. Raises ValueError where temperature is not positive or a
    root's first token, which nothing predicts, is asked for.
    """
    if not temperature > 0:
        raise ValueError(f"temperature must be positive, got {temperature}")
    length = packed.input_ids.shape[1]
    predictors: list[int] = []
    targets: list[int] = []
    for row, node in nodes:
        places = token_predictors(packed, row, node)
        predictors += [row * length + place for place in places]
        start, end = packed.spans[row][node]
        targets += packed.input_ids[row, start:end].tolist()
    states = hidden_states(model, packed, features)
    rows = states.reshape(-1, states.shape[-1])[
        torch.tensor(predictors, dtype=torch.long, device=states.device)
    ]
    log_probs, entropies = _score(
        model, rows, torch.tensor(targets, dtype=torch.long, device=states.device), temperature, entropy
    )
    sizes = [packed.spans[row][node][1] - packed.spans[row][node][0] for row, node in nodes]
    if entropies is None:
        return [TokenScores(part, None) for part in torch.split(log_probs, sizes)]
    return [
        TokenScores(*parts)
        for parts in zip(torch.split(log_probs, sizes), torch.split(entropies, sizes), strict=True)
    ]


def token_predictors(packed: Packed, row: int, node: int) -> list[int]:
    """Places in the row of the tokens at which the node's tokens are predicted."""
    start, end = packed.spans[row][node]
    if start == end:
        return []
    before = packed.before[row][node]
    if before < 0:
        raise ValueError(
            f"node {node} of row {row} has no ancestor with tokens, so nothing predicts its first token; "
            "put the prompt into a node of its own and list only the nodes after it"
        )
    return [before, *range(start, end - 1)]


def _score(
    model: Any, rows: Tensor, targets: Tensor, temperature: float, entropy: bool
) -> tuple[Tensor, Tensor | None]:
    """Log-probabilities (N,) of `targets` (N,) at hidden states `rows` (N, hidden), chunk by chunk."""

    def of(states: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
        scores = logits(model, states)
        log_p = torch.log_softmax(scores if temperature == 1 else scores / temperature, dim=-1)
        picked = log_p.gather(-1, wanted[:, None])[:, 0]
        spread = -(log_p.exp() * log_p).sum(-1) if entropy else picked.new_zeros(0)
        return picked, spread

    vocabulary = model.get_output_embeddings().weight.shape[0]
    size = max(1, CHUNK_ELEMENTS // vocabulary)
    chunks = list(zip(torch.split(rows, size), torch.split(targets, size), strict=True))
    if len(chunks) == 1 or not torch.is_grad_enabled():
        parts = [of(states, wanted) for states, wanted in chunks]
    else:
        parts = [checkpoint(of, states, wanted, use_reentrant=False) for states, wanted in chunks]
    log_probs = torch.cat([picked for picked, _ in parts])
    return log_probs, torch.cat([spread for _, spread in parts]) if entropy else None
