"""Losses on flat tokens. Pure: tensors in, a scalar and its numbers out.

N: all completion tokens of this part of the batch, one completion after another. Every loss takes
`divisors_N`: what each token's term is divided by, counted over the WHOLE step's batch (`divisors`), so that
splitting a batch into parts and adding up the parts' gradients changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from tolman.learn.registry import NORMALISE


class BatchCount(NamedTuple):
    """What a whole step's batch holds: trained completions, their tokens, and the token budget of one."""

    completions: int
    tokens: int
    budget: int


class Terms(NamedTuple):
    """A loss (scalar tensor with gradient) and its parts as numbers, already divided like the loss."""

    loss: Tensor
    policy: float
    kl: float
    clipped: float


def divisors(lengths: Sequence[int], rule: str, count: BatchCount) -> Tensor:
    """What to divide each token's term by. Returns (N,) float32, N = sum of `lengths`.

    lengths: tokens of each completion in this part. count: of the whole step. rule: `tokens` every token
    weighs the same (DAPO); `sequences` every completion weighs the same, its tokens 1/|o| each (the original
    GRPO, SpaceR); `constant` the completion's token budget instead of |o| (Dr. GRPO). Raises ValueError for
    an unknown rule and for a part that is larger than the whole.
    """
    if rule not in NORMALISE:
        raise ValueError(f"loss.normalise is {rule!r}; valid choices: {', '.join(NORMALISE)}")
    if len(lengths) > count.completions or sum(lengths) > count.tokens:
        raise ValueError(f"part has {len(lengths)} completions, {sum(lengths)} tokens; the whole has {count}")
    lengths_C = torch.tensor(list(lengths), dtype=torch.long)
    if rule == "tokens":
        per_completion_C = torch.full((len(lengths),), float(count.tokens))
    elif rule == "sequences":
        per_completion_C = count.completions * lengths_C.float()
    else:
        per_completion_C = torch.full((len(lengths),), float(count.completions * count.budget))
    return per_completion_C.repeat_interleave(lengths_C)


def nll(log_probs_N: Tensor, divisors_N: Tensor) -> Tensor:
    """Negative log-likelihood of the gold tokens, each over its divisor: the supervised loss. Scalar.

    Raises ValueError when the shapes differ.
    """
    _same_shape(log_probs_N, divisors_N)
    return -(log_probs_N / divisors_N).sum()


def k3(log_probs_N: Tensor, log_probs_ref_N: Tensor, clamp: float) -> Tensor:
    """Schulman's k3 estimate of KL(policy || reference) per token: exp(d) - d - 1, d = ref - policy. (N,), >=
    0.

    clamp: bound on |d| (SpaceR's trainer: 10), 0 for none; outside it the gradient is 0.
    """
    d_N = log_probs_ref_N - log_probs_N
    if clamp:
        d_N = d_N.clamp(-clamp, clamp)
    return d_N.exp() - d_N - 1


def policy_gradient(
    log_probs_N: Tensor,
    log_probs_old_N: Tensor,
    advantages_N: Tensor,
    divisors_N: Tensor,
    *,
    log_probs_ref_N: Tensor | None = None,
    beta: float = 0.0,
    clamp: float = 0.0,
    clip: tuple[float, float] | None = None,
) -> Terms:
    """GRPO's loss: -sum [ratio * advantage - beta * k3] / divisor, ratio = exp(log_probs - log_probs_old).

    log_probs_N: of the policy being trained. log_probs_old_N: of the policy that sampled (no gradient flows
    into them); strictly on-policy training passes `log_probs_N.detach()`, which makes every ratio 1 with the
    gradient of log_probs. advantages_N: each token's advantage. log_probs_ref_N: of the frozen reference,
    needed when beta > 0. clamp: bound on the log-ratios (0: none). clip: (low, high), the PPO interval [1 -
    low, 1 + high]; None for none. SpaceR: beta 0.04, clamp 10, no clip. Raises ValueError when shapes differ,
    or beta > 0 comes without a reference.
    """
    _same_shape(log_probs_N, log_probs_old_N, advantages_N, divisors_N)
    log_ratio_N = log_probs_N - log_probs_old_N.detach()
    if clamp:
        log_ratio_N = log_ratio_N.clamp(-clamp, clamp)
    ratio_N = log_ratio_N.exp()
    gain_N = ratio_N * advantages_N
    clipped = 0.0
    if clip is not None:
        bounded_N = ratio_N.clamp(1 - clip[0], 1 + clip[1]) * advantages_N
        clipped = float(((bounded_N < gain_N).float() / divisors_N).sum())
        gain_N = torch.minimum(gain_N, bounded_N)
    loss = -(gain_N / divisors_N).sum()
    policy, kl = float(loss.detach()), 0.0
    if beta > 0:
        if log_probs_ref_N is None:
            raise ValueError(f"beta is {beta:g}: the reference's log-probabilities are needed")
        _same_shape(log_probs_N, log_probs_ref_N)
        kl_sum = (k3(log_probs_N, log_probs_ref_N.detach(), clamp) / divisors_N).sum()
        kl = float(kl_sum.detach())
        loss = loss + beta * kl_sum
    return Terms(loss, policy, kl, clipped)


def _same_shape(*tensors: Tensor) -> None:
    shapes = [tuple(tensor.shape) for tensor in tensors]
    if any(shape != shapes[0] for shape in shapes) or len(shapes[0]) != 1:
        raise ValueError(
            f"log-probabilities, advantages and divisors must share one shape (N,), got {shapes}"
        )
