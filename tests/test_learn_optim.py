"""Schedules, which weights learn, clipping, and rounding that lets small updates add up."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from learn_world import tiny_policy
from tolman.learn import optim
from tolman.learn.optim import (
    StochasticAdamW,
    choose_trained,
    clip_gradients,
    learning_rate,
    make_adamw,
    round_stochastically,
)
from tolman.learn.sections import Optimiser


def rates(steps: int, **config: float | str) -> list[float]:
    return [learning_rate(Optimiser(lr=1.0, **config), step, steps) for step in range(steps)]  # type: ignore[arg-type]


def test_schedules_by_hand() -> None:
    assert rates(3) == [1, 1, 1]
    # warm-up 1/2, 2/2; then 3 steps from 1 to 0.1 in a line
    assert rates(5, warmup=2, schedule="linear", floor=0.1) == pytest.approx([0.5, 1, 1, 0.55, 0.1])
    # cosine over 3 steps: (1 + cos 0)/2, (1 + cos(pi/2))/2, (1 + cos pi)/2
    assert rates(3, schedule="cosine") == pytest.approx([1, 0.5, 0])
    assert rates(2, warmup=2, schedule="cosine") == [0.5, 1.0]


def test_vectors_are_not_decayed() -> None:
    layer = nn.Linear(2, 2)
    groups = make_adamw(layer.parameters(), Optimiser(lr=1.0, weight_decay=0.3)).param_groups
    assert [(group["weight_decay"], [p.ndim for p in group["params"]]) for group in groups] == [
        (0.3, [2]),
        (0.0, [1]),
    ]
    with pytest.raises(ValueError, match=r"see model.train"):
        make_adamw([nn.Parameter(torch.zeros(1), requires_grad=False)], Optimiser(lr=1.0))


def test_clipping_by_hand() -> None:
    # gradients 3 and 4: norm 5, scaled to 1
    a, b = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))
    a.grad, b.grad = torch.tensor([3.0]), torch.tensor([4.0])
    assert clip_gradients([a, b], 0.0) == pytest.approx(5.0)
    assert clip_gradients([a, b], 1.0) == pytest.approx(5.0)
    assert (a.grad.item(), b.grad.item()) == pytest.approx((0.6, 0.8), abs=1e-5)
    assert clip_gradients([], 1.0) == 0.0


@pytest.mark.parametrize(
    ("train", "tower", "merger", "text"),
    [("all", 1, 1, 1), ("text", 0, 0, 1), ("vision", 1, 1, 0), ("text+merger", 0, 1, 1)],
)
def test_which_weights_learn(train: str, tower: bool, merger: bool, text: bool) -> None:
    model = tiny_policy().model
    choose_trained(model, train)
    seen = {"tower": set(), "merger": set(), "text": set()}
    for name, parameter in model.named_parameters():
        part = "text" if "visual" not in name else "merger" if "merger" in name else "tower"
        seen[part].add(parameter.requires_grad)
    assert seen == {"tower": {bool(tower)}, "merger": {bool(merger)}, "text": {bool(text)}}
    with pytest.raises(ValueError, match="no vision tower"):
        choose_trained(nn.Linear(1, 1), "text")


def test_stochastic_rounding_keeps_the_expectation() -> None:
    # bfloat16 between 1 and 2 has steps of 2^-7 = 0.0078125; 1 + 0.002 goes up with probability 0.256
    torch.manual_seed(0)
    rounded = round_stochastically(torch.full((40_000,), 1.002))
    assert set(rounded.tolist()) == {1.0, 1.0078125}
    assert (rounded > 1).float().mean().item() == pytest.approx(0.256, abs=0.01)
    exact = torch.tensor([0.0, 1.0, -1.0078125, math.inf, -math.inf])
    assert round_stochastically(exact).tolist() == exact.tolist()
    assert round_stochastically(torch.full((1000,), -1.002)).max().item() == -1.0


def test_float32_weights_move_as_with_torch() -> None:
    start = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    ours, theirs = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    config = {"lr": 0.1, "betas": (0.8, 0.95), "eps": 1e-6}
    optimisers = [StochasticAdamW([{"params": [ours], "weight_decay": 0.2}], **config)]
    optimisers.append(torch.optim.AdamW([theirs], weight_decay=0.2, **config))
    for step in range(5):
        for weight, optimiser in zip((ours, theirs), optimisers, strict=True):
            weight.grad = torch.sin(weight.detach() + step)
            optimiser.step()
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_small_updates_of_bfloat16_add_up() -> None:
    # constant gradient: each AdamW step is -lr; 200 steps of 1e-4 from 1.0 end at 0.98 on average,
    # while round-to-nearest stays at 1.0 (the next value below is 2^-8 = 0.0039 away)
    torch.manual_seed(0)
    weight = nn.Parameter(torch.ones(2000, dtype=torch.bfloat16))
    optimiser = make_adamw([weight], Optimiser(lr=1e-4))
    assert isinstance(optimiser, StochasticAdamW)
    for _ in range(200):
        weight.grad = torch.ones_like(weight)
        optimiser.step()
    assert weight.dtype == torch.bfloat16
    assert weight.float().mean().item() == pytest.approx(0.98, abs=1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_slices_give_the_bits_of_the_whole(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of 7 in slices of 2, a vector in slices of 20; to the nearest instead of at random, which would
    draw in another order."""
    monkeypatch.setattr(optim, "round_stochastically", lambda values: values.bfloat16().float())
    numbers = torch.Generator().manual_seed(0)
    starts = [torch.randn(shape, generator=numbers).to(dtype) for shape in ((9, 7), (45,), (3, 30), ())]
    weights: list[list[nn.Parameter]] = []
    for size in (2**21, 20):
        monkeypatch.setattr(optim, "SLICE", size)
        weights.append([nn.Parameter(start.clone()) for start in starts])
        optimiser = StochasticAdamW([{"params": weights[-1], "weight_decay": 0.2}], lr=0.1)
        for step in range(4):
            for weight in weights[-1]:
                weight.grad = torch.sin(3 * weight.detach() + step)
            optimiser.step()
    for whole, sliced, start in zip(*weights, starts, strict=True):
        assert torch.equal(whole, sliced)
        assert not torch.equal(whole, start)


def test_no_slice_is_larger_than_it_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of (9, 7) in whole rows two at a time, of a row of 30 one: it cannot be cut."""
    seen: list[tuple[int, ...]] = []
    real = optim._update_slice

    def update(weight: torch.Tensor, *rest: Any) -> None:
        seen.append(tuple(weight.shape))
        real(weight, *rest)

    monkeypatch.setattr(optim, "_update_slice", update)
    monkeypatch.setattr(optim, "SLICE", 20)
    weights = [nn.Parameter(torch.ones(shape, dtype=torch.bfloat16)) for shape in ((9, 7), (2, 30))]
    for weight in weights:
        weight.grad = torch.ones_like(weight)
    make_adamw(weights, Optimiser(lr=1e-2)).step()
    assert seen == [(2, 7)] * 4 + [(1, 7)] + [(1, 30)] * 2
