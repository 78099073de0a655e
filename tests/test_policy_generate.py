"""Sampling: against transformers, against the tree's log-probabilities, and by hand."""

from __future__ import annotations

import math

import pytest
import torch

from policy_tiny import needs_right_positions, noise_clip, question, tiny_policy
from tolman.policy.generate import Sample, generate
from tolman.policy.logprobs import tree_log_probs
from tolman.policy.policy import Policy
from tolman.policy.prompt import Prompt, build_prompt
from tolman.policy.sampling import Sampling, pick
from tolman.policy.tree import TokenTree, pack

QUESTIONS = ("How many chairs?", "Which of these is closest to the door: bed, table or lamp?", "Where?")


def prompts_of(policy: Policy) -> list[Prompt]:
    """Two clips, one of them with two questions, and one prompt of text; all of different lengths."""
    first, second = noise_clip(policy, 0), noise_clip(policy, 1, 0.5)
    shown = [(QUESTIONS[0], first), (QUESTIONS[1], second), (QUESTIONS[2], None), (QUESTIONS[2], first)]
    return [build_prompt(policy, question(text), clip, "map") for text, clip in shown]


def seeded(seed: int) -> torch.Generator:
    """A generator of its own."""
    return torch.Generator().manual_seed(seed)


def flatten(groups: list[list[Sample]]) -> list[Sample]:
    """All samples in order."""
    return [sample for group in groups for sample in group]


@needs_right_positions
def test_greedy_equals_transformers_generate() -> None:
    policy = tiny_policy()
    prompts = prompts_of(policy)
    ours = generate(policy, prompts, 2, max_new_tokens=24, temperature=0, stop_ids=())
    for prompt, group in zip(prompts, ours, strict=True):
        ids = torch.tensor([prompt.clip_ids + prompt.question_ids])
        inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        if prompt.clip is not None:
            inputs |= {
                "pixel_values_videos": prompt.clip.pixels,
                "video_grid_thw": prompt.clip.grid_thw[None],
                "second_per_grid_ts": torch.tensor([prompt.clip.seconds_per_grid]),
                "mm_token_type_ids": 2 * (ids == policy.video_tokens.video_token_id).long(),
            }
        theirs = policy.model.generate(
            **inputs, do_sample=False, max_new_tokens=24, min_new_tokens=24, eos_token_id=[10**6]
        )
        expected = tuple(theirs[0, ids.shape[1] :].tolist())
        assert len(set(expected)) > 3  # not a constant
        for sample in group:
            assert sample.token_ids == expected
            assert sample.log_probs.tolist() == [0.0] * 24
            assert not sample.finished


@pytest.mark.parametrize(("temperature", "group"), [(1.0, 3), (1.0, 1), (0.7, 2)])
def test_sampled_log_probs_equal_the_trees(temperature: float, group: int) -> None:
    policy = tiny_policy()
    prompts = prompts_of(policy)
    groups = generate(policy, prompts, group, max_new_tokens=20, temperature=temperature, generator=seeded(3))
    trees, nodes = [], []
    for row, (prompt, samples) in enumerate(zip(prompts, groups, strict=True)):
        assert len(samples) == group
        tree = TokenTree()
        _, asked = prompt.add_to(tree)
        nodes += [(row, tree.add(sample.token_ids, asked)) for sample in samples]
        trees.append(tree)
    packed = pack(trees, policy.pad_id, policy.video_tokens)
    with torch.no_grad():
        again = tree_log_probs(policy.model, packed, nodes, temperature)
    for sample, log_probs in zip(flatten(groups), again, strict=True):
        assert sample.log_probs.shape == (len(sample.token_ids),)
        torch.testing.assert_close(sample.log_probs, log_probs, rtol=1e-4, atol=1e-4)


def test_log_probs_are_those_of_the_filtered_distribution() -> None:
    # with two tokens kept, each step's log-probability is that of one of two: at least one above log 1/2
    policy = tiny_policy()
    groups = generate(
        policy, prompts_of(policy), 2, max_new_tokens=20, top_k=2, generator=seeded(0), stop_ids=()
    )
    probs = torch.cat([sample.log_probs for sample in flatten(groups)]).exp()
    assert probs.max() <= 1
    alone = generate(
        policy, prompts_of(policy), 1, max_new_tokens=5, top_p=1e-6, generator=seeded(0), stop_ids=()
    )
    greedy = generate(policy, prompts_of(policy), 1, max_new_tokens=5, temperature=0, stop_ids=())
    for one, other in zip(flatten(alone), flatten(greedy), strict=True):
        assert one.token_ids == other.token_ids
        assert one.log_probs.abs().max() == 0


def test_the_generator_decides() -> None:
    policy = tiny_policy()
    runs = [
        [
            sample.token_ids
            for sample in flatten(
                generate(policy, prompts_of(policy), 3, max_new_tokens=8, generator=seeded(seed))
            )
        ]
        for seed in (7, 7, 8)
    ]
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


def test_rows_that_stop_leave_the_others_alone() -> None:
    # stopping cuts the same random sequences short: rows are dropped from the batch as they finish
    policy = tiny_policy()
    free = flatten(
        generate(policy, prompts_of(policy), 6, max_new_tokens=16, generator=seeded(1), stop_ids=())
    )
    stops = tuple({sample.token_ids[k] for k, sample in enumerate(free[:16])} | {free[20].token_ids[3]})
    cut = flatten(
        generate(policy, prompts_of(policy), 6, max_new_tokens=16, generator=seeded(1), stop_ids=stops)
    )
    lengths = set()
    for whole, sample in zip(free, cut, strict=True):
        ends = [k for k, token in enumerate(whole.token_ids) if token in stops]
        n = ends[0] + 1 if ends else 16
        assert sample.token_ids == whole.token_ids[:n]
        assert sample.finished == bool(ends)
        torch.testing.assert_close(sample.log_probs, whole.log_probs[:n], rtol=1e-4, atol=1e-4)
        lengths.add(n)
    assert len(lengths) > 4


def test_the_policys_own_stop_tokens_end_a_completion() -> None:
    policy = tiny_policy()
    assert policy.stop_ids == (0, 2)
    with torch.no_grad():
        policy.model.get_output_embeddings().weight.zero_()  # uniform over 320 tokens, pictures too
    samples = flatten(generate(policy, prompts_of(policy), 16, max_new_tokens=200, generator=seeded(0)))
    ended = [sample for sample in samples if sample.finished]
    assert ended
    for sample in ended:
        assert sample.token_ids[-1] in (0, 2)
        assert not {0, 2} & set(sample.token_ids[:-1])
        assert "<|" not in sample.text
    assert samples[0].log_probs[0].item() == pytest.approx(-math.log(len(policy.tokenizer)), rel=1e-5)


def test_a_clip_is_seen_once(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = tiny_policy()
    seen = []
    see = policy.model.model.visual.forward
    monkeypatch.setattr(
        policy.model.model.visual,
        "forward",
        lambda pixels, *args, **kwargs: (seen.append(len(pixels)), see(pixels, *args, **kwargs))[1],
    )
    generate(policy, prompts_of(policy), 4, max_new_tokens=3, generator=seeded(0))
    assert seen == [2 * 48]  # four prompts, three with a clip, two distinct clips of 48 patches


def test_training_with_gradient_checkpointing_changes_nothing() -> None:
    policy = tiny_policy()
    options = {"max_new_tokens": 8, "temperature": 0.0, "stop_ids": ()}
    plain = generate(policy, prompts_of(policy), 1, **options)
    model = policy.model
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    enable()
    policy.model.train()
    again = generate(policy, prompts_of(policy), 1, **options)
    assert policy.model.training
    for one, other in zip(flatten(plain), flatten(again), strict=True):
        assert one.token_ids == other.token_ids


def test_text_is_decoded_with_tags_kept() -> None:
    policy = tiny_policy()
    groups = generate(policy, prompts_of(policy)[:1], 2, max_new_tokens=12, generator=seeded(2))
    for sample in groups[0]:
        assert sample.text == policy.tokenizer.decode(list(sample.token_ids), skip_special_tokens=True)


@pytest.mark.parametrize(
    "wrong",
    [
        {"group": 0},
        {"max_new_tokens": 0},
        {"temperature": -1.0},
        {"top_p": 0.0},
        {"top_p": 1.1},
        {"top_k": -1},
    ],
)
def test_values_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    policy = tiny_policy()
    options = {"group": 1, "max_new_tokens": 2} | wrong
    with pytest.raises(ValueError, match=next(iter(wrong))):
        generate(policy, prompts_of(policy), **options)


def test_no_prompts_no_samples() -> None:
    assert generate(tiny_policy(), [], 4, max_new_tokens=3) == []


LOGITS = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log()


@pytest.mark.parametrize(
    ("sampling", "uniform", "token", "probability"),
    [
        (Sampling(), 0.0, 0, 0.5),
        (Sampling(), 0.4999, 0, 0.5),
        (Sampling(), 0.5001, 1, 0.3),
        (Sampling(), 0.9999, 3, 0.05),
        # kept: 0.5 and 0.3, the first two to pass 0.79; of 0.8 they are 0.625 and 0.375
        (Sampling(top_p=0.79), 0.624, 0, 0.625),
        (Sampling(top_p=0.79), 0.626, 1, 0.375),
        (Sampling(top_p=0.79), 0.9999, 1, 0.375),
        (Sampling(top_p=0.49), 0.9999, 0, 1.0),
        # kept: three; of 0.95
        (Sampling(top_k=3), 0.9999, 2, 0.15 / 0.95),
        (Sampling(top_k=9), 0.9999, 3, 0.05),
        # top-k first: of (0.625, 0.375), 0.625 passes 0.6 alone
        (Sampling(top_k=2, top_p=0.6), 0.9999, 0, 1.0),
        # squares: 0.25, 0.09, 0.0225, 0.0025 of 0.365
        (Sampling(temperature=0.5), 0.68, 0, 0.25 / 0.365),
        (Sampling(temperature=0.5), 0.69, 1, 0.09 / 0.365),
        (Sampling(temperature=0.0), 0.9999, 0, 1.0),
    ],
)
def test_pick_by_hand(sampling: Sampling, uniform: float, token: int, probability: float) -> None:
    tokens, log_probs = pick(LOGITS, sampling, torch.tensor([uniform], dtype=torch.float64))
    assert tokens.tolist() == [token]
    assert log_probs.item() == pytest.approx(math.log(probability), abs=1e-6)


def test_pick_never_takes_what_is_filtered_out() -> None:
    # the largest double below 1, and a kept token in front of filtered ones
    almost_one = torch.full((64,), 1 - 2.0**-53, dtype=torch.float64)
    logits = torch.randn(64, 1000, generator=seeded(0)) * 5
    tokens, log_probs = pick(logits, Sampling(top_k=5), almost_one)
    assert torch.isfinite(log_probs).all()
    assert (logits.gather(1, tokens[:, None]) >= logits.topk(5).values[:, -1:]).all()
