"""Adapters against PEFT's own arithmetic, and what is written against transformers and PEFT."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file
from torch import Tensor

from policy_tiny import noise_clip, question, tiny_policy, tiny_qwen3_policy
from tolman.policy import adapters
from tolman.policy.adapters import adapter_weights, add_adapters, merged_weights, without_adapters
from tolman.policy.family import FAMILIES
from tolman.policy.generate import generate
from tolman.policy.load import load_policy, save_policy
from tolman.policy.logprobs import tree_log_probs
from tolman.policy.policy import Policy
from tolman.policy.prompt import build_prompt
from tolman.policy.tree import TokenTree, pack

peft = pytest.importorskip("peft")
TARGETS = ("q_proj", "o_proj", "down_proj")
MAKE: dict[str, Callable[[], Policy]] = {"qwen2_5_vl": tiny_policy, "qwen3_vl": tiny_qwen3_policy}
IDS = torch.arange(5, 25)[None]


def adapted(kind: str = "qwen2_5_vl") -> Policy:
    """Rank 4, alpha 6; B is no longer zero."""
    policy = MAKE[kind]()
    add_adapters(policy, 4, 6, TARGETS, seed=0)
    numbers = torch.Generator().manual_seed(2)
    for weight in adapter_weights(policy.model).values():
        weight.copy_(0.1 * torch.randn(weight.shape, generator=numbers))
    return policy


@torch.no_grad()
def logits(model: Any) -> Tensor:
    found: Tensor = model(input_ids=IDS).logits
    return found


@pytest.mark.parametrize("kind", MAKE)
def test_fresh_adapters_change_nothing_and_alone_learn(kind: str) -> None:
    policy = MAKE[kind]()
    before = logits(policy.model)
    add_adapters(policy, 4, 6, TARGETS, seed=0)
    assert torch.equal(logits(policy.model), before)
    learning = {name for name, weight in policy.model.named_parameters() if weight.requires_grad}
    assert learning == set(adapter_weights(policy.model))
    layers = policy.model.config.text_config.num_hidden_layers
    assert len(learning) == 2 * len(TARGETS) * layers
    assert all(".language_model.layers." in name for name in learning)
    again = MAKE[kind]()
    add_adapters(again, 4, 6, TARGETS, seed=0)
    for name, weight in adapter_weights(again.model).items():
        assert torch.equal(weight, adapter_weights(policy.model)[name])
    with pytest.raises(ValueError, match="has adapters already"):
        add_adapters(policy, 4, 6, TARGETS, seed=0)


@pytest.mark.parametrize("kind", MAKE)
def test_without_adapters_is_the_base(kind: str) -> None:
    policy, base = adapted(kind), MAKE[kind]()
    names = [name for name, _ in policy.model.named_modules()]
    with without_adapters(policy.model):
        assert torch.equal(logits(policy.model), logits(base.model))
        assert list(policy.model.state_dict()) == list(base.model.state_dict())
    with pytest.raises(AttributeError), without_adapters(policy.model):
        policy.model.get_parameter("no such weight")
    assert [name for name, _ in policy.model.named_modules()] == names
    ours = logits(policy.model)
    assert (ours - logits(base.model)).abs().max() > 0.1
    for module in policy.model.modules():
        if isinstance(module, peft.tuners.tuners_utils.BaseTunerLayer):
            module.enable_adapters(False)
    assert torch.equal(logits(policy.model), logits(base.model))


def test_merging_is_what_peft_does() -> None:
    policy = adapted()
    ours = merged_weights(policy.model, policy.model.state_dict())
    tuned = copy.deepcopy(policy.model)
    for module in tuned.modules():
        if isinstance(module, peft.tuners.lora.LoraLayer):
            module.merge()
    with without_adapters(tuned):
        theirs = tuned.state_dict()
    assert list(ours) == list(theirs)
    changed = 0
    for name, weight in MAKE["qwen2_5_vl"]().model.state_dict().items():
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-5, atol=1e-6)
        changed += not torch.equal(ours[name], weight)
    assert changed == 2 * len(TARGETS)
    plain = tiny_policy().model
    state = plain.state_dict()
    assert merged_weights(plain, state) == state


@pytest.mark.parametrize("kind", MAKE)
def test_what_is_written_loads_in_transformers_and_peft(kind: str, tmp_path: Path) -> None:
    policy = adapted(kind)
    save_policy(policy, tmp_path / "final")
    expected = logits(policy.model)
    model_class = getattr(transformers, FAMILIES[kind].model_class)
    merged = model_class.from_pretrained(tmp_path / "final", local_files_only=True).eval()
    torch.testing.assert_close(logits(merged), expected, rtol=1e-4, atol=1e-4)
    assert not adapter_weights(merged)
    loaded = load_policy(tmp_path / "final")
    assert torch.equal(logits(loaded.model), logits(merged))
    base = MAKE[kind]()
    added = peft.PeftModel.from_pretrained(base.model, tmp_path / "final" / "adapter").eval()
    torch.testing.assert_close(logits(added), expected, rtol=1e-6, atol=1e-6)
    config = json.loads((tmp_path / "final" / "adapter" / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"], config["base_model_name_or_path"]) == (4, 6, policy.name)
    stored = load_file(tmp_path / "final" / "adapter" / "adapter_model.safetensors")
    assert len(stored) == len(adapter_weights(policy.model))


def test_samples_come_from_the_adapted_policy() -> None:
    """Decoding, the tree's forward pass and plain base weights: the first two agree, the third differs."""
    policy, base = adapted(), tiny_policy()
    prompt = build_prompt(policy, question(), noise_clip(policy, 0), "map")
    [samples] = generate(
        policy, [prompt], 3, max_new_tokens=8, generator=torch.Generator().manual_seed(1), stop_ids=()
    )
    tree = TokenTree()
    _, asked = prompt.add_to(tree)
    nodes = [(0, tree.add(sample.token_ids, asked)) for sample in samples]
    packed = pack([tree], policy.pad_id, policy.video_tokens)
    sampled = torch.cat([sample.log_probs for sample in samples])
    with torch.no_grad():
        scored = torch.cat(tree_log_probs(policy.model, packed, nodes))
        without = torch.cat(tree_log_probs(base.model, packed, nodes))
    torch.testing.assert_close(sampled, scored, rtol=1e-4, atol=1e-4)
    assert (sampled - without).abs().max() > 0.1


def test_adapters_of_bfloat16_weights_are_float32(tmp_path: Path) -> None:
    policy = tiny_policy()
    policy.model.bfloat16()
    add_adapters(policy, 4, 6, TARGETS, seed=0)
    assert {weight.dtype for weight in adapter_weights(policy.model).values()} == {torch.float32}
    save_policy(policy, tmp_path / "final")
    assert next(load_policy(tmp_path / "final", dtype="bfloat16").model.parameters()).dtype == torch.bfloat16
    stored = load_file(tmp_path / "final" / "model.safetensors")
    assert {weight.dtype for weight in stored.values()} == {torch.bfloat16}


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapters, "find_spec", lambda name: None if name == "peft" else find_spec(name))
    with pytest.raises(ValueError, match=r"need PEFT: pip install 'tolman\[lora\]'"):
        add_adapters(tiny_policy(), 4, 6, TARGETS, seed=0)
