"""Optimiser, learning-rate schedule and which weights learn."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from tolman.learn.recipe import Optimiser


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


def make_adamw(parameters: Iterable[nn.Parameter], config: Optimiser) -> torch.optim.AdamW:
    """AdamW over matrices (decayed) and vectors (not decayed). Raises ValueError when nothing learns."""
    chosen = [parameter for parameter in parameters if parameter.requires_grad]
    if not chosen:
        raise ValueError("no weight is trained; see model.train")
    groups = [
        {"params": [p for p in chosen if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in chosen if p.ndim < 2], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    return torch.optim.AdamW(groups, lr=config.lr, betas=config.betas, eps=config.eps)


def choose_trained(model: Any, train: str) -> None:
    """Set requires_grad of a Qwen-VL-shaped model's weights.

    `all`; `text`: all but the vision tower; `vision`: the tower with its merger; `text+merger`: all but the
    tower's blocks. Raises ValueError when the model has no part of that name.
    """
    found = False
    for name, parameter in model.named_parameters():
        visual = ".visual." in f".{name}"
        merger = visual and ".merger" in name
        wanted = {"all": True, "text": not visual, "vision": visual, "text+merger": not visual or merger}[
            train
        ]
        parameter.requires_grad_(wanted)
        found |= visual
    if train != "all" and not found:
        raise ValueError(
            f"model.train is {train!r}, but the model has no vision tower (`visual`) to tell apart"
        )


def clip_gradients(parameters: Iterable[nn.Parameter], max_norm: float) -> float:
    """Scale all gradients to a joint norm of at most `max_norm` (0: leave them); returns the norm before."""
    with_grad = [parameter for parameter in parameters if parameter.grad is not None]
    norm: Tensor = torch.nn.utils.get_total_norm([p.grad for p in with_grad if p.grad is not None])
    if max_norm:
        torch.nn.utils.clip_grads_with_norm_(with_grad, max_norm, norm)
    return float(norm)
