"""The methods' losses against numbers worked out by hand and autograd of the formulas written plainly."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from tolman.learn.loss import BatchCount, Terms, Tokens, divisors, nll, policy_gradient
from tolman.learn.loss.divergence import position_divergence
from tolman.learn.loss.policy_gradient import divergence_weights, gspo, tw_grpo
from tolman.learn.loss.preference import dpo, kto, kto_baseline
from tolman.learn.loss.reg_grpo import normalised_log_ratios, reg_grpo

LENGTHS, GROUPS = [2, 3, 1, 4], [0, 0, 1, 1]


def flat(*values: float, grad: bool = False) -> Tensor:
    return torch.tensor(values, dtype=torch.float64, requires_grad=grad)


def sampled(log_probs: Tensor, **fields: Any) -> Tokens:
    """Four completions in two groups; everything random but fixed, the reference and divergences too."""
    generator = torch.Generator().manual_seed(0)
    old, reference, divergence = torch.randn(3, 10, generator=generator, dtype=torch.float64).unbind()
    advantages = flat(1.0, -1.0, 0.5, -0.5).repeat_interleave(torch.tensor(LENGTHS))
    values = {
        "log_probs_old_N": old,
        "advantages_N": advantages,
        "divisors_N": divisors(LENGTHS, "sequences", BatchCount(4, 10, 9)).double(),
        "lengths": LENGTHS,
        "groups": GROUPS,
        "log_probs_ref_N": reference,
        "divergence_N": divergence.abs(),
    }
    return Tokens(log_probs, **(values | fields))


def start() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    old = torch.randn(3, 10, generator=generator, dtype=torch.float64)[0]
    return old + 0.3 * torch.randn(10, generator=generator, dtype=torch.float64)


def gradients(ours: Callable[[Tensor], Tensor], plain: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    found = []
    for loss in (ours, plain):
        log_probs = start().requires_grad_()
        loss(log_probs).backward()
        assert log_probs.grad is not None
        found.append(log_probs.grad)
    return found[0], found[1]


def runs() -> list[range]:
    ends = torch.tensor(LENGTHS).cumsum(0).tolist()
    return [range(end - length, end) for end, length in zip(ends, LENGTHS, strict=True)]


def test_gspo_by_hand() -> None:
    # log-ratios 0.2 and 0.4: s = exp(0.3) = 1.3498588; A = 2: -2.6997176, clipped at 1.2: -2.4
    log_probs = flat(0.2, 0.4, grad=True)
    one = Tokens(log_probs, flat(0.0, 0.0), flat(2.0, 2.0), flat(2.0, 2.0), [2], [0])
    loss = gspo(one).loss
    assert loss.item() == pytest.approx(-2.6997176)
    loss.backward()
    # ds/dlp = s / 2 for each token
    assert log_probs.grad is not None
    assert log_probs.grad.tolist() == pytest.approx([-1.3498588, -1.3498588])
    clipped = gspo(one, clip=(0.2, 0.2))
    assert (clipped.loss.item(), clipped.clipped) == pytest.approx((-2.4, 1.0))


def test_gspo_gradient_equals_autograd_of_the_formula() -> None:
    tokens = sampled(start())

    def plain(log_probs: Tensor) -> Tensor:
        total = torch.zeros((), dtype=torch.float64)
        for run in runs():
            ratio = torch.exp(sum(log_probs[t] - tokens.log_probs_old_N[t] for t in run) / len(run))
            advantage = tokens.advantages_N[run[0]]
            total = total - torch.minimum(ratio * advantage, ratio.clamp(0.9, 1.2) * advantage) / 4
        return total

    ours, expected = gradients(lambda x: gspo(sampled(x), clip=(0.1, 0.2)).loss, plain)
    torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-12)


def test_position_divergence_by_hand() -> None:
    # p = (1/2, 1/2) and (4/5, 1/5): d of the first is ln(1.6)/2 and ln(0.4)/2, of the second the negatives;
    # sqrt(1.6) - ln(1.6)/2 - 1 = 0.0299093, sqrt(0.4) - ln(0.4)/2 - 1 = 0.0906009: together 0.1205102
    # 1/sqrt(1.6) + ln(1.6)/2 - 1 = 0.0255712, 1/sqrt(0.4) + ln(0.4)/2 - 1 = 0.1229934: together 0.1485646
    both = torch.tensor([[[0.5, 0.5]], [[0.8, 0.2]]], dtype=torch.float64).log()
    mask = torch.ones(2, 1, dtype=torch.bool)
    assert position_divergence(both, mask).tolist() == pytest.approx([0.1345374], abs=1e-6)
    # a completion that has ended counts as uniform, which here is what the first one is
    ended = torch.stack([torch.full((1, 2), -99.0, dtype=torch.float64), both[1]])
    half = torch.tensor([[False], [True]])
    assert position_divergence(ended, half).tolist() == pytest.approx([0.1345374], abs=1e-6)
    assert position_divergence(both[:1], mask[:1]).tolist() == [0.0]


def test_position_divergence_is_bounded() -> None:
    # ln p differs by 40 at one token of two: d is clamped to 11
    log_probs = flat(-40.0, 0.0, 0.0, -40.0).reshape(2, 1, 2)
    expected = math.exp(11) - 11 - 1 + math.exp(-11) + 11 - 1
    assert position_divergence(log_probs, torch.ones(2, 1, dtype=torch.bool)).item() == pytest.approx(
        expected
    )


def test_token_weights_by_hand() -> None:
    # within the first group D runs from 0 to 1, within the second it is constant
    zeros = torch.zeros(5, dtype=torch.float64)
    divergence = flat(0.0, 1.0, 0.5, 7.0, 7.0)
    tokens = Tokens(zeros, zeros, zeros + 1, zeros + 5, [2, 1, 1, 1], [0, 0, 1, 1], divergence_N=divergence)
    assert divergence_weights(tokens, 1.7).tolist() == pytest.approx([1.0, 1.7, 1.35, 1.0, 1.0])
    assert tw_grpo(tokens, alpha=1.7).loss.item() == pytest.approx(-(1 + 1.7 + 1.35 + 1 + 1) / 5)
    with pytest.raises(ValueError, match="divergence"):
        divergence_weights(Tokens(zeros, zeros, zeros, zeros + 5, [5], [0]), 1.7)


def test_tw_grpo_gradient_equals_autograd_of_the_formula() -> None:
    tokens = sampled(start())
    assert tokens.divergence_N is not None
    groups = (range(5), range(5, 10))

    def plain(log_probs: Tensor) -> Tensor:
        total = torch.zeros((), dtype=torch.float64)
        for group in groups:
            spread = tokens.divergence_N[list(group)]
            for t in group:
                share = (tokens.divergence_N[t] - spread.min()) / (spread.max() - spread.min())
                ratio, advantage = torch.exp(log_probs[t] - tokens.log_probs_old_N[t]), tokens.advantages_N[t]
                gain = torch.minimum(ratio * advantage, ratio.clamp(0.8, 1.28) * advantage)
                total = total - (1 + 0.7 * share) * gain / tokens.divisors_N[t]
        return total

    ours, expected = gradients(lambda x: tw_grpo(sampled(x), clip=(0.2, 0.28), alpha=1.7).loss, plain)
    torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-12)


def test_reg_grpo_by_hand() -> None:
    # rho = 0.3 and 0.2 - 0.3 = -0.1: mean 0.1, centred +-0.2, unbiased std sqrt(0.08), A_theta = +-0.7071068;
    # targets +-1: both residuals (1 - 0.7071068)^2 = 0.0857864
    log_probs = flat(0.3, 0.2, -0.3)
    tokens = Tokens(log_probs, flat(0, 0, 0), flat(1.0, -1.0, -1.0), flat(2.0, 4.0, 4.0), [1, 2], [0, 0])
    assert normalised_log_ratios(tokens, 1e-9).tolist() == pytest.approx([0.7071068, -0.7071068])
    assert reg_grpo(tokens, eps=1e-9).loss.item() == pytest.approx(0.0857864, abs=1e-7)


def test_reg_grpo_starts_with_a_finite_gradient() -> None:
    # all log-ratios 0: A_theta = 0, the loss is the mean of A^2 = 1, and d loss / d rho_i = -A_i / eps
    log_probs = flat(-1.0, -2.0, grad=True)
    tokens = Tokens(log_probs, log_probs.detach(), flat(1.0, -1.0), flat(2.0, 2.0), [1, 1], [0, 0])
    loss = reg_grpo(tokens, eps=0.1).loss
    assert loss.item() == pytest.approx(1.0)
    loss.backward()
    assert log_probs.grad is not None
    assert log_probs.grad.tolist() == pytest.approx([-10.0, 10.0])


def test_reg_grpo_gradient_equals_autograd_of_the_formula() -> None:
    tokens = sampled(start())
    assert tokens.log_probs_ref_N is not None

    def plain(log_probs: Tensor) -> Tensor:
        rho = torch.stack([(log_probs - tokens.log_probs_old_N)[list(run)].sum() for run in runs()])
        total = torch.zeros((), dtype=torch.float64)
        for a, b in ((0, 1), (2, 3)):
            pair = rho[[a, b]]
            scaled = (pair - pair.mean()) / torch.sqrt(pair.var(unbiased=True) + 1e-8)
            target = torch.stack([tokens.advantages_N[runs()[i][0]] for i in (a, b)])
            total = total + ((target - scaled) ** 2).sum() / 4
        for run in runs():
            for t in run:
                d = tokens.log_probs_ref_N[t] - log_probs[t]
                total = total + 0.1 * (torch.exp(d) - d - 1) / len(run) / 4
        return total

    ours, expected = gradients(lambda x: reg_grpo(sampled(x), beta=0.1, eps=1e-4).loss, plain)
    torch.testing.assert_close(ours, expected, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("loss", [gspo, tw_grpo, reg_grpo])
def test_splitting_a_batch_between_groups_changes_nothing(loss: Callable[..., Terms]) -> None:
    whole = sampled(start().requires_grad_())
    loss(whole, beta=0.1).loss.backward()
    log_probs = start().requires_grad_()
    total = 0.0
    for at, completions in ((slice(0, 5), slice(0, 2)), (slice(5, 10), slice(2, 4))):
        names = ("log_probs_old_N", "advantages_N", "divisors_N", "log_probs_ref_N", "divergence_N")
        part = {name: getattr(whole, name)[at] for name in names}
        lengths = LENGTHS[completions]
        terms = loss(sampled(log_probs[at], **part, lengths=lengths, groups=[0, 0]), beta=0.1)
        terms.loss.backward()
        total += terms.loss.item()
    assert total == pytest.approx(loss(whole, beta=0.1).loss.item())
    torch.testing.assert_close(log_probs.grad, whole.log_probs_N.grad, rtol=1e-9, atol=1e-12)


def test_dpo_by_hand() -> None:
    # margin 0.1 * (0.5 + 0.5) = 0.1: ln(1 + exp(-0.1)) = 0.6443967; the other way round 0.7443967
    given = (flat(-1.0), flat(-2.5), flat(-1.5), flat(-2.0))
    terms = dpo(*given, 1, beta=0.1)
    assert terms.loss.item() == pytest.approx(0.6443967, abs=1e-7)
    assert (terms.chosen.item(), terms.rejected.item()) == pytest.approx((0.05, -0.05))
    smoothed = 0.9 * 0.6443967 + 0.1 * 0.7443967
    assert dpo(*given, 1, beta=0.1, smoothing=0.1).loss.item() == pytest.approx(smoothed, abs=1e-7)
    # at the start policy and reference agree: ln 2 a pair
    assert dpo(flat(-1, -2), flat(-3, -4), flat(-1, -2), flat(-3, -4), 2, beta=0.5).loss.item() == (
        pytest.approx(math.log(2))
    )


def test_dpo_gradient_equals_the_papers() -> None:
    # eq. 7's gradient: -beta * sigma(rejected reward - chosen reward), and the opposite for the rejected one
    chosen, rejected = flat(-1.0, -3.0, grad=True), flat(-2.5, -1.0, grad=True)
    references = flat(-1.5, -2.0), flat(-2.0, -2.0)
    dpo(chosen, rejected, *references, 2, beta=0.3).loss.backward()
    margins = 0.3 * ((chosen - references[0]) - (rejected - references[1])).detach()
    assert chosen.grad is not None
    assert rejected.grad is not None
    expected = -0.3 * torch.sigmoid(-margins) / 2
    torch.testing.assert_close(chosen.grad, expected)
    torch.testing.assert_close(rejected.grad, -expected)


def test_kto_by_hand() -> None:
    # h = 1, kl = 0.5, beta 0.1: desirable 1 - sigma(0.05) = 0.4875026, else 1 - sigma(-0.05) = 0.5124974
    mask = torch.tensor([True, False])
    terms = kto(flat(-1, -1), flat(-2, -2), mask, 0.5, 2, beta=0.1, desirable_weight=2.0)
    assert terms.loss.item() == pytest.approx((2 * 0.4875026 + 0.5124974) / 2, abs=1e-7)
    assert (terms.chosen.tolist(), terms.rejected.tolist()) == ([pytest.approx(0.1)], [pytest.approx(0.1)])


def test_kto_gradient_equals_autograd_of_the_formula() -> None:
    mask, reference = torch.tensor([True, False, True]), flat(-2.0, -2.5, -1.0)
    ours, plain = (flat(-1.0, -3.0, -1.5, grad=True) for _ in range(2))
    kto(ours, reference, mask, 0.2, 3, beta=0.4, undesirable_weight=1.5).loss.backward()
    total = torch.zeros((), dtype=torch.float64)
    for i, desirable in enumerate(mask.tolist()):
        h = plain[i] - reference[i]
        value = torch.sigmoid(0.4 * (h - 0.2)) if desirable else torch.sigmoid(0.4 * (0.2 - h))
        total = total + (1.0 if desirable else 1.5) * (1 - value) / 3
    total.backward()
    torch.testing.assert_close(ours.grad, plain.grad, rtol=1e-9, atol=1e-12)


def test_kto_baseline_by_hand() -> None:
    # mean of 1 and 0.5; never below 0; nothing to average over is 0
    assert kto_baseline(flat(-1.0, -2.0), flat(-2.0, -2.5)) == pytest.approx(0.75)
    assert kto_baseline(flat(-3.0), flat(-2.0)) == 0.0
    assert kto_baseline(flat(), flat()) == 0.0


def test_clamps_and_dual_clip_have_the_gradient_of_the_formula() -> None:
    # the step is long enough for all of them to bind somewhere, and for none of them everywhere
    tokens = sampled(start())
    assert tokens.log_probs_ref_N is not None
    reference, scale = tokens.log_probs_ref_N, 4.0

    def plain(log_probs: Tensor) -> Tensor:
        total = torch.zeros((), dtype=torch.float64)
        for t in range(10):
            advantage = tokens.advantages_N[t]
            ratio = torch.exp((scale * log_probs[t] - scale * tokens.log_probs_old_N[t]).clamp(-1.5, 1.5))
            gain = torch.minimum(ratio * advantage, ratio.clamp(0.8, 1.3) * advantage)
            if advantage < 0:
                gain = torch.maximum(gain, 3.0 * advantage)
            d = (reference[t] - scale * log_probs[t]).clamp(-1.5, 1.5)
            total = total - (gain - 0.1 * (torch.exp(d) - d - 1)) / tokens.divisors_N[t]
        return total

    def ours(log_probs: Tensor) -> Tensor:
        long = sampled(scale * log_probs, log_probs_old_N=scale * tokens.log_probs_old_N)
        return policy_gradient(long, beta=0.1, clamp=1.5, clip=(0.2, 0.3), dual_clip=3.0).loss

    found, expected = gradients(ours, plain)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
    log_ratios = scale * (start() - tokens.log_probs_old_N)
    bad = tokens.advantages_N < 0
    assert (log_ratios.abs() > 1.5).any()
    assert ((log_ratios.exp() > 3) & bad).any()
    assert ((log_ratios.exp().clamp(0.8, 1.3) == log_ratios.exp()) & ~bad).any()


def test_nll_is_torchs_cross_entropy() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(10, 7, generator=generator, dtype=torch.float64, requires_grad=True)
    gold = torch.randint(7, (10,), generator=generator)
    count = BatchCount(4, 10, 4)
    log_probs = logits.log_softmax(-1)[torch.arange(10), gold]
    loss = nll(log_probs, divisors(LENGTHS, "tokens", count).double())
    expected = torch.nn.functional.cross_entropy(logits, gold)
    assert loss.item() == pytest.approx(expected.item())
    [ours], [plain] = (torch.autograd.grad(one, logits, retain_graph=True) for one in (loss, expected))
    torch.testing.assert_close(ours, plain, rtol=1e-9, atol=1e-12)
    parts = log_probs.split([5, 5]), (LENGTHS[:2], LENGTHS[2:])
    for rule in ("tokens", "sequences"):
        whole = nll(log_probs, divisors(LENGTHS, rule, count).double())
        split = sum(
            nll(part, divisors(lengths, rule, count).double()) for part, lengths in zip(*parts, strict=True)
        )
        assert isinstance(split, Tensor)
        [one], [other] = (torch.autograd.grad(value, logits, retain_graph=True) for value in (whole, split))
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


def test_splitting_preferences_changes_nothing() -> None:
    log_probs, references = start(), sampled(start()).log_probs_ref_N
    assert references is not None
    mask = torch.tensor([True, False, False, True, True, False, True, False, True, True])

    def of_pairs(x: Tensor, at: slice) -> Tensor:
        ours, theirs = x[at], references[at]
        return dpo(ours[0::2], ours[1::2], theirs[0::2], theirs[1::2], 5, beta=0.3, smoothing=0.1).loss

    def of_verdicts(x: Tensor, at: slice) -> Tensor:
        return kto(x[at], references[at], mask[at], 0.2, 10, beta=0.3, undesirable_weight=1.7).loss

    for loss in (of_pairs, of_verdicts):
        found = []
        for parts in ([slice(0, 10)], [slice(0, 2), slice(2, 8), slice(8, 10)]):
            x = log_probs.clone().requires_grad_()
            total = 0.0
            for part in parts:
                value = loss(x, part)
                value.backward()
                total += value.item()
            found.append((total, x.grad))
        assert found[0][0] == pytest.approx(found[1][0])
        torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("loss", [policy_gradient, gspo, tw_grpo, reg_grpo])
def test_gradients_flow_into_the_policy_alone(loss: Callable[..., Terms]) -> None:
    own = start().requires_grad_()
    given = sampled(own)
    others = {
        name: getattr(given, name).clone().requires_grad_()
        for name in ("log_probs_old_N", "log_probs_ref_N", "divergence_N")
    }
    loss(sampled(own, **others), beta=0.1).loss.backward()
    assert own.grad is not None
    assert {name: tensor.grad for name, tensor in others.items()} == dict.fromkeys(others)


def test_gradients_of_preferences_flow_into_the_policy_alone() -> None:
    own, reference = flat(-1.0, -2.0, grad=True), flat(-1.5, -1.0, grad=True)
    dpo(own[:1], own[1:], reference[:1], reference[1:], 1, beta=0.3).loss.backward()
    kto(own, reference, torch.tensor([True, False]), 0.0, 2, beta=0.3).loss.backward()
    assert own.grad is not None
    assert reference.grad is None
