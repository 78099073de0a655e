"""Losses over completions somebody preferred: pairs (DPO) and single verdicts (KTO).

P: pairs of this part; C: completions of this part. Log-probabilities are of whole completions.
"""

from __future__ import annotations

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor

from tolman.learn.loss.terms import same_shape


class PreferenceTerms(NamedTuple):
    """A loss (scalar with gradient) and detached implicit rewards beta * (log pi - log pi_ref), (P,) or (C,).

    chosen: of chosen or desirable completions; rejected: of rejected or undesirable ones.
    """

    loss: Tensor
    chosen: Tensor
    rejected: Tensor


def dpo(
    chosen_P: Tensor,
    rejected_P: Tensor,
    chosen_ref_P: Tensor,
    rejected_ref_P: Tensor,
    pairs: int,
    *,
    beta: float,
    smoothing: float = 0.0,
) -> PreferenceTerms:
    """DPO (arXiv 2305.18290 eq. 7): -log sigma(beta * margin), margin: log-ratio chosen - log-ratio rejected.

    pairs: of the whole step, what the sum is divided by. smoothing: probability that a pair is labelled the
    wrong way round (cDPO). Raises ValueError when shapes differ.
    """
    same_shape(chosen_P, rejected_P, chosen_ref_P, rejected_ref_P)
    chosen_reward_P = beta * (chosen_P - chosen_ref_P.detach())
    rejected_reward_P = beta * (rejected_P - rejected_ref_P.detach())
    margin_P = chosen_reward_P - rejected_reward_P
    losses_P = -(1 - smoothing) * F.logsigmoid(margin_P) - smoothing * F.logsigmoid(-margin_P)
    return PreferenceTerms(losses_P.sum() / pairs, chosen_reward_P.detach(), rejected_reward_P.detach())


def kto(
    log_probs_C: Tensor,
    log_probs_ref_C: Tensor,
    desirable_mask_C: Tensor,
    kl: float,
    completions: int,
    *,
    beta: float,
    desirable_weight: float = 1.0,
    undesirable_weight: float = 1.0,
) -> PreferenceTerms:
    """KTO (arXiv 2402.01306 eq. 8): weight * (1 - sigma(beta * (h - kl))) for desirable completions, weight *
    (1 - sigma(beta * (kl - h))) for the others, h = log pi - log pi_ref.

    desirable_mask_C: True where the completion is desirable. kl: `kto_baseline` of the whole step.
    completions: of the whole step, what the sum is divided by. Raises ValueError when shapes differ.
    """
    same_shape(log_probs_C, log_probs_ref_C, desirable_mask_C)
    h_C = log_probs_C - log_probs_ref_C.detach()
    sign_C = desirable_mask_C.to(h_C) * 2 - 1
    weight_C = desirable_mask_C.to(h_C) * (desirable_weight - undesirable_weight) + undesirable_weight
    loss = (weight_C * (1 - (beta * sign_C * (h_C - kl)).sigmoid())).sum() / completions
    rewards_C = beta * h_C.detach()
    return PreferenceTerms(loss, rewards_C[desirable_mask_C], rewards_C[~desirable_mask_C])


def kto_baseline(log_probs_M: Tensor, log_probs_ref_M: Tensor) -> float:
    """KTO's reference point: max(0, mean of log pi - log pi_ref) over M mismatched pairs, each prompt with
    another prompt's completion; 0 for none. Raises ValueError when shapes differ."""
    same_shape(log_probs_M, log_probs_ref_M)
    return max(0.0, float((log_probs_M - log_probs_ref_M).mean())) if len(log_probs_M) else 0.0
