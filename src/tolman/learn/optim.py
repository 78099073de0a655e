"""Optimiser, learning-rate schedule and which weights learn."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tolman.learn.recipe import Optimiser
from tolman.learn.sharding import local, whole


def learning_rate(config: Optimiser, step: int, steps: int) -> float:
    """The rate of a step (0-based) of a run of `steps`: linear warm-up to lr, then the schedule.

    The first of w warm-up steps uses lr / w; `linear` and `cosine` reach lr * floor at the last step.
    """
    if step < config.warmup:
        return config.lr * (step + 1) / config.warmup
    if config.schedule == "constant":
        return config.lr
    progress = (step - config.warmup) / max(1, steps - 1 - config.warmup)
    shape = 1 - progress if config.schedule == "linear" else 0.5 * (1 + math.cos(math.pi * progress))
    return config.lr * (config.floor + (1 - config.floor) * shape)


def make_adamw(parameters: Iterable[nn.Parameter], config: Optimiser) -> torch.optim.Optimizer:
    """AdamW over matrices (decayed) and vectors (not decayed); `StochasticAdamW` where weights are bfloat16.

    Raises ValueError when nothing learns.
    """
    chosen = [parameter for parameter in parameters if parameter.requires_grad]
    if not chosen:
        raise ValueError("no weight is trained; see model.train")
    groups = [
        {"params": [p for p in chosen if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in chosen if p.ndim < 2], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if any(parameter.dtype == torch.bfloat16 for parameter in chosen):
        return StochasticAdamW(groups, lr=config.lr, betas=config.betas, eps=config.eps)
    return torch.optim.AdamW(groups, lr=config.lr, betas=config.betas, eps=config.eps)


SLICE = 2**21
"""Elements of a matrix updated at a time, in whole rows: eight float32 temporaries of a slice are 64 MiB."""


class StochasticAdamW(torch.optim.Optimizer):
    """AdamW (decoupled decay, bias-corrected) that computes in float32, a slice of a matrix at a time, and
    holds weights and moments as they are.

    A bfloat16 weight of 0.02 has neighbours 6e-5 away, so that updates of a learning rate of 1e-6 would round
    to nothing; rounding up or down at random, with probabilities that keep the expectation, lets them add up.
    Weights, gradients and both moments take 8 bytes a parameter, where float32 masters take 16: a 7B policy
    fits one GPU. Draws from torch's global generator of the weights' device, which the training loop seeds
    anew every step.
    """

    def __init__(
        self, params: Any, lr: float, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": 0.0})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update every weight that has a gradient."""
        assert closure is None
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self._update(weight, group)

    def _update(self, whole_weight: Tensor, group: dict[str, Any]) -> None:
        """Of a weight split over processes each updates its own share."""
        assert whole_weight.grad is not None
        state = self.state[whole_weight]
        if not state:
            state["step"], state["mean"], state["square"] = 0, zeros(whole_weight), zeros(whole_weight)
        state["step"] += 1
        parts = [_slices(part) for part in (whole_weight, whole_weight.grad, state["mean"], state["square"])]
        for weight, grad, mean, square in zip(*parts, strict=True):
            _update_slice(weight, grad, mean, square, state["step"], group)


def _slices(tensor: Tensor) -> Sequence[Tensor]:
    """Whole rows of this process's share, at most `SLICE` elements at a time where a row is no longer."""
    own = local(tensor)
    own = own if own.ndim else own[None]
    return torch.split(own, max(1, SLICE // max(1, own.shape[1:].numel())))


def _update_slice(
    weight: Tensor, grad: Tensor, old_mean: Tensor, old_square: Tensor, step: int, group: dict[str, Any]
) -> None:
    """AdamW's formulas over some rows, in place. step: this update's number, from 1."""
    (beta1, beta2), lr = group["betas"], group["lr"]
    grad = grad.float()
    mean = old_mean.float().lerp_(grad, 1 - beta1)
    square = old_square.float().mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
    spread = (square / (1 - beta2**step)).sqrt_().add_(group["eps"])
    updated = weight.float() * (1 - lr * group["weight_decay"])
    updated.addcdiv_(mean, spread, value=-lr / (1 - beta1**step))
    for target, value in ((old_mean, mean), (old_square, square), (weight, updated)):
        target.copy_(round_stochastically(value) if target.dtype == torch.bfloat16 else value)


def zeros(like: Tensor) -> Tensor:
    """A moment at the start, of the weight's own type."""
    return torch.zeros_like(like, memory_format=torch.preserve_format)


def round_stochastically(values: Tensor) -> Tensor:
    """float32 values with only the bits bfloat16 has: one of the two neighbours, the expectation kept.

    bfloat16 is the upper half of float32, so a random number below 2^16 is added and the lower half cut off.
    """
    bits = values.float().view(torch.int32)
    noise = torch.randint_like(bits, 1 << 16)
    return ((bits + noise) & -(1 << 16)).view(torch.float32)


def choose_trained(model: Any, train: str) -> None:
    """Set requires_grad of a Qwen-VL-shaped model's weights.

    `all`; `text`: all but the vision tower; `vision`: the tower with its merger; `text+merger`: the text
    stack and the tower's merger, Qwen3-VL's deepstack mergers too. Raises ValueError when the model has no
    part of that name.
    """
    found = False
    for name, parameter in model.named_parameters():
        visual = ".visual." in f".{name}"
        merger = visual and "merger" in name
        wanted = {"all": True, "text": not visual, "vision": visual, "text+merger": not visual or merger}[
            train
        ]
        parameter.requires_grad_(wanted)
        found |= visual
    if train != "all" and not found:
        raise ValueError(
            f"model.train is {train!r}, but the model has no vision tower (`visual`) to tell apart"
        )


def recompute_activations(model: Any) -> None:
    """Have a transformers model recompute its layers in the backward pass.

    transformers renamed the switch in 5.23 and warns about the old name.
    """
    if hasattr(model, "activation_checkpointing_enable"):
        model.activation_checkpointing_enable()
    else:
        model.gradient_checkpointing_enable()


def clip_gradients(parameters: Iterable[nn.Parameter], max_norm: float) -> float:
    """Scale all gradients to a joint norm of at most `max_norm` (0: leave them); returns the norm before."""
    with_grad = [parameter for parameter in parameters if parameter.grad is not None]
    norm: Tensor = torch.nn.utils.get_total_norm([p.grad for p in with_grad if p.grad is not None])
    norm = whole(norm)
    if max_norm:
        torch.nn.utils.clip_grads_with_norm_(with_grad, max_norm, norm)
    return float(norm)
