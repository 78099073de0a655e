"""Losses against TRL's: its GRPO trainer's loss on the same log-probabilities, value and gradient."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from tolman.learn.loss import BatchCount, Terms, Tokens, divisors, policy_gradient
from tolman.learn.loss.policy_gradient import gspo

LENGTHS, BUDGET, BETA, CLIP = [2, 5, 1, 4], 7, 0.1, (0.1, 0.28)


def trl_loss(given: dict[str, Tensor], rule: str, level: str) -> tuple[Tensor, Tensor]:
    """Its loss on (B, T) log-probabilities and its gradient; everything around the loss stands still."""
    trainer = pytest.importorskip("trl").GRPOTrainer
    log_probs = given["now"].clone().requires_grad_()
    mask = given["mask"]
    identity = SimpleNamespace(
        gather=lambda value: value, reduce=lambda value, reduction: value, num_processes=1
    )
    stub = SimpleNamespace(
        aux_loss_enabled=False, top_entropy_quantile=1.0, off_policy_mask_threshold=None, beta=BETA,
        importance_sampling_level=level, loss_type=rule, epsilon_low=CLIP[0], epsilon_high=CLIP[1],
        use_vllm=False, max_completion_length=BUDGET, _entropy_bonus_enabled=False, accelerator=identity,
        args=SimpleNamespace(use_bias_correction_kl=False, delta=None), model=SimpleNamespace(training=False),
        _metrics=defaultdict(lambda: defaultdict(list)),
        _get_per_token_logps_and_entropies=lambda *_, **__: (log_probs, torch.zeros_like(log_probs), None),
    )  # fmt: skip
    inputs = {
        "prompt_ids": mask[:, :0].long(), "prompt_mask": mask[:, :0].long(), "completion_ids": mask.long(),
        "completion_mask": mask.long(), "advantages": given["advantages"],
        "old_per_token_logps": given["old"], "ref_per_token_logps": given["reference"],
    }  # fmt: skip
    loss = trainer._compute_loss(stub, None, inputs)
    loss.backward()
    assert log_probs.grad is not None
    return loss.detach(), log_probs.grad[mask]


@pytest.mark.parametrize(
    ("ours", "normalise", "rule", "level"),
    [
        (policy_gradient, "sequences", "grpo", "token"),
        (policy_gradient, "tokens", "bnpo", "token"),
        (policy_gradient, "constant", "dr_grpo", "token"),
        (gspo, "sequences", "grpo", "sequence"),
    ],
)
def test_loss_and_gradient_equal_trls(
    ours: Callable[..., Terms], normalise: str, rule: str, level: str
) -> None:
    generator = torch.Generator().manual_seed(0)
    old, reference, step = torch.randn(3, len(LENGTHS), max(LENGTHS), generator=generator).double().unbind()
    given: dict[str, Any] = {
        "now": old + 0.3 * step,
        "old": old,
        "reference": reference,
        "mask": torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS)[:, None],
        "advantages": torch.tensor([1.5, -1.0, 0.5, -1.0], dtype=torch.float64),
    }
    loss, gradient = trl_loss(given, rule, level)
    mask = given["mask"]
    log_probs = given["now"][mask].requires_grad_()
    terms = ours(
        Tokens(
            log_probs, old[mask], given["advantages"][:, None].expand_as(old)[mask],
            divisors(LENGTHS, normalise, BatchCount(4, sum(LENGTHS), BUDGET)).double(),
            LENGTHS, [0, 0, 1, 1], reference[mask],
        ),
        beta=BETA, clip=CLIP,
    )  # fmt: skip
    terms.loss.backward()
    assert terms.clipped > 0
    torch.testing.assert_close(terms.loss.detach(), loss, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(log_probs.grad, gradient, rtol=1e-9, atol=1e-12)
