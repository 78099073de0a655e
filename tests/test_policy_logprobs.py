"""Log-probabilities and gradients of a tree equal those of the flat batch, computed by transformers alone."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical

import tolman.policy.logprobs as logprobs
from policy_tiny import (
    flat_log_probs,
    flat_logits,
    gradients,
    needs_right_positions,
    noise_clip,
    question,
    tiny_policy,
)
from tolman.learn.optim import choose_trained, recompute_activations
from tolman.policy.forward import clip_features
from tolman.policy.policy import Policy
from tolman.policy.prompt import ClipInput, build_prompt, encode_clip
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
    assert any(name.startswith("model.visual") for name in ours_gradients)
    assert_same(ours, ours_gradients, theirs, theirs_gradients)


def test_the_oracle_would_notice_a_sibling(monkeypatch: pytest.MonkeyPatch) -> None:
    # the same packed batch with a plain causal mask, where completions see one another, is far off
    policy = tiny_policy()
    packed, nodes, flat = forest(policy, [tuple(t for t in c if t != 7) for c in COMPLETIONS])
    packed.seen_until[:] = packed.input_ids.shape[1]
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


def entropies(policy: Policy, flat: Flat) -> list[Tensor]:
    """Of the distribution of each completion token at temperature 0.7, by torch's own class."""
    logits = flat_logits(policy, flat) / 0.7
    starts = [len(prompt) - 1 for prompt, _, _ in flat]
    return [
        Categorical(logits=row[start : start + len(completion)], validate_args=False).entropy()
        for row, start, (_, _, completion) in zip(logits, starts, flat, strict=True)
    ]


@needs_right_positions
def test_entropies_and_their_gradients_equal_the_flat_batch() -> None:
    policy = tiny_policy()
    packed, nodes, flat = forest(policy, [tuple(t for t in c if t != 7) for c in COMPLETIONS])
    scores = logprobs.tree_scores(policy.model, packed, nodes, temperature=0.7, entropy=True)
    ours = [part.entropy for part in scores if part.entropy is not None]
    ours_gradients = gradients(policy, ours)
    theirs = entropies(policy, flat)
    assert_same(ours, ours_gradients, theirs, gradients(policy, theirs))


@needs_right_positions
@pytest.mark.parametrize("case", ["checkpointing", "lora", "frozen", "features"])
def test_gradients_equal_the_flat_batch_however_the_policy_is_trained(case: str) -> None:
    policy = tiny_policy()
    completions = [tuple(t for t in c if t != 7) for c in COMPLETIONS]
    if case == "checkpointing":
        recompute_activations(policy.model)
        policy.model.train()
    elif case == "lora":
        add_lora(policy)
    else:
        choose_trained(policy.model, "text")
    packed, nodes, flat = forest(policy, completions)
    if case == "features":
        with torch.no_grad():
            seen = clip_features(policy.model, packed.clips)
        held = [
            replace(clip, pixels=clip.pixels[:0], features=part)
            for clip, part in zip(packed.clips, seen, strict=True)
        ]
        packed = replace(packed, clips=tuple(held))
    ours = logprobs.tree_log_probs(policy.model, packed, nodes)
    ours_gradients = gradients(policy, ours)
    theirs = flat_log_probs(policy, flat)
    assert_same(ours, ours_gradients, theirs, gradients(policy, theirs))
    towers = {name.split(".")[1] for name in ours_gradients}
    assert towers == (
        {"language_model", "visual"} if case in ("checkpointing", "lora") else {"language_model"}
    )


@needs_right_positions
def test_one_frame_and_one_node_a_tree() -> None:
    # an image is a clip of one frame; and a prompt with a single completion is a tree without a branch
    policy = tiny_policy()
    rgb = np.random.default_rng(3).integers(0, 256, (1, *policy.frame_size, 3), dtype=np.uint8)
    image = encode_clip(policy, rgb, [0.0])
    prompt = build_prompt(policy, question("How many beds?"), image, "map")
    tree = TokenTree()
    completion = (20, 21, 22)
    nodes = [(0, tree.add(completion, prompt.add_to(tree)[1]))]
    packed = pack([tree], policy.pad_id, policy.video_tokens)
    assert packed.video_grid_thw is not None
    assert packed.video_grid_thw.tolist() == [[1, 4, 6]]
    ours = logprobs.tree_log_probs(policy.model, packed, nodes)
    ours_gradients = gradients(policy, ours)
    theirs = flat_log_probs(policy, [(prompt.clip_ids + prompt.question_ids, image, completion)])
    assert_same(ours, ours_gradients, theirs, gradients(policy, theirs))


def add_lora(policy: Policy) -> None:
    """Adapters of rank 2 in both towers' attention, drawn at random: PEFT's start at nothing."""
    peft = pytest.importorskip("peft")
    policy.model.add_adapter(peft.LoraConfig(r=2, lora_alpha=4, target_modules=["q_proj", "v_proj", "qkv"]))
    draw = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name, weight in policy.model.named_parameters():
            if "lora_" in name:
                weight.copy_(0.1 * torch.randn(weight.shape, generator=draw))


def assert_same(
    ours: list[Tensor],
    ours_gradients: dict[str, Tensor],
    theirs: list[Tensor],
    theirs_gradients: dict[str, Tensor],
) -> None:
    """Values and gradients of the two ways; a gradient by its norm."""
    assert [len(part) for part in ours] == [len(part) for part in theirs]
    torch.testing.assert_close(torch.cat(ours), torch.cat(theirs), rtol=1e-5, atol=1e-5)
    assert ours_gradients.keys() == theirs_gradients.keys()
    assert ours_gradients
    for name, gradient in theirs_gradients.items():
        error = (ours_gradients[name] - gradient).norm() / gradient.norm().clamp_min(1e-6)
        assert error < 1e-5, name
