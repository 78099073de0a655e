"""Losses on flat tokens. Pure: tensors in, a scalar and its numbers out.

N: all completion tokens of this part of the batch, one completion after another; C: its completions. Every
loss takes what to divide by, counted over the WHOLE step's batch, so that splitting a batch into parts and
adding up the parts' gradients changes nothing. One method family per file; a recipe names one of
`tolman.learn.registry.LOSSES`.
"""

from tolman.learn.loss.policy_gradient import policy_gradient
from tolman.learn.loss.terms import BatchCount, Terms, Tokens, divisors, k3, nll, sequence_sums

__all__ = [
    "BatchCount", "Terms", "Tokens", "divisors", "k3", "nll", "policy_gradient", "sequence_sums",
]  # fmt: skip
