"""Low-rank adapters (LoRA, arXiv 2106.09685) on the language model's matrices, by PEFT.

PEFT puts a module of its own where a matrix was, W x + (alpha / rank) B A x, with the matrix inside; A begins
at random numbers and B at zero, so that a model with fresh adapters is the model it was. There is no dropout:
a loss has to score what was sampled with the policy it was sampled from.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .policy import Policy
from .quantised import whole_weights

if TYPE_CHECKING:
    from torch import Tensor

_NAME = "default"
_A, _B, _BASE = f".lora_A.{_NAME}.weight", f".lora_B.{_NAME}.weight", ".base_layer."


def check_peft() -> None:
    """Raise ValueError where PEFT is not installed."""
    if find_spec("peft") is None:
        raise ValueError(
            "model.lora_rank wants adapters, which need PEFT: pip install 'tolman[lora]', or write 0"
        )


def add_adapters(policy: Policy, rank: int, alpha: int, targets: Sequence[str], seed: int) -> None:
    """Put adapters on matrices of the language model's layers; they alone learn from then on.

    targets: names of the matrices (`q_proj`, …). Adapters are float32, whatever the weights are. seed: of the
    random ones. Raises ValueError where PEFT is not installed or the policy has adapters already.
    """
    check_peft()
    import peft
    import torch

    if adapter_weights(policy.model):
        raise ValueError(f"policy {policy.name!r} has adapters already; give one without")
    config = peft.LoraConfig(
        r=rank,
        lora_alpha=alpha,
        target_modules=rf".*\.language_model\.layers\.\d+\.\w+\.({'|'.join(targets)})",
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        peft.inject_adapter_in_model(config, policy.model, _NAME)
    config.base_model_name_or_path = policy.name
    for name, weight in policy.model.named_parameters():
        is_adapter = name.endswith((_A, _B))
        weight.requires_grad_(is_adapter)
        if is_adapter:
            weight.data = weight.data.float()


def adapter_weights(model: Any) -> dict[str, Tensor]:
    """The adapters' weights themselves, by name; none where a model has no adapters."""
    return {name: weight.detach() for name, weight in model.named_parameters() if name.endswith((_A, _B))}


@contextmanager
def without_adapters(model: Any) -> Iterator[None]:
    """The model as it was before it had any, until the block ends; nothing is copied."""
    layers = [
        (parent, name, child)
        for parent in model.modules()
        for name, child in parent.named_children()
        if hasattr(child, "lora_A")
    ]
    for parent, name, child in layers:
        setattr(parent, name, child.base_layer)
    try:
        yield
    finally:
        for parent, name, child in layers:
            setattr(parent, name, child)


def merged_weights(model: Any, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a model without adapters that computes the same: W + (alpha / rank) B A.

    state: of the model with its adapters; without any, and with whole weights (`quantised`), it comes back as
    it is. Sums are taken in float32 and rounded to W's type; matrices that change are in main memory.
    """
    merged = {}
    for name, weight in whole_weights(model, state):
        if name.endswith((_A, _B)):
            continue
        layer, inside, rest = name.partition(_BASE)
        if inside and rest == "weight":
            config = model.peft_config[_NAME]
            change = state[layer + _B].float() @ state[layer + _A].float()
            weight = weight.float().add(change, alpha=config.lora_alpha / config.r).to(weight.dtype)
        merged[f"{layer}.{rest}" if inside else name] = weight if weight is state[name] else weight.cpu()
    return merged


def save_adapters(model: Any, folder: Path) -> None:
    """Write the adapters into a new folder in PEFT's format, for `PeftModel.from_pretrained`."""
    import peft
    from safetensors.torch import save_file

    state = {name: weight.cpu().contiguous() for name, weight in adapter_weights(model).items()}
    named = peft.get_peft_model_state_dict(model, state, _NAME, save_embedding_layers=False)
    folder.mkdir()
    tensors = {f"base_model.model.{name}": weight for name, weight in named.items()}
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    model.peft_config[_NAME].save_pretrained(folder)
