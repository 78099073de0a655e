"""The policy-gradient losses of the GRPO family: ratio times advantage, clipped or not."""

from __future__ import annotations

import torch
from torch import Tensor

from tolman.learn.loss.terms import Terms, Tokens, finish, sequence_sums

Clip = tuple[float, float]
"""(low, high) of the interval [1 - low, 1 + high] that a ratio pays in; (0, 0) for no clip."""


def policy_gradient(
    tokens: Tokens, *, beta: float = 0.0, clamp: float = 0.0, clip: Clip = (0.0, 0.0), dual_clip: float = 0.0
) -> Terms:
    """GRPO's loss: -sum [ratio * advantage - beta * k3] / divisor, ratio = exp(log_probs - log_probs_old).

    clamp: bound on the log-ratios (0: none). clip: PPO's interval, symmetric (PPO: 0.2, 0.2) or not (DAPO,
    arXiv 2503.14476: 0.2, 0.28). dual_clip: with a negative advantage the gain is at least dual_clip *
    advantage (arXiv 1912.09729; OneThinker: 3), 0 for none. SpaceR: beta 0.04, clamp 10, no clip.
    Raises ValueError when beta > 0 comes without a reference.
    """
    ratio_N = _ratio(tokens.log_probs_N - tokens.log_probs_old_N.detach(), clamp)
    gain_N, cut_mask_N = surrogate(ratio_N, tokens.advantages_N, clip, dual_clip)
    return finish(gain_N, tokens, beta, clamp, _share(cut_mask_N, tokens))


def gspo(
    tokens: Tokens, *, beta: float = 0.0, clamp: float = 0.0, clip: Clip = (0.0, 0.0), dual_clip: float = 0.0
) -> Terms:
    """GSPO (arXiv 2507.18071): `policy_gradient` with one ratio per completion, the geometric mean of its
    tokens' ratios, s = exp(mean_t (log_probs - log_probs_old)).

    The paper divides by `sequences` and clips at (3e-4, 4e-4). Strictly on-policy it is GRPO.
    Raises ValueError when beta > 0 comes without a reference.
    """
    log_ratio_N = tokens.log_probs_N - tokens.log_probs_old_N.detach()
    lengths_C = torch.tensor(list(tokens.lengths)).to(log_ratio_N)
    ratio_N = _ratio(sequence_sums(log_ratio_N, tokens.lengths) / lengths_C, clamp)[tokens.owner_N]
    gain_N, cut_mask_N = surrogate(ratio_N, tokens.advantages_N, clip, dual_clip)
    return finish(gain_N, tokens, beta, clamp, _share(cut_mask_N, tokens))


def tw_grpo(
    tokens: Tokens,
    *,
    beta: float = 0.0,
    clamp: float = 0.0,
    clip: Clip = (0.0, 0.0),
    dual_clip: float = 0.0,
    alpha: float = 1.4,
) -> Terms:
    """TW-GRPO (arXiv 2505.24718, code @ aa529ff): `policy_gradient` with each token's gain weighted by
    `divergence_weights`. The KL term, which the paper does not have, is not weighted.

    alpha: weight of the position where the group differs most (code: 1.4, its script: 1.7). The paper divides
    by `tokens` and clips at (0.2, 0.28). Raises ValueError without divergences, or when beta > 0 comes
    without a reference.
    """
    ratio_N = _ratio(tokens.log_probs_N - tokens.log_probs_old_N.detach(), clamp)
    gain_N, cut_mask_N = surrogate(ratio_N, tokens.advantages_N, clip, dual_clip)
    weighted_N = gain_N * divergence_weights(tokens, alpha)
    return finish(weighted_N, tokens, beta, clamp, _share(cut_mask_N, tokens))


def surrogate(ratio_N: Tensor, advantages_N: Tensor, clip: Clip, dual_clip: float) -> tuple[Tensor, Tensor]:
    """PPO's gain per token, the smaller of the plain and the clipped one, and True where a clip took over."""
    plain_N = ratio_N * advantages_N
    gain_N = plain_N
    if any(clip):
        gain_N = torch.minimum(gain_N, ratio_N.clamp(1 - clip[0], 1 + clip[1]) * advantages_N)
    if dual_clip:
        bounded_N = torch.maximum(gain_N, dual_clip * advantages_N)
        gain_N = torch.where(advantages_N < 0, bounded_N, gain_N)
    return gain_N, gain_N != plain_N


def divergence_weights(tokens: Tokens, alpha: float) -> Tensor:
    """(N,) 1 + (alpha - 1) * (D - min) / (max - min), extremes over the group; 1 where D is constant.

    Constants: no gradient flows through them. Raises ValueError without divergences.
    """
    if tokens.divergence_N is None:
        raise ValueError("token weights need the divergence of the group's distributions")
    divergence_N = tokens.divergence_N.detach()
    group_N = tokens.groups_C[tokens.owner_N]
    empty = divergence_N.new_zeros(max(tokens.groups, default=-1) + 1)
    low_N = empty.scatter_reduce(0, group_N, divergence_N, "amin", include_self=False)[group_N]
    high_N = empty.scatter_reduce(0, group_N, divergence_N, "amax", include_self=False)[group_N]
    spread_N = high_N - low_N
    share_N = torch.where(spread_N > 0, (divergence_N - low_N) / spread_N.clamp(min=1e-30), 0.0)
    return 1 + (alpha - 1) * share_N


def _ratio(log_ratio: Tensor, clamp: float) -> Tensor:
    return (log_ratio.clamp(-clamp, clamp) if clamp else log_ratio).exp()


def _share(cut_mask_N: Tensor, tokens: Tokens) -> float:
    return float((cut_mask_N / tokens.divisors_N).sum())
