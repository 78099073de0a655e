"""A policy split over the processes of a run: FSDP2 (`torch.distributed.fsdp.fully_shard`).

Every process holds its share of each weight, gradient and moment. A decoder layer is whole while it computes;
embeddings, head and a vision tower that learns are whole while one part of the batch computes; all weights
are whole while a step samples, scores or reads, where processes do unequal work. A frozen vision tower is
held whole by everyone: what it makes of clips is stored under a digest of its weights.

A process with fewer parts than another joins in its exchanges with passes that train nothing. Each pass
exchanges the same things in the same order, whether it has a clip or none: gradients flow into the embeddings
also where those are frozen, and every weight outside the layers has a gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from tolman.learn.objective import LossOutput
from tolman.learn.processes import current, exchanging
from tolman.policy.forward import hidden_states
from tolman.policy.policy import Policy
from tolman.policy.tree import TokenTree, pack


class _Root(nn.Module):
    """The model inside one module more: what FSDP2 splits gets another class, and transformers saves a model
    under names that depend on its class."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, work: Callable[[], LossOutput]) -> LossOutput:
        return work()


class Shards:
    """A policy's model, split in place. size: processes it is split over.

    Gradients add up over the processes, in float32, as backward passes end.
    """

    def __init__(self, policy: Policy, size: int) -> None:
        self.policy, model = policy, policy.model
        tower = list(model.model.visual.parameters())
        frozen = set() if any(weight.requires_grad for weight in tower) else set(tower)
        model.enable_input_require_grads()
        options: dict[str, Any] = {
            "mesh": init_device_mesh(policy.device.type, (size,)),
            "mp_policy": MixedPrecisionPolicy(reduce_dtype=torch.float32, cast_forward_inputs=False),
        }
        self.layers: list[Any] = list(model.model.language_model.layers)
        for layer in self.layers:
            fully_shard(layer, reshard_after_forward=True, **options)
        self.root: Any = fully_shard(
            _Root(model), reshard_after_forward=False, ignored_params=frozen, **options
        )
        self.modules = (self.root, *self.layers)
        for module, earlier in zip(self.modules, (self.layers[-1], *self.modules[:-1]), strict=True):
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)
            module.set_modules_to_backward_prefetch([earlier])
        inner = {id(weight) for layer in self.layers for weight in layer.parameters()}
        self.outer = [
            name
            for name, weight in model.named_parameters()
            if weight.requires_grad and id(weight) not in inner
        ]
        with torch.no_grad():
            self.run(self.nothing)  # the root, not a layer, must be what runs first
        self._reshard()

    def run(self, work: Callable[[], LossOutput]) -> LossOutput:
        """A forward pass of one part, which the backward pass may follow; all processes must take part."""

        def with_all_weights() -> LossOutput:
            output = work()
            weights = dict(self.policy.model.named_parameters())
            touched = sum(weights[name].flatten()[0].float() for name in self.outer)
            return output._replace(loss=output.loss + 0.0 * touched)

        with exchanging():
            output: LossOutput = self.root(with_all_weights)
        return output

    def nothing(self) -> LossOutput:
        """The work of a process that has no part left: a pass that counts for nothing."""
        policy, tree = self.policy, TokenTree()
        tree.add([policy.pad_id, policy.pad_id])
        packed = pack([tree], policy.pad_id, policy.video_tokens).to(policy.device)
        return LossOutput(0.0 * hidden_states(policy.model, packed).float().sum(), {}, 0)

    @contextmanager
    def whole(self) -> Iterator[None]:
        """All weights whole until the block ends: processes may do unequal work in it, but none backwards."""
        for module in self.modules:
            module.set_reshard_after_forward(False, recurse=False)
            with exchanging():
                module.unshard()
        yield
        self._reshard()

    def _reshard(self) -> None:
        for module in self.modules:
            module.reshard()
        for layer in self.layers:
            layer.set_reshard_after_forward(True, recurse=False)


def is_split(module: nn.Module) -> bool:
    """Whether some of its weights are split over processes."""
    return any(isinstance(weight, DTensor) for weight in module.parameters())


def whole(tensor: Tensor) -> Tensor:
    """The whole of a split tensor, which all processes must ask for; others as they are."""
    if not isinstance(tensor, DTensor):
        return tensor
    with exchanging():
        full: Tensor = tensor.full_tensor()
    return full


def gathered(tensor: Tensor) -> Tensor:
    """The whole of a split tensor in the first process's main memory, nothing elsewhere; others as they are.

    All processes must call it.
    """
    if not isinstance(tensor, DTensor):
        return tensor
    full = whole(tensor)
    return full.to("cpu") if current().first else full.new_empty(0)


def split_like(tensor: Tensor, like: Tensor) -> Tensor:
    """A whole tensor split as `like` of the same shape is, without exchange; as it is where that is not
    split."""
    if not isinstance(like, DTensor) or tensor.shape != like.shape:
        return tensor
    return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements, src_data_rank=None)


def local(tensor: Tensor) -> Tensor:
    """This process's share of a split tensor, the same storage; others as they are."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def whole_state(module: nn.Module) -> dict[str, Tensor]:
    """`module.state_dict()` with split tensors `gathered`; tied weights stay one."""
    found: dict[int, Tensor] = {}
    state = module.state_dict(keep_vars=True)
    for value in state.values():
        if id(value) not in found:
            found[id(value)] = gathered(value.detach())
    return {name: found[id(value)] for name, value in state.items()}


def load_whole(module: nn.Module, state: dict[str, Tensor]) -> None:
    """Fill a split module from whole tensors; of tied weights one may be missing, as safetensors leaves it
    out.

    Raises RuntimeError where names or shapes do not fit.
    """
    own = module.state_dict(keep_vars=True)
    given = {id(own[name]): value for name, value in state.items() if name in own}
    unknown = sorted(set(state) - set(own))
    missing = sorted(name for name, value in own.items() if id(value) not in given)
    if unknown or missing:
        raise RuntimeError(f"unexpected weights {unknown[:3]}, missing {missing[:3]}")
    with torch.no_grad():
        for name, value in own.items():
            if value.shape != given[id(value)].shape:
                raise RuntimeError(
                    f"{name} has shape {tuple(given[id(value)].shape)}, not {tuple(value.shape)}"
                )
            local(value).copy_(local(split_like(given[id(value)], value)))
