"""Losses against numbers worked out by hand and against autograd of the formula written plainly."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from tolman.learn.loss import BatchCount, Tokens, divisors, k3, nll, policy_gradient, sequence_sums


def flat(*values: float, grad: bool = False) -> Tensor:
    return torch.tensor(values, dtype=torch.float64, requires_grad=grad)


def tokens(log_probs: Tensor, old: Tensor, advantages: Tensor, weights: Tensor, **fields: Tensor) -> Tokens:
    """One completion."""
    return Tokens(log_probs, old, advantages, weights, [len(log_probs)], [0], **fields)


def test_nll_by_hand() -> None:
    # -(-1)/2 - (-2)/4 = 0.5 + 0.5
    log_probs = flat(-1.0, -2.0, grad=True)
    loss = nll(log_probs, flat(2.0, 4.0))
    assert loss.item() == pytest.approx(1.0)
    loss.backward()
    assert log_probs.grad is not None
    assert log_probs.grad.tolist() == pytest.approx([-0.5, -0.25])


def test_k3_by_hand() -> None:
    # d = ref - policy = ln 2: exp(d) - d - 1 = 2 - 0.6931472 - 1 = 0.3068528; d = -ln 2: 0.5 + 0.6931472 - 1
    ln2 = math.log(2)
    values = k3(flat(-1.0, -1.0, -1.0), flat(-1.0 + ln2, -1.0 - ln2, -1.0), 0.0)
    assert values.tolist() == pytest.approx([0.3068528, 0.1931472, 0.0])


def test_clamp_bounds_k3_and_stops_its_gradient() -> None:
    # |d| = 30 clamped to 10: exp(10) - 11 and exp(-10) + 9
    log_probs = flat(-31.0, -1.0, grad=True)
    values = k3(log_probs, flat(-1.0, -31.0), 10.0)
    assert values.tolist() == pytest.approx([math.exp(10) - 11, math.exp(-10) + 9])
    values.sum().backward()
    assert log_probs.grad is not None
    assert log_probs.grad.tolist() == [0.0, 0.0]


def test_policy_gradient_on_policy_by_hand() -> None:
    # every ratio is 1, so the loss is -(2/4 - 1/2) = 0, and the gradient of log p is -A / divisor
    log_probs = flat(-0.3, -1.7, grad=True)
    terms = policy_gradient(tokens(log_probs, log_probs.detach(), flat(2.0, -1.0), flat(4.0, 2.0)))
    assert terms.loss.item() == pytest.approx(0.0)
    terms.loss.backward()
    assert log_probs.grad is not None
    assert log_probs.grad.tolist() == pytest.approx([-0.5, 0.5])


def test_policy_gradient_with_kl_by_hand() -> None:
    # ratio 1, A = 1, divisor 1: -1; k3 with d = ln 2 is 0.3068528 (above); beta 0.04: -1 + 0.0122741
    log_probs = flat(-1.0, grad=True)
    reference = flat(-1.0 + math.log(2))
    sampled = tokens(log_probs, log_probs.detach(), flat(1.0), flat(1.0), log_probs_ref_N=reference)
    terms = policy_gradient(sampled, beta=0.04, clamp=10.0)
    assert terms.loss.item() == pytest.approx(-1 + 0.04 * 0.3068528, abs=1e-7)
    assert (terms.policy, terms.kl) == pytest.approx((-1.0, 0.3068528), abs=1e-7)
    terms.loss.backward()
    # d/dlp [exp(ref - lp) - (ref - lp) - 1] = 1 - exp(d) = -1; total -1 + 0.04 * (-1)
    assert log_probs.grad is not None
    assert log_probs.grad.tolist() == pytest.approx([-1.04])


@pytest.mark.parametrize(("advantage", "expected"), [(1.0, 1.2), (-1.0, -1.5)])
def test_clip_takes_the_smaller_gain(advantage: float, expected: float) -> None:
    # ratio 1.5 with clip (0.2, 0.2): gain 1.5 A against 1.2 A; the minimum is 1.2 for A = 1, -1.5 for A = -1
    sampled = tokens(flat(math.log(1.5)), flat(0.0), flat(advantage), flat(1.0))
    terms = policy_gradient(sampled, clip=(0.2, 0.2))
    assert terms.loss.item() == pytest.approx(-expected)
    assert terms.clipped == pytest.approx(1.0 if advantage > 0 else 0.0)


def test_asymmetric_clip_by_hand() -> None:
    # ratios 1.5 and 0.5 with (0.2, 0.28): 1.28 for A = 1, and max(0.5, 0.8) * -1 = -0.8 for A = -1
    sampled = tokens(flat(math.log(1.5), math.log(0.5)), flat(0.0, 0.0), flat(1.0, -1.0), flat(1.0, 1.0))
    terms = policy_gradient(sampled, clip=(0.2, 0.28))
    assert terms.loss.item() == pytest.approx(-(1.28 - 0.8))
    assert terms.clipped == 2.0


def test_dual_clip_bounds_what_a_bad_token_costs() -> None:
    # ratio 5: A = -1 gains max(min(-5, -1.2), -3) = -3; A = 1 gains 1.2 as without it
    sampled = tokens(flat(math.log(5), math.log(5)), flat(0.0, 0.0), flat(-1.0, 1.0), flat(1.0, 1.0))
    assert policy_gradient(sampled, clip=(0.2, 0.2), dual_clip=3.0).loss.item() == pytest.approx(3 - 1.2)
    assert policy_gradient(sampled, clip=(0.2, 0.2)).loss.item() == pytest.approx(5 - 1.2)


def test_gradient_equals_autograd_of_the_formula() -> None:
    generator = torch.Generator().manual_seed(0)
    old, reference, advantages = torch.randn(3, 7, generator=generator, dtype=torch.float64).unbind()
    start = old + 0.3 * torch.randn(7, generator=generator, dtype=torch.float64)
    weights = divisors([3, 4], "sequences", BatchCount(2, 7, 9)).double()
    ours, plain = start.clone().requires_grad_(), start.clone().requires_grad_()
    sampled = Tokens(ours, old, advantages, weights, [3, 4], [0, 0], log_probs_ref_N=reference)
    policy_gradient(sampled, beta=0.1, clip=(0.2, 0.3)).loss.backward()

    total = torch.zeros((), dtype=torch.float64)
    for sequence in (range(3), range(3, 7)):
        for t in sequence:
            ratio = torch.exp(plain[t] - old[t])
            gain = torch.minimum(ratio * advantages[t], ratio.clamp(0.8, 1.3) * advantages[t])
            kl = torch.exp(reference[t] - plain[t]) - (reference[t] - plain[t]) - 1
            total = total - (gain - 0.1 * kl) / len(sequence) / 2
    total.backward()
    assert ours.grad is not None
    torch.testing.assert_close(ours.grad, plain.grad, rtol=1e-9, atol=1e-12)


def test_divisors_by_hand() -> None:
    # two completions of 1 and 3 tokens, budget 10
    count = BatchCount(2, 4, 10)
    assert divisors([1, 3], "tokens", count).tolist() == [4, 4, 4, 4]
    assert divisors([1, 3], "sequences", count).tolist() == [2, 6, 6, 6]
    assert divisors([1, 3], "constant", count).tolist() == [20, 20, 20, 20]


@pytest.mark.parametrize("rule", ["tokens", "sequences", "constant"])
def test_splitting_a_batch_changes_no_gradient(rule: str) -> None:
    lengths, count = [2, 5, 1, 3], BatchCount(4, 11, 6)
    start = torch.randn(11, generator=torch.Generator().manual_seed(1))
    advantages = torch.tensor([1.0, -2.0, 0.5, 3.0]).repeat_interleave(torch.tensor(lengths))

    def gradient(parts: list[list[int]]) -> Tensor:
        log_probs = start.clone().requires_grad_()
        at = 0
        for part in parts:
            piece = log_probs[at : at + sum(part)]
            weights = divisors(part, rule, count)
            sampled = Tokens(
                piece, piece.detach(), advantages[at : at + sum(part)], weights, part, range(len(part)),
                log_probs_ref_N=torch.zeros(sum(part)),
            )  # fmt: skip
            policy_gradient(sampled, beta=0.5).loss.backward()
            at += sum(part)
        assert log_probs.grad is not None
        return log_probs.grad

    torch.testing.assert_close(gradient([[2, 5], [1], [3]]), gradient([lengths]), rtol=1e-6, atol=1e-7)


def test_wrong_calls_are_refused() -> None:
    with pytest.raises(ValueError, match="valid choices: tokens, sequences, constant"):
        divisors([1], "mean", BatchCount(1, 1, 1))
    with pytest.raises(ValueError, match="the whole has"):
        divisors([3], "tokens", BatchCount(1, 2, 1))
    with pytest.raises(ValueError, match="one shape"):
        nll(flat(1.0, 2.0), flat(1.0))
    with pytest.raises(ValueError, match="reference"):
        policy_gradient(tokens(flat(0.0), flat(0.0), flat(1.0), flat(1.0)), beta=0.1)
    with pytest.raises(ValueError, match="do not describe 2 tokens"):
        Tokens(*[flat(0.0, 0.0)] * 4, [1], [0])
    with pytest.raises(ValueError, match="add up to 3"):
        sequence_sums(flat(0.0, 0.0), [1, 2])
