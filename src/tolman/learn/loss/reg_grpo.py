"""Reg-GRPO: the policy's own log-ratios are regressed on the advantages, no ratio, no clip."""

from __future__ import annotations

import torch
from torch import Tensor

from tolman.learn.loss.terms import Terms, Tokens, finish, sequence_sums


def reg_grpo(tokens: Tokens, *, beta: float = 0.0, clamp: float = 0.0, eps: float = 1e-4) -> Terms:
    """DeepVideo-R1's Reg-GRPO (arXiv 2506.07464): mean over completions of (A - A_theta)^2 + beta * k3.

    A: the completion's advantage, (r - mean) / std of its group (`group_mean_std`), the regression target.
    A_theta: `normalised_log_ratios`, what the policy's update so far amounts to on the same scale. Wants the
    divisors `sequences`, and several updates per sampled batch: at the first one every log-ratio is 0, and
    eps alone sets the slope. The paper gives no epsilon and no std's divisor; these are ours. Its beta is
    0.1. Raises ValueError when beta > 0 comes without a reference.
    """
    lengths_C = torch.tensor(list(tokens.lengths)).to(tokens.advantages_N)
    target_C = sequence_sums(tokens.advantages_N, tokens.lengths) / lengths_C
    residual_C = (target_C - normalised_log_ratios(tokens, eps)).square()
    return finish(-residual_C[tokens.owner_N], tokens, beta, clamp)


def normalised_log_ratios(tokens: Tokens, eps: float) -> Tensor:
    """(C,) (rho - mean) / sqrt(var + eps^2) within each group, rho = log pi_theta(o) - log pi_old(o), the
    unbiased variance.

    The epsilon stands inside the root because the root's gradient at a variance of 0 is infinite. 0 for a
    group of one.
    """
    rho_C = sequence_sums(tokens.log_probs_N - tokens.log_probs_old_N.detach(), tokens.lengths)
    group_C = tokens.groups_C
    empty = rho_C.new_zeros(max(tokens.groups, default=-1) + 1)
    size = empty.index_add(0, group_C, torch.ones_like(rho_C))
    mean = empty.index_add(0, group_C, rho_C) / size.clamp(min=1)
    centred_C = rho_C - mean[group_C]
    variance = empty.index_add(0, group_C, centred_C.square()) / (size - 1).clamp(min=1)
    return centred_C / (variance + eps**2).sqrt()[group_C]
