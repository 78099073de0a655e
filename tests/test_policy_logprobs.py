"""Log-probabilities and gradients of a tree equal those of the flat batch, computed by transformers alone."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

import tolman.policy.logprobs as logprobs
from policy_tiny import flat_log_probs, needs_right_positions, noise_clip, question, tiny_policy
from tolman.policy.forward import clip_features
from tolman.policy.policy import Policy
from tolman.policy.prompt import ClipInput, build_prompt
from tolman.policy.tree import Packed, TokenTree, pack

Flat = list[tuple[tuple[int, ...], ClipInput | None, tuple[int, ...]]]
COMPLETIONS: list[tuple[int, ...]] = [
    (20, 21, 22, 23, 24),
    (30,),
    (),
    (20, 40, 41, 2),
    (50, 51, 7, 52),
    (60, 61),
]
"""Unequal, of one token, empty, and one with a sampled video placeholder (id 7)."""


def forest(policy: Policy, completions: list[tuple[int, ...]]) -> tuple[Packed, list[tuple[int, int]], Flat]:
    """Two clips with two questions each and one text-only prompt, three completions each, in one batch."""
    trees, nodes, flat = [], [], Flat()
    for row, clip in enumerate((noise_clip(policy, 0), noise_clip(policy, 1, 0.5), None)):
        tree = TokenTree()
        root = None
        for k, text in enumerate(
            ("How many chairs?", "Which is closer, the bed or the door?")[: 1 + (row < 2)]
        ):
            prompt = build_prompt(policy, question(text), clip, "map")
            root, asked = prompt.add_to(tree, root)
            for completion in completions[3 * k : 3 * k + 3]:
                nodes.append((row, tree.add(completion, asked)))
                flat.append((prompt.clip_ids + prompt.question_ids, clip, completion))
        trees.append(tree)
    return pack(trees, policy.pad_id, policy.video_tokens), nodes, flat


def gradients(policy: Policy, log_probs: list[Tensor]) -> dict[str, Tensor]:
    """Of a sum with a different weight for every token."""
    policy.model.zero_grad()
    joined = torch.cat(log_probs)
    weights = torch.randn(joined.shape, generator=torch.Generator().manual_seed(5))
    (joined * weights).sum().backward()
    return {name: p.grad.clone() for name, p in policy.model.named_parameters() if p.grad is not None}


@needs_right_positions
@pytest.mark.parametrize("chunk", [2**24, 1000])
def test_log_probs_and_gradients_equal_the_flat_batch(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logprobs, "CHUNK_ELEMENTS", chunk)  # 1000 elements: three tokens at a time
    policy = tiny_policy()
    plain = [tuple(t for t in completion if t != 7) for completion in COMPLETIONS]
    packed, nodes, flat = forest(policy, plain)
    ours = logprobs.tree_log_probs(policy.model, packed, nodes)
    ours_gradients = gradients(policy, ours)
    theirs = flat_log_probs(policy, flat)
    theirs_gradients = gradients(policy, theirs)
    assert [len(part) for part in ours] == [len(completion) for _, _, completion in flat]
    torch.testing.assert_close(torch.cat(ours), torch.cat(theirs), rtol=1e-5, atol=1e-5)
    assert any(name.startswith("model.visual") for name in ours_gradients)
    assert ours_gradients.keys() == theirs_gradients.keys()
    for name, theirs_gradient in theirs_gradients.items():
        error = (ours_gradients[name] - theirs_gradient).norm() / theirs_gradient.norm().clamp_min(1e-6)
        assert error < 1e-5, name


def test_the_oracle_would_notice_a_sibling(monkeypatch: pytest.MonkeyPatch) -> None:
    # the same packed batch with a plain causal mask, where completions see one another, is far off
    policy = tiny_policy()
    packed, nodes, flat = forest(policy, [tuple(t for t in c if t != 7) for c in COMPLETIONS])
    length = packed.input_ids.shape[1]
    packed.attention_mask[:] = torch.ones(length, length, dtype=torch.bool).tril()
    with torch.no_grad():
        ours = torch.cat(logprobs.tree_log_probs(policy.model, packed, nodes))
        theirs = torch.cat(flat_log_probs(policy, flat))
    assert (ours - theirs).abs().max() > 0.1


def test_a_sampled_placeholder_scores_as_a_token() -> None:
    policy = tiny_policy()
    packed, nodes, _ = forest(policy, COMPLETIONS)
    with torch.no_grad():
        log_probs = logprobs.tree_log_probs(policy.model, packed, nodes)
    assert all(torch.isfinite(part).all() for part in log_probs)
    assert len(log_probs[4]) == 4


def test_features_given_equal_features_computed() -> None:
    policy = tiny_policy()
    packed, nodes, _ = forest(policy, COMPLETIONS)
    with torch.no_grad():
        features = clip_features(policy.model, packed.clips)
        given = torch.cat(logprobs.tree_log_probs(policy.model, packed, nodes, features=features))
        computed = torch.cat(logprobs.tree_log_probs(policy.model, packed, nodes))
    torch.testing.assert_close(given, computed, rtol=1e-6, atol=1e-6)


def test_temperature_and_entropy_by_hand() -> None:
    # a head of zeros but for token 5, whose logit is s = h . w: with V tokens and temperature T,
    # p5 = e^(s/T) / (e^(s/T) + V - 1)
    policy = tiny_policy()
    states = torch.full((1, 64), 0.1)
    head = policy.model.get_output_embeddings()
    with torch.no_grad():
        head.weight.zero_()
        head.weight[5] = 0.5  # s = 64 * 0.1 * 0.5 = 3.2
    log_probs, entropy = logprobs._score(policy.model, states, torch.tensor([5]), 2.0, entropy=True)
    others = len(policy.tokenizer) - 1
    top = math.exp(1.6) / (math.exp(1.6) + others)
    rest = 1 / (math.exp(1.6) + others)
    assert log_probs.item() == pytest.approx(math.log(top), rel=1e-5)
    assert entropy is not None
    assert entropy.item() == pytest.approx(-top * math.log(top) - others * rest * math.log(rest), rel=1e-5)


def test_entropy_goes_with_its_node() -> None:
    policy = tiny_policy()
    packed, nodes, _ = forest(policy, COMPLETIONS)
    with torch.no_grad():
        scores = logprobs.tree_scores(policy.model, packed, nodes, entropy=True)
    for part in scores:
        assert part.entropy is not None
        assert part.entropy.shape == part.log_probs.shape
        assert bool(((part.entropy >= 0) & (part.entropy <= math.log(320) + 1e-4)).all())


def test_what_nothing_predicts_is_refused() -> None:
    policy = tiny_policy()
    tree = TokenTree()
    tree.add([1, 2])
    packed = pack([tree], policy.pad_id, policy.video_tokens)
    with pytest.raises(ValueError, match="nothing predicts"):
        logprobs.tree_log_probs(policy.model, packed, [(0, 0)])
    with pytest.raises(ValueError, match="temperature"):
        logprobs.tree_log_probs(policy.model, packed, [], temperature=0.0)
    assert logprobs.tree_log_probs(policy.model, packed, []) == []
