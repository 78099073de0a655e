"""The products of a decoding step, from weights laid out anew on a CPU: the same numbers, and only where they
are meant to be."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from policy_tiny import noise_clip, question, tiny_policy, tiny_qwen3_policy
from tolman.policy import products
from tolman.policy.adapters import add_adapters
from tolman.policy.generate import Sample, generate
from tolman.policy.logprobs import tree_log_probs
from tolman.policy.policy import Policy
from tolman.policy.products import PACK_FROM, OneDNNLinear, products_of, to_lay_out
from tolman.policy.prompt import Prompt, build_prompt
from tolman.policy.tree import TokenTree, pack

needs_onednn = pytest.mark.skipif(not products._is_built(), reason="this build of torch has no oneDNN")


def prompt_of(policy: Policy) -> Prompt:
    return build_prompt(policy, question("How many chairs?"), noise_clip(policy, 0), "map")


def sampled(policy: Policy, steps: int = PACK_FROM, temperature: float = 1.0) -> list[Sample]:
    generator = torch.Generator().manual_seed(0)
    options = {"max_new_tokens": steps, "temperature": temperature, "generator": generator}
    return generate(policy, [prompt_of(policy)], 3, stop_ids=(), **options)[0]  # type: ignore[arg-type]


@needs_onednn
@pytest.mark.parametrize("rows", [1, 3, 8, 65])
@pytest.mark.parametrize("biases", [(False,), (True,), (True, False)])
def test_it_computes_what_the_layers_do_one_behind_another(rows: int, biases: tuple[bool, ...]) -> None:
    torch.manual_seed(0)
    layers = [nn.Linear(96, 130 + k, bias) for k, bias in enumerate(biases)]
    states = torch.randn(2 * rows, 96)[::2]  # not contiguous
    exact = torch.cat([layer.double()(states.double()) for layer in layers], -1)
    with torch.no_grad():
        found = OneDNNLinear(*(layer.float() for layer in layers))(states)
    torch.testing.assert_close(found.double(), exact, rtol=1e-5, atol=1e-5)


@needs_onednn
@pytest.mark.parametrize("make", [tiny_policy, tiny_qwen3_policy])
@pytest.mark.parametrize("steps", [PACK_FROM - 1, PACK_FROM])
def test_every_product_is_that_of_the_layers(make: Callable[[], Policy], steps: int) -> None:
    model = make().model
    stack, head = model.model.language_model, model.get_output_embeddings()
    layer, draw = stack.layers[0], torch.Generator().manual_seed(0)
    for norm in (layer.input_layernorm, layer.post_attention_layernorm, stack.norm):
        nn.init.uniform_(norm.weight, 0.5, 2, generator=draw)
        norm.variance_epsilon = 0.1  # so large that it cannot be left out
    states = torch.randn((5, model.config.text_config.hidden_size), generator=draw)
    with torch.no_grad():
        (first, *_), last = products_of(model, steps)
        attention, normed = layer.self_attn, layer.input_layernorm(states)
        parts = (attention.q_proj, attention.k_proj, attention.v_proj)
        wide = torch.cat([part(normed) for part in parts], 1)
        mixed = wide[:, : attention.o_proj.in_features]
        for found, expected in (
            (first.qkv(states), wide),
            (first.out(mixed), attention.o_proj(mixed)),
            (first.mlp(states), layer.mlp(layer.post_attention_layernorm(states))),
            (last(states), head(stack.norm(states))),
        ):
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
    assert (type(last) is OneDNNLinear) == (steps == PACK_FROM)


@needs_onednn
@pytest.mark.parametrize("make", [tiny_policy, tiny_qwen3_policy])
def test_samples_are_those_of_the_layers_themselves(
    make: Callable[[], Policy], monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = make()
    assert len(to_lay_out(policy.model, PACK_FROM)) == 7 * len(policy.model.model.language_model.layers) + 1
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
    monkeypatch.setattr(products, "HUGE", 0)
    assert [one.token_ids for one in ours] == [one.token_ids for one in sampled(policy)]


@needs_onednn
def test_weights_that_have_learnt_are_laid_out_anew() -> None:
    policy = tiny_policy()
    before = sampled(policy, temperature=0)
    with torch.no_grad():
        policy.model.get_output_embeddings().weight.mul_(-1)
    assert [one.token_ids for one in before] != [one.token_ids for one in sampled(policy, temperature=0)]


@needs_onednn
def test_adapters_are_not_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("peft")
    policy = tiny_policy()
    add_adapters(policy, 2, 4, ["v_proj", "up_proj"], 0)
    for name, weight in policy.model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(weight)
    layers = policy.model.model.language_model.layers
    alone = [layer.self_attn.o_proj for layer in layers]  # all else shares its states with an adapter
    assert to_lay_out(policy.model, PACK_FROM) == [*alone, policy.model.get_output_embeddings()]
    ours = sampled(policy)
    monkeypatch.setattr(products, "HUGE", 0)
    for one, other in zip(ours, sampled(policy), strict=True):
        assert one.token_ids == other.token_ids
        torch.testing.assert_close(one.log_probs, other.log_probs, rtol=1e-4, atol=1e-4)


def test_when_nothing_is_laid_out(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_policy().model
    assert to_lay_out(model, PACK_FROM - 1) == []
    assert to_lay_out(model.to(torch.bfloat16), PACK_FROM) == []
    count = sum(layer.weight.numel() for layer in to_lay_out(model.float(), PACK_FROM))
    monkeypatch.setattr(products, "HUGE", count - 1)
    assert to_lay_out(model, PACK_FROM) == []
    monkeypatch.setattr(products, "HUGE", 2**29)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert to_lay_out(model, PACK_FROM) == []
