"""Pick tokens from logits by temperature, top-k and top-p."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

COLDEST = 1e-6
"""Lowest temperature but 0: below it logits over temperature need not be float32 numbers."""


@dataclass(frozen=True)
class Sampling:
    """How to draw a token."""

    temperature: float = 1.0
    """Divides the logits; 0 takes the likeliest token."""
    top_p: float = 1.0
    """Keep the likeliest tokens until their mass reaches this; the one that crosses it stays."""
    top_k: int = 0
    """Keep this many of the likeliest tokens (before top_p); 0 keeps all."""

    def __post_init__(self) -> None:
        if self.temperature != 0 and not COLDEST <= self.temperature < float("inf"):
            raise ValueError(f"temperature must be 0 or at least {COLDEST:g}, got {self.temperature}")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must be in (0, 1], got {self.top_p}")
        if self.top_k < 0:
            raise ValueError(f"top_k must be 0 (all) or positive, got {self.top_k}")

    @property
    def truncates(self) -> bool:
        """Whether some tokens may never be drawn."""
        return self.temperature > 0 and (self.top_p < 1 or self.top_k > 0)


class Picked(NamedTuple):
    """Of R rows: tokens (R,), the log-probability (R,) of each where it was drawn from, and the one it had
    before top-k and top-p."""

    tokens: Tensor
    log_probs: Tensor
    full_log_probs: Tensor


def pick(logits: Tensor, sampling: Sampling, uniforms: Tensor) -> Picked:
    """A token for each row of logits (R, V) float32.

    uniforms: (R,) float64 in [0, 1), each turned into a token by the inverse of the cumulative distribution,
    so a row's draw depends on its own number alone. Greedy draws from a point mass: log-probability 0.
    """
    if sampling.temperature == 0:
        tokens = logits.argmax(-1)
        zeros = torch.zeros_like(tokens, dtype=torch.float32)
        return Picked(tokens, zeros, zeros)
    scaled = logits if sampling.temperature == 1 else logits / sampling.temperature
    log_probs = torch.log_softmax(_filtered(scaled, sampling), dim=-1)
    cumulative = log_probs.exp().cumsum(-1, dtype=torch.float64)
    target = uniforms[:, None] * cumulative[:, -1:]
    tokens = torch.searchsorted(cumulative, target, right=True)
    picked = log_probs.gather(-1, tokens)[:, 0]
    if not sampling.truncates:
        return Picked(tokens[:, 0], picked, picked)
    return Picked(tokens[:, 0], picked, torch.log_softmax(scaled, dim=-1).gather(-1, tokens)[:, 0])


def _filtered(logits: Tensor, sampling: Sampling) -> Tensor:
    """Logits with the tokens outside top-k and top-p at minus infinity."""
    if 0 < sampling.top_k < logits.shape[-1]:
        least = logits.topk(sampling.top_k, dim=-1).values[:, -1:]
        logits = logits.masked_fill(logits < least, -torch.inf)
    if sampling.top_p < 1:
        ordered, order = logits.sort(dim=-1, descending=True, stable=True)
        probs = ordered.softmax(-1)
        outside = probs.cumsum(-1) - probs >= sampling.top_p
        logits = logits.masked_fill(outside.scatter(-1, order, outside), -torch.inf)
    return logits
