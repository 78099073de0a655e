"""What losses share: tokens in, terms out, divisors, the KL estimate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from tolman.learn.registry import NORMALISE


class BatchCount(NamedTuple):
    """What a whole step's batch holds: trained completions, their tokens, and the token budget of one."""

    completions: int
    tokens: int
    budget: int


@dataclass(frozen=True, eq=False)
class Tokens:
    """C sampled completions as N tokens.

    log_probs_N: of the policy being trained. log_probs_old_N: of the policy as it was when it sampled (no
    gradient flows into them); strictly on-policy training passes `log_probs_N.detach()`, which makes every
    ratio 1 with the gradient of log_probs. advantages_N: each token's. divisors_N: from `divisors`. lengths:
    tokens of each completion. groups: for each completion the number of its group in this part; a group is
    never split over parts. log_probs_ref_N: of the frozen reference, None without a KL term. divergence_N:
    how far the group's distributions are apart at the token's position, None where no loss asks.
    Raises ValueError when shapes differ.
    """

    log_probs_N: Tensor
    log_probs_old_N: Tensor
    advantages_N: Tensor
    divisors_N: Tensor
    lengths: Sequence[int]
    groups: Sequence[int]
    log_probs_ref_N: Tensor | None = None
    divergence_N: Tensor | None = None

    def __post_init__(self) -> None:
        same_shape(self.log_probs_N, self.log_probs_old_N, self.advantages_N, self.divisors_N)
        for optional in (self.log_probs_ref_N, self.divergence_N):
            if optional is not None:
                same_shape(self.log_probs_N, optional)
        if sum(self.lengths) != len(self.log_probs_N) or len(self.lengths) != len(self.groups):
            raise ValueError(
                f"lengths {list(self.lengths)} and groups {list(self.groups)} do not describe "
                f"{len(self.log_probs_N)} tokens"
            )

    @property
    def owner_N(self) -> Tensor:
        """(N,) the completion each token belongs to."""
        lengths_C = torch.tensor(list(self.lengths), device=self.log_probs_N.device)
        return torch.arange(len(self.lengths), device=lengths_C.device).repeat_interleave(lengths_C)

    @property
    def groups_C(self) -> Tensor:
        """(C,) the group each completion belongs to."""
        return torch.tensor(list(self.groups), device=self.log_probs_N.device)


class Terms(NamedTuple):
    """A loss (scalar tensor with gradient) and its parts as numbers, already divided like the loss.

    policy: without the KL term. kl: unweighted. clipped: share of the weight that a clip cut off.
    """

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
    same_shape(log_probs_N, divisors_N)
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


def sequence_sums(values_N: Tensor, lengths: Sequence[int]) -> Tensor:
    """(C,) sum over each completion's tokens, such as its log-probability. Raises ValueError when `lengths`
    do not add up to N."""
    if sum(lengths) != len(values_N):
        raise ValueError(f"lengths add up to {sum(lengths)}, there are {len(values_N)} tokens")
    return torch.stack([part.sum() for part in torch.split(values_N, list(lengths))])


def finish(gain_N: Tensor, tokens: Tokens, beta: float, clamp: float, clipped: float = 0.0) -> Terms:
    """-sum [gain - beta * k3] / divisor. Raises ValueError when beta > 0 comes without a reference."""
    loss = -(gain_N / tokens.divisors_N).sum()
    policy, kl = float(loss.detach()), 0.0
    if beta > 0:
        if tokens.log_probs_ref_N is None:
            raise ValueError(f"beta is {beta:g}: the reference's log-probabilities are needed")
        kl_N = k3(tokens.log_probs_N, tokens.log_probs_ref_N.detach(), clamp)
        kl_sum = (kl_N / tokens.divisors_N).sum()
        kl = float(kl_sum.detach())
        loss = loss + beta * kl_sum
    return Terms(loss, policy, kl, clipped)


def same_shape(*tensors: Tensor) -> None:
    """Raise ValueError unless all are (N,) with one N."""
    shapes = [tuple(tensor.shape) for tensor in tensors]
    if any(shape != shapes[0] for shape in shapes) or len(shapes[0]) != 1:
        raise ValueError(
            f"log-probabilities, advantages and divisors must share one shape (N,), got {shapes}"
        )
