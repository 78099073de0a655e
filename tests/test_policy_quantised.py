"""Weights in four bits against the same weights unpacked, against transformers' own loading, and in bytes."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file
from torch import Tensor

from policy_tiny import gradients, noise_clip, question, tiny_policy, tiny_qwen3_policy
from tolman.learn.checkpoint import bit_sums
from tolman.learn.plan.sizes import ModelSize
from tolman.policy import quantised
from tolman.policy.adapters import adapter_weights, add_adapters, merged_weights, without_adapters
from tolman.policy.family import FAMILIES
from tolman.policy.generate import generate
from tolman.policy.load import load_policy, save_policy
from tolman.policy.logprobs import tree_log_probs
from tolman.policy.policy import Policy
from tolman.policy.prompt import build_prompt
from tolman.policy.quantised import quantise, scales, whole_bytes
from tolman.policy.tree import Packed, TokenTree, pack

pytest.importorskip("bitsandbytes")
peft = pytest.importorskip("peft")
TARGETS = ("q_proj", "o_proj", "down_proj")
MAKE: dict[str, Callable[[], Policy]] = {
    "qwen2_5_vl": partial(tiny_policy, intermediate=128),
    "qwen3_vl": partial(tiny_qwen3_policy, intermediate=128),
}
IDS = torch.arange(5, 25)[None]


def adapt(policy: Policy) -> Policy:
    """Rank 4, alpha 6, on three of the seven matrices; B is not zero."""
    add_adapters(policy, 4, 6, TARGETS, seed=0)
    numbers = torch.Generator().manual_seed(2)
    for weight in adapter_weights(policy.model).values():
        weight.copy_(0.1 * torch.randn(weight.shape, generator=numbers))
    return policy


def packed(kind: str = "qwen2_5_vl", dtype: torch.dtype = torch.float32) -> Policy:
    policy = MAKE[kind]()
    policy.model.to(dtype)
    quantise(policy)
    return policy


def unpacked(kind: str = "qwen2_5_vl", dtype: torch.dtype = torch.float32) -> Policy:
    """A plain policy with the weights that the packed one multiplies by."""
    policy, source = MAKE[kind](), packed(kind, dtype).model
    policy.model.to(dtype).load_state_dict(merged_weights(source, source.state_dict()))
    return policy


@torch.no_grad()
def logits(model: Any) -> Tensor:
    found: Tensor = model(input_ids=IDS).logits
    return found


def asked(policy: Policy) -> tuple[Packed, list[tuple[int, int]]]:
    """A tree with a clip, a question and two completions."""
    tree = TokenTree()
    _, node = build_prompt(policy, question(), noise_clip(policy, 0), "map").add_to(tree)
    nodes = [(0, tree.add(ids, node)) for ids in ((7, 8, 9, 10), (11, 12))]
    return pack([tree], policy.pad_id, policy.video_tokens), nodes


@pytest.mark.parametrize("kind", MAKE)
def test_the_layers_matrices_are_packed_and_nothing_else(kind: str) -> None:
    """A packed weight is off by half the widest gap between levels, 0.152 of its block's largest, and by what
    eight bits do to scales."""
    base = MAKE[kind]().model.state_dict()
    policy = unpacked(kind)
    for name, weight in policy.model.state_dict().items():
        if ".language_model.layers." not in name or not name.endswith("_proj.weight"):
            assert torch.equal(weight, base[name]), name
            continue
        blocks, now = (values.flatten().split(64) for values in (base[name], weight))
        for before, after in zip(blocks, now, strict=True):
            assert len(after.unique()) <= 16
            assert (after - before).abs().max() <= 0.16 * before.abs().max()
        assert not torch.equal(weight, base[name])


@pytest.mark.parametrize("kind", MAKE)
def test_log_probabilities_and_gradients_are_those_of_the_unpacked_weights(kind: str) -> None:
    ours, plain = adapt(packed(kind)), adapt(unpacked(kind))
    found, expected = (tree_log_probs(policy.model, *asked(policy)) for policy in (ours, plain))
    torch.testing.assert_close(torch.cat(found), torch.cat(expected), rtol=1e-5, atol=1e-5)
    slopes, wanted = gradients(ours, found), gradients(plain, expected)
    assert slopes.keys() == wanted.keys() == adapter_weights(ours.model).keys()
    for name, slope in slopes.items():
        assert slope.abs().max() > 0
        torch.testing.assert_close(
            slope, wanted[name], rtol=1e-5, atol=1e-5 * float(wanted[name].abs().max())
        )
    with torch.no_grad():  # one set of products for samples and for the loss
        assert torch.equal(torch.cat(tree_log_probs(ours.model, *asked(ours))), torch.cat(found))
    whole = torch.cat(tree_log_probs(adapt(MAKE[kind]()).model, *asked(ours)))
    assert (whole - torch.cat(found)).abs().max() > 0.01


@pytest.mark.parametrize("kind", MAKE)
def test_samples_come_from_the_packed_policy(kind: str) -> None:
    policy = adapt(packed(kind))
    before = bit_sums(policy.model.parameters())
    prompt = build_prompt(policy, question(), noise_clip(policy, 0), "map")
    [samples] = generate(
        policy, [prompt], 3, max_new_tokens=8, generator=torch.Generator().manual_seed(1), stop_ids=()
    )
    tree = TokenTree()
    _, node = prompt.add_to(tree)
    nodes = [(0, tree.add(sample.token_ids, node)) for sample in samples]
    together = pack([tree], policy.pad_id, policy.video_tokens)
    sampled = torch.cat([sample.log_probs for sample in samples])
    scored = torch.cat(tree_log_probs(policy.model, together, nodes)).detach()
    torch.testing.assert_close(sampled, scored, rtol=1e-4, atol=1e-4)
    with without_adapters(policy.model), torch.no_grad():
        base = torch.cat(tree_log_probs(policy.model, together, nodes))
        plain = torch.cat(tree_log_probs(unpacked(kind).model, together, nodes))
    torch.testing.assert_close(base, plain, rtol=1e-5, atol=1e-5)
    assert (sampled - base).abs().max() > 0.01
    assert bit_sums(policy.model.parameters()) == before


@pytest.mark.parametrize("kind", MAKE)
def test_what_is_written_is_the_policy(kind: str, tmp_path: Path) -> None:
    """The folder in plain transformers, and its adapters in PEFT over the packed base."""
    policy = adapt(packed(kind))
    save_policy(policy, tmp_path / "final")
    expected = logits(policy.model)
    model_class = getattr(transformers, FAMILIES[kind].model_class)
    merged = model_class.from_pretrained(tmp_path / "final", local_files_only=True).eval()
    torch.testing.assert_close(logits(merged), expected, rtol=1e-4, atol=1e-4)
    assert torch.equal(logits(load_policy(tmp_path / "final").model), logits(merged))
    names = merged.state_dict().keys()
    assert names == MAKE[kind]().model.state_dict().keys()
    added = peft.PeftModel.from_pretrained(packed(kind).model, tmp_path / "final" / "adapter").eval()
    torch.testing.assert_close(logits(added), expected, rtol=1e-6, atol=1e-6)


def test_the_base_is_what_transformers_packs(tmp_path: Path) -> None:
    """The same bits from `BitsAndBytesConfig`, so that the adapters can be used over such a model."""
    save_policy(MAKE["qwen2_5_vl"](), tmp_path / "base")
    config: Any = transformers.BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.float32,
        llm_int8_skip_modules=["model.visual", "lm_head"],
    )
    model_class: Any = transformers.Qwen2_5_VLForConditionalGeneration
    theirs = model_class.from_pretrained(
        tmp_path / "base", quantization_config=config, dtype=torch.float32, device_map="cpu"
    )
    ours = packed().model
    assert dict(theirs.named_parameters()).keys() == dict(ours.named_parameters()).keys()
    assert bit_sums(theirs.parameters()) == bit_sums(ours.parameters())
    assert bit_sums(scales(theirs)) == bit_sums(scales(ours))


def test_merging_rounds_once() -> None:
    """In bfloat16: what products took, plus B A in float32, rounded to bfloat16."""
    policy = adapt(packed(dtype=torch.bfloat16))
    merged = merged_weights(policy.model, policy.model.state_dict())
    plain = unpacked(dtype=torch.bfloat16).model.state_dict()
    own = adapter_weights(policy.model)
    assert merged.keys() == plain.keys()
    for name, weight in plain.items():
        change = [own.get(f"{name.removesuffix('.weight')}.lora_{side}.default.weight") for side in "BA"]
        if change[0] is not None and change[1] is not None:
            weight = (weight.double() + 1.5 * (change[0] @ change[1]).double()).float()
            torch.testing.assert_close(merged[name].float(), weight, rtol=2**-8, atol=1e-6)
        else:
            assert torch.equal(merged[name], weight)
        assert merged[name].dtype == torch.bfloat16


def test_without_adapters_the_unpacked_weights_are_written(tmp_path: Path) -> None:
    policy = packed()
    save_policy(policy, tmp_path / "saved")
    stored = load_file(tmp_path / "saved" / "model.safetensors")
    plain = unpacked().model.state_dict()
    assert len(stored) == len(plain) - 1  # the output layer is the embedding
    assert all(torch.equal(weight, stored.get(name, weight)) for name, weight in plain.items())
    assert not (tmp_path / "saved" / "adapter").exists()
    torch.testing.assert_close(logits(copy.deepcopy(policy.model)), logits(policy.model), rtol=0, atol=0)


def test_scales_are_part_of_a_policys_identity() -> None:
    """Twice the weights are the same four bits at other scales."""
    double = MAKE["qwen2_5_vl"]()
    with torch.no_grad():
        for name, weight in double.model.named_parameters():
            if name.endswith("_proj.weight") and ".language_model." in name:
                weight.mul_(2)
    quantise(double)
    ours = packed().model
    assert bit_sums(ours.parameters()) == bit_sums(double.model.parameters())
    assert bit_sums(scales(ours)) != bit_sums(scales(double.model))
    assert scales(MAKE["qwen2_5_vl"]().model) == []


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", MAKE)
def test_bytes_are_as_planned(kind: str, dtype: torch.dtype) -> None:
    whole, policy = MAKE[kind](), packed(kind, dtype)
    whole.model.to(dtype)
    size = ModelSize.from_config(policy.model.config.to_dict(), policy.frames, policy.frame_size)
    matrices = [weight for weight in policy.model.parameters() if weight.dtype == torch.uint8]
    assert len(matrices) == 7 * size.text.layers
    held = sum(part.nbytes for part in [*matrices, *scales(policy.model)])
    assert held == size.text.layers * size.text.packed_matrices
    rest = sum(weight.nbytes for weight in policy.model.parameters() if weight.dtype == dtype)
    assert rest == dtype.itemsize * (size.parameters - size.text.layers * size.text.layer_matrices)
    assert whole_bytes(policy.model) == whole_bytes(whole.model) == dtype.itemsize * size.parameters


def test_mistakes_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="is packed or has adapters already"):
        quantise(packed())
    adapted = MAKE["qwen2_5_vl"]()
    add_adapters(adapted, 2, 4, ("v_proj",), seed=0)
    with pytest.raises(ValueError, match=r"has adapters already, in .*layers\.0\.self_attn\.v_proj"):
        quantise(adapted)
    with pytest.raises(ValueError, match=r"rows of 96 weights in .*layers\.0\.mlp\.down_proj are not whole"):
        quantise(tiny_policy())
    missing = "bitsandbytes"
    monkeypatch.setattr(quantised, "find_spec", lambda name: None if name == missing else find_spec(name))
    with pytest.raises(ValueError, match=r"need bitsandbytes: pip install 'tolman\[qlora\]'"):
        quantise(tiny_policy())
