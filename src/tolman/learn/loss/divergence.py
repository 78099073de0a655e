"""How far the distributions of a group's completions are apart, position by position (TW-GRPO)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

BOUND = 11.0
"""Bound on the difference of two log-probabilities."""


def position_divergence(log_probs_GTV: Tensor, mask_GT: Tensor) -> Tensor:
    """(T,) mean over the group of sum_v [exp(d) - d - 1], d = clamp(mean_j lp_j - lp_i, -11, 11).

    log_probs_GTV: log-probabilities of the whole vocabulary at position t of completion g. mask_GT: True
    where the completion has a token; elsewhere it counts as uniform (TW-GRPO, code @ aa529ff).
    """
    uniform = -math.log(log_probs_GTV.shape[-1])
    filled_GTV = torch.where(mask_GT[..., None], log_probs_GTV, uniform)
    d_GTV = (filled_GTV.mean(0, keepdim=True) - filled_GTV).clamp(-BOUND, BOUND)
    return (d_GTV.exp() - d_GTV - 1).sum(-1).mean(0)
