"""What goes to vLLM and what is made of its answers; vLLM itself is run by checks/vllm_text.py."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import vllm_text
from chat_world import served, serving
from learn_world import rl_table
from policy_tiny import flat_logits, noise_clip, question, tiny_policy, tiny_qwen3_policy
from tolman.bench.backends.server import Server
from tolman.learn.engines.engine import InProcess, make_engine
from tolman.learn.engines.vllm import VllmEngine, full_log_probs, prompt_seeds, to_samples, vllm_prompts
from tolman.learn.recipe import apply_overrides, parse_recipe
from tolman.policy.adapters import add_adapters
from tolman.policy.forward import clip_features
from tolman.policy.generate import Sample, draw_uniforms, generate
from tolman.policy.policy import Policy
from tolman.policy.prompt import Prompt, build_image_prompt, build_prompt, encode_image
from tolman.policy.sampling import Sampling

SAMPLINGS = [Sampling(), Sampling(0.7), Sampling(1.2, 0.8, 20), Sampling(0.0)]


@pytest.fixture(scope="module")
def policy() -> Policy:
    torch.set_num_threads(1)
    return tiny_policy()


def ids_of(prompt: Prompt) -> list[int]:
    return [*prompt.clip_ids, *prompt.question_ids]


def sampled(policy: Policy, prompt: Prompt, sampling: Sampling) -> list[Sample]:
    [group] = generate(
        policy, [prompt], 3, max_new_tokens=12, temperature=sampling.temperature, top_p=sampling.top_p,
        top_k=sampling.top_k, uniforms=draw_uniforms(1, 3, 12, torch.Generator().manual_seed(4)),
    )  # fmt: skip
    return group


@pytest.mark.parametrize("adapted", [False, True])
def test_the_text_half_of_a_policy_is_a_qwen2_model(adapted: bool) -> None:
    policy = tiny_policy()
    if adapted:
        pytest.importorskip("peft")
        add_adapters(policy, 2, 4, ("q_proj", "down_proj"), seed=0)
        with torch.no_grad():
            for name, weight in policy.model.named_parameters():
                if "lora_B" in name:
                    weight.normal_(generator=torch.Generator().manual_seed(0))
    ids = ids_of(build_prompt(policy, question(), None, "map"))
    with torch.no_grad():
        ours, theirs = (
            flat_logits(policy, [(ids, None, ())]),
            vllm_text.text_model(policy)(torch.tensor([ids])),
        )
    torch.testing.assert_close(theirs.logits, ours, rtol=1e-4, atol=1e-4)
    biases = [name for name in vllm_text.text_weights(policy) if name.endswith(".bias")]
    assert len(biases) == 3 * len(policy.model.model.language_model.layers)


def test_a_prompt_without_a_clip_is_its_tokens(policy: Policy) -> None:
    prompt = build_prompt(policy, question(), None, "map")
    assert vllm_prompts(policy, [prompt]) == [{"prompt_token_ids": ids_of(prompt)}]


def test_a_clip_goes_as_its_embeddings_behind_one_placeholder(policy: Policy) -> None:
    clip, other = noise_clip(policy, 0), noise_clip(policy, 1, 0.5)
    prompts = [
        build_prompt(policy, question(words), shown, "map")
        for words, shown in [("How many?", clip), ("Where?", clip), ("How many?", other)]
    ]
    with torch.no_grad():
        found = vllm_prompts(policy, prompts)
        features = clip_features(policy.model, [clip, other])
    placeholder = policy.video_tokens.video_token_id
    shown = [one["multi_modal_data"]["video"] for one in found]
    assert shown[0] is shown[1]  # seen once
    for prompt, one, video, expected in zip(prompts, found, shown, (features[0], *features), strict=True):
        ids = one["prompt_token_ids"]
        assert ids.count(placeholder) == 1
        at = ids.index(placeholder)
        assert ids[:at] + [placeholder] * 12 + ids[at + 1 :] == ids_of(prompt)
        torch.testing.assert_close(video["video_embeds"], expected)
        assert video["video_grid_thw"].tolist() == [[2, 4, 6]]
    assert [video["second_per_grid_ts"].tolist() for video in shown] == [[0.5], [0.5], [1.0]]


def test_embeddings_that_a_clip_brings_are_used(policy: Policy) -> None:
    clip = noise_clip(policy, 0)
    brought = replace(clip, pixels=clip.pixels[:0], features=torch.arange(12 * 64.0).view(12, 64))
    [found] = vllm_prompts(policy, [build_prompt(policy, question(), brought, "map")])
    assert torch.equal(found["multi_modal_data"]["video"]["video_embeds"], brought.features)


def test_prompts_that_vllm_is_not_given(policy: Policy) -> None:
    image = encode_image(policy, np.zeros((56, 56, 3), np.uint8))
    several = build_image_prompt(policy, question(), [image, image], "map")
    with pytest.raises(ValueError, match="several images"):
        vllm_prompts(policy, [several])
    qwen3 = tiny_qwen3_policy()
    with pytest.raises(ValueError, match=r"times of a clip's frames in words \(Qwen3-VL\)"):
        vllm_prompts(qwen3, [build_prompt(qwen3, question(), noise_clip(qwen3, 0), "map")])


def outputs_of(samples: Sequence[Sample]) -> list[Any]:
    """Samples of our own as `vllm.CompletionOutput` holds them: a table of log-probabilities per token."""
    return [
        SimpleNamespace(
            token_ids=list(sample.token_ids),
            logprobs=[
                {token: SimpleNamespace(logprob=value)}
                for token, value in zip(sample.token_ids, sample.log_probs.tolist(), strict=True)
            ],
            finish_reason="stop" if sample.finished else "length",
        )
        for sample in samples
    ]


@pytest.mark.parametrize("sampling", SAMPLINGS, ids=str)
@pytest.mark.parametrize("with_clip", [False, True])
def test_outputs_become_the_samples_they_were(policy: Policy, sampling: Sampling, with_clip: bool) -> None:
    prompt = build_prompt(policy, question(), noise_clip(policy, 0) if with_clip else None, "map")
    ours = sampled(policy, prompt, sampling)
    back = to_samples(policy, prompt, outputs_of(ours), sampling)
    for sample, found in zip(ours, back, strict=True):
        assert (found.token_ids, found.text, found.finished) == (
            sample.token_ids,
            sample.text,
            sample.finished,
        )
        assert torch.equal(found.log_probs, sample.log_probs)
        assert (found.full_log_probs is None) == (sample.full_log_probs is None)
        if sample.full_log_probs is not None and found.full_log_probs is not None:
            torch.testing.assert_close(found.full_log_probs, sample.full_log_probs, rtol=1e-4, atol=1e-4)
            assert (found.log_probs > found.full_log_probs + 0.01).any()


@pytest.mark.parametrize("sampling", SAMPLINGS[:3], ids=str)
def test_the_checks_oracle_says_what_our_own_samples_say(policy: Policy, sampling: Sampling) -> None:
    prompt, model = build_prompt(policy, question(), None, "map"), vllm_text.text_model(policy)
    ours = sampled(policy, prompt, sampling)
    for sample in ours:
        theirs = vllm_text.log_probs_of(model, ids_of(prompt), sample.token_ids, sampling)
        torch.testing.assert_close(theirs, sample.log_probs, rtol=1e-4, atol=1e-4)
    if not sampling.truncates:
        own = full_log_probs(policy, prompt, [one.token_ids for one in ours], sampling.temperature)
        for sample, found in zip(ours, own, strict=True):
            torch.testing.assert_close(found, sample.log_probs, rtol=1e-4, atol=1e-4)


def test_the_check_of_rollouts_holds_for_our_own_samples_and_sees_weights_that_came_unasked() -> None:
    policy, report = tiny_policy(), vllm_text.Report()
    model, check = vllm_text.text_model(policy), vllm_text.Rollouts(policy, InProcess(policy), report)
    check.sync()
    found = check.log_probs("temperature 1", Sampling(), model)
    check.log_probs("truncated", Sampling(1.2, 0.8, 20), model)
    check.shapes(found)
    check.greedy(model)
    check.randomness(found)
    assert report.failed == 0
    check.changed_weights(found)  # without a copy an engine has moved, and not behind the learner
    assert report.failed == 2


def test_the_check_of_answers_over_http(policy: Policy) -> None:
    report = vllm_text.Report()
    with serving(served(policy, 0.5)) as world:
        backend = Server(world.url, "tiny", concurrency=2)
        vllm_text.compare_answers("the same policy", policy, backend, report)
        assert report.failed == 0
        vllm_text.compare_answers("another policy", tiny_policy(seed=1), backend, report)
    assert report.failed == 1
    assert len(world.got) == 2 * len(vllm_text.WORDS)


@given(prompts=st.integers(1, 6), group=st.integers(1, 4), seed=st.integers(0, 2**31))
def test_seeds_follow_from_the_first_number_of_a_prompt(prompts: int, group: int, seed: int) -> None:
    uniforms = draw_uniforms(prompts, group, 3, torch.Generator().manual_seed(seed))
    seeds = prompt_seeds(uniforms, group)
    assert len(set(seeds)) == len(seeds) == prompts
    assert [one / 2**53 for one in seeds] == uniforms[::group, 0].tolist()
    assert all(0 <= one < 2**53 for one in seeds)
    assert prompt_seeds(uniforms[-group:], group) == seeds[-1:]  # whoever else is asked


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["sampling.temperature=0.005"], r"temperature is 0.005; vLLM samples with 0.01 to 2, or greedily"),
        (["sampling.temperature=2.5"], r"temperature is 2.5"),
        (["run.device=cuda:1"], r"'cuda:1', but vLLM takes the first GPU that it sees"),
        (["engine.options={memory=1.5}"], r"engine.options.memory must be at most 0.95, got 1.5"),
        (["engine.options={length=-1}"], r"engine.options.length must be at least 0"),
        ([], r"vLLM cannot be imported .* leave \[engine\] out of the recipe"),
    ],
)
def test_mistakes_are_named(
    policy: Policy, monkeypatch: pytest.MonkeyPatch, overrides: list[str], message: str
) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    monkeypatch.setenv("VLLM_ENABLE_V1_MULTIPROCESSING", "")  # put back afterwards
    table = rl_table(Path("data"), Path("runs")) | {"engine": {"name": "vllm"}}
    with pytest.raises(ValueError, match=message):
        make_engine(parse_recipe(apply_overrides(table, overrides)), policy)


def test_a_completion_has_room_for_all_its_tokens(policy: Policy) -> None:
    prompt = build_prompt(policy, question(), None, "map")
    length = len(ids_of(prompt))
    llm = SimpleNamespace(model_config=SimpleNamespace(max_model_len=length + 7))
    engine = VllmEngine(llm, vllm_text.text_weights)
    engine.policy = policy
    with pytest.raises(
        ValueError, match=f"a prompt has {length} tokens and a completion up to 8, .*{length + 7}"
    ):
        engine.sample([prompt], 1, Sampling(), torch.rand(1, 8, dtype=torch.float64))
