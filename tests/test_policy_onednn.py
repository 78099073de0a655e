"""Weights laid out for decoding on a CPU: the same numbers, and only where it is meant to be."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from policy_tiny import noise_clip, question, tiny_policy, tiny_qwen3_policy
from tolman.policy import onednn
from tolman.policy.adapters import add_adapters
from tolman.policy.generate import Sample, generate
from tolman.policy.logprobs import tree_log_probs
from tolman.policy.onednn import PACK_FROM, OneDNNLinear, stand_ins
from tolman.policy.policy import Policy
from tolman.policy.prompt import Prompt, build_prompt
from tolman.policy.tree import TokenTree, pack

needs_onednn = pytest.mark.skipif(not onednn._is_built(), reason="this build of torch has no oneDNN")


@pytest.fixture
def small_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiny policies count as large."""
    monkeypatch.setattr(onednn, "LARGE", 0)


def prompt_of(policy: Policy) -> Prompt:
    return build_prompt(policy, question("How many chairs?"), noise_clip(policy, 0), "map")


def sampled(policy: Policy, steps: int = PACK_FROM, temperature: float = 1.0) -> list[Sample]:
    generator = torch.Generator().manual_seed(0)
    options = {"max_new_tokens": steps, "temperature": temperature, "generator": generator}
    return generate(policy, [prompt_of(policy)], 3, stop_ids=(), **options)[0]  # type: ignore[arg-type]


@needs_onednn
@pytest.mark.parametrize("rows", [1, 3, 8, 65])
@pytest.mark.parametrize("bias", [False, True])
def test_a_stand_in_computes_what_the_layer_does(rows: int, bias: bool) -> None:
    torch.manual_seed(0)
    layer, states = nn.Linear(96, 130, bias), torch.randn(2 * rows, 96)[::2]  # not contiguous
    exact = layer.double()(states.double())
    with torch.no_grad():
        found = OneDNNLinear(layer.float())(states)
    torch.testing.assert_close(found.double(), exact, rtol=1e-5, atol=1e-5)


@needs_onednn
@pytest.mark.usefixtures("small_counts")
@pytest.mark.parametrize("make", [tiny_policy, tiny_qwen3_policy])
def test_samples_are_those_of_the_layers_themselves(
    make: Callable[[], Policy], monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = make()
    assert len(stand_ins(policy.model, PACK_FROM)) == 7 * len(policy.model.model.language_model.layers) + 1
    used, call = [], OneDNNLinear.__call__

    def counted(self: OneDNNLinear, states: torch.Tensor) -> torch.Tensor:
        used.append(self)
        return call(self, states)

    monkeypatch.setattr(OneDNNLinear, "__call__", counted)
    ours = sampled(policy)
    assert used
    tree = TokenTree()
    _, asked = prompt_of(policy).add_to(tree)
    nodes = [(0, tree.add(sample.token_ids, asked)) for sample in ours]
    with torch.no_grad():
        again = tree_log_probs(policy.model, pack([tree], policy.pad_id, policy.video_tokens), nodes)
    for sample, log_probs in zip(ours, again, strict=True):
        torch.testing.assert_close(sample.log_probs, log_probs, rtol=1e-4, atol=1e-4)
    monkeypatch.setattr(onednn, "HUGE", 0)
    assert [one.token_ids for one in ours] == [one.token_ids for one in sampled(policy)]


@needs_onednn
@pytest.mark.usefixtures("small_counts")
def test_weights_that_have_learnt_are_laid_out_anew() -> None:
    policy = tiny_policy()
    before = sampled(policy, temperature=0)
    with torch.no_grad():
        policy.model.get_output_embeddings().weight.mul_(-1)
    assert [one.token_ids for one in before] != [one.token_ids for one in sampled(policy, temperature=0)]


@needs_onednn
@pytest.mark.usefixtures("small_counts")
def test_adapters_are_not_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("peft")
    policy = tiny_policy()
    add_adapters(policy, 2, 4, ["q_proj", "up_proj"], 0)
    for name, weight in policy.model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(weight)
    found = stand_ins(policy.model, PACK_FROM)
    assert len(found) == 5 * len(policy.model.model.language_model.layers) + 1
    ours = sampled(policy)
    monkeypatch.setattr(onednn, "HUGE", 0)
    for one, other in zip(ours, sampled(policy), strict=True):
        assert one.token_ids == other.token_ids
        torch.testing.assert_close(one.log_probs, other.log_probs, rtol=1e-4, atol=1e-4)


def test_what_has_no_stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_policy().model
    assert stand_ins(model, 10_000) == {}
    monkeypatch.setattr(onednn, "LARGE", 0)
    assert stand_ins(model, PACK_FROM - 1) == {}
    assert stand_ins(model.to(torch.bfloat16), PACK_FROM) == {}
    monkeypatch.setattr(onednn, "HUGE", 1000)
    assert stand_ins(model.float(), PACK_FROM) == {}
    monkeypatch.setattr(onednn, "HUGE", 2**29)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert stand_ins(model.float(), PACK_FROM) == {}
