"""Sampling: against transformers, against the tree's log-probabilities, and by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from policy_tiny import needs_right_positions, noise_clip, question, tiny_policy
from tolman.policy.cache import Collected, Sharing, make_level
from tolman.policy.decode import Prefix, Rows, decode, rotary_table
from tolman.policy.generate import Sample, draw_uniforms, generate
from tolman.policy.layer import Seen, decoder_layer
from tolman.policy.logprobs import tree_log_probs
from tolman.policy.policy import Policy
from tolman.policy.products import products_of
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


@pytest.mark.parametrize(
    ("group", "options"),
    [
        (3, {}),
        (1, {}),
        (2, {"temperature": 0.7}),
        (2, {"temperature": 1.5}),
        (2, {"top_p": 0.6}),
        (2, {"temperature": 0.7, "top_k": 3}),
    ],
)
def test_sampled_log_probs_equal_the_trees(group: int, options: dict[str, Any]) -> None:
    # the tree's are the loss's: same pixels, same positions, same distribution
    policy = tiny_policy()
    prompts = prompts_of(policy)
    groups = generate(policy, prompts, group, max_new_tokens=20, generator=seeded(3), **options)
    trees, nodes = [], []
    for row, (prompt, samples) in enumerate(zip(prompts, groups, strict=True)):
        assert len(samples) == group
        tree = TokenTree()
        _, asked = prompt.add_to(tree)
        nodes += [(row, tree.add(sample.token_ids, asked)) for sample in samples]
        trees.append(tree)
    packed = pack(trees, policy.pad_id, policy.video_tokens)
    with torch.no_grad():
        again = tree_log_probs(policy.model, packed, nodes, options.get("temperature", 1.0))
    for sample, log_probs in zip(flatten(groups), again, strict=True):
        assert sample.log_probs.shape == (len(sample.token_ids),)
        if not {"top_p", "top_k"} & set(options):
            assert sample.full_log_probs is None
            torch.testing.assert_close(sample.log_probs, log_probs, rtol=1e-4, atol=1e-4)
        else:  # the loss sees what was there before the truncation, which never made a token less likely
            torch.testing.assert_close(sample.full_log_probs, log_probs, rtol=1e-4, atol=1e-4)
            assert (sample.log_probs >= sample.full_log_probs - 1e-6).all()
            assert (sample.log_probs > sample.full_log_probs + 0.01).any()


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


def test_a_prompts_samples_do_not_depend_on_the_others() -> None:
    policy = tiny_policy()
    prompts = prompts_of(policy)
    uniforms = draw_uniforms(len(prompts), 2, 12, seeded(4))
    options = {"max_new_tokens": 12, "temperature": 0.8, "top_p": 0.95, "stop_ids": range(100, 130)}
    together = generate(policy, prompts, 2, uniforms=uniforms, **options)
    assert len({len(sample.token_ids) for sample in flatten(together)}) > 1
    for p, prompt in enumerate(prompts):
        [alone] = generate(policy, [prompt], 2, uniforms=uniforms[2 * p : 2 * p + 2], **options)
        for one, other in zip(alone, together[p], strict=True):
            assert one.token_ids == other.token_ids
            torch.testing.assert_close(one.log_probs, other.log_probs, rtol=1e-4, atol=1e-4)


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


def test_samples_may_be_used_in_a_loss() -> None:
    policy = tiny_policy()
    [[sample]] = generate(policy, prompts_of(policy)[:1], 1, max_new_tokens=20, top_k=9, stop_ids=())
    weight = torch.ones(20, requires_grad=True)
    for log_probs in (sample.log_probs, sample.as_trained):  # a tensor of inference mode would raise
        (weight * log_probs).sum().backward()
    assert weight.grad is not None
    torch.testing.assert_close(weight.grad, sample.log_probs + sample.as_trained)


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


def test_a_step_of_a_layer_is_the_stock_layers() -> None:
    # three rows behind the same four tokens, and one of their own before the new one
    policy = tiny_policy()
    stack = policy.model.model.language_model
    layer, hidden = stack.layers[1], stack.config.hidden_size
    shared = torch.randn((1, 4, hidden), generator=seeded(0))
    alone = torch.randn((3, 2, hidden), generator=seeded(1))
    states = torch.cat([shared.expand(3, -1, -1), alone], 1)
    rotary = stack.rotary_emb(states, torch.arange(7, 13)[None, None].expand(3, 1, -1))
    causal = torch.ones((6, 6), dtype=torch.bool).tril()[None, None]
    collected = Collected()
    layer.self_attn.layer_idx = 0
    with torch.no_grad():
        expected = layer(states, attention_mask=causal, position_embeddings=rotary, past_key_values=collected)
        level = make_level(collected, [0], [range(4)], [0, 0, 0])
        prefix = Prefix([level], states[:, 3], [11, 11, 11])
        table = rotary_table(policy.model, prefix, 2)
        room = [torch.zeros((2 * 3, 2, 16)) for _ in "kv"]
        products = products_of(policy.model, 2)[0][1]
        for k in range(2):
            bias = torch.zeros((3, 1, 4 + k + 1)) if k else None
            seen = Seen([level.sharing.slots], bias, torch.tensor([k]), k + 1)
            beginnings = [(level.keys[0], level.values[0])]
            cos, sin = table[[k] * 3][:, None].unbind(2)
            found = decoder_layer(
                layer, products, alone[:, k], (cos, sin), seen, beginnings, (room[0], room[1])
            )
            torch.testing.assert_close(found, expected[:, 4 + k], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("count", [1, 4])  # alone nothing is padded
def test_room_that_is_not_filled_yet_changes_nothing(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # as on a GPU, where every step looks at the whole room and no row is dropped
    policy = tiny_policy()
    prompts = prompts_of(policy)[:count]
    free = flatten(generate(policy, prompts, 3, max_new_tokens=12, generator=seeded(5), stop_ids=()))
    options = {"max_new_tokens": 12, "stop_ids": [sample.token_ids[k] for k, sample in enumerate(free)]}
    compacting = flatten(generate(policy, prompts, 3, generator=seeded(5), **options))

    def whole_room(rows: Rows) -> None:
        for _ in range(1, rows.steps):
            rows.step(rows.steps)

    monkeypatch.setattr("tolman.policy.decode._decode_compacting", whole_room)
    static = flatten(generate(policy, prompts, 3, generator=seeded(5), **options))
    assert len({len(sample.token_ids) for sample in static}) > min(count, 3)
    for one, other in zip(static, compacting, strict=True):
        assert (one.token_ids, one.finished) == (other.token_ids, other.finished)
        torch.testing.assert_close(one.log_probs, other.log_probs, rtol=1e-4, atol=1e-4)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA graphs need a GPU")
def test_graphs_on_a_gpu_sample_as_the_cpu_does() -> None:
    policy = tiny_policy()
    options = {"max_new_tokens": 300, "temperature": 0.0}  # more than the first width
    expected = flatten(generate(policy, prompts_of(policy), 2, **options, stop_ids=()))
    policy.model.cuda()
    found = flatten(generate(policy, prompts_of(policy), 2, **options, stop_ids=()))
    agree = [one.token_ids[:20] == other.token_ids[:20] for one, other in zip(found, expected, strict=True)]
    assert all(agree)  # later tokens may differ where two are equally likely
    trees = [TokenTree() for _ in prompts_of(policy)]
    nodes = []
    for row, (prompt, tree) in enumerate(zip(prompts_of(policy), trees, strict=True)):
        _, asked = prompt.add_to(tree)
        nodes += [(row, tree.add(sample.token_ids, asked)) for sample in found[2 * row : 2 * row + 2]]
    packed = pack(trees, policy.pad_id, policy.video_tokens)
    with torch.no_grad():
        again = tree_log_probs(policy.model, packed, nodes)
    for log_probs in again:  # greedy: no token is likelier, so none is much less likely than one of 320
        assert log_probs.min() > -math.log(320) - 1e-3


def test_a_beginning_is_held_once(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = tiny_policy()
    prompts = prompts_of(policy)
    prefixes: list[Prefix] = []

    def noted(model: Any, prefix: Prefix, *rest: Any) -> Any:
        prefixes.append(prefix)
        return decode(model, prefix, *rest)

    monkeypatch.setattr("tolman.policy.generate.decode", noted)
    generate(policy, prompts[:1], 8, max_new_tokens=2)
    generate(policy, prompts, 8, max_new_tokens=2)
    heads = policy.model.config.text_config.num_key_value_heads
    [level] = prefixes[0].levels
    length = len(prompts[0].clip_ids + prompts[0].question_ids)
    assert {part.shape for part in level.keys + level.values} == {(heads, length, 16)}
    clips, questions = prefixes[1].levels  # three beginnings (two clips and none), four questions
    width, longest = (max(len(ids) for ids in of) for of in (
        [prompt.clip_ids for prompt in prompts], [prompt.question_ids for prompt in prompts]
    ))  # fmt: skip
    assert {part.shape for part in clips.keys + clips.values} == {(3 * heads, width, 16)}
    assert {part.shape for part in questions.keys + questions.values} == {(4 * heads, longest, 16)}


@given(st.lists(st.integers(0, 4), min_size=1, max_size=12))
def test_rows_find_their_beginning_and_back(nodes: list[int]) -> None:
    names = sorted(set(nodes))
    sharing = Sharing.of([names.index(node) for node in nodes], torch.device("cpu"))
    rows = torch.arange(len(nodes) * 2 * 3).view(2, len(nodes), 3, 1).float()  # 2 heads, 3 queries
    by_node = sharing.slots.to_nodes(rows)
    assert torch.equal(sharing.slots.to_rows(by_node, 2, 3), rows)
    for row, node in enumerate(sharing.node_of_row):
        for head in range(2):  # each row's queries are among its beginning's
            found = by_node[head * sharing.slots.nodes + node]
            assert set(rows[head, row].flatten().tolist()) <= set(found.flatten().tolist())


def test_layers_of_another_class_are_refused() -> None:
    policy = tiny_policy()
    layer = policy.model.model.language_model.layers[1]
    layer.__class__ = type("OtherLayer", (type(layer),), {})
    with pytest.raises(ValueError, match=r"class OtherLayer; .* for Qwen2_5_VLDecoderLayer and Qwen3VL"):
        generate(policy, prompts_of(policy), 1, max_new_tokens=2)


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
        {"temperature": 1e-30},
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
    picked = pick(LOGITS, sampling, torch.tensor([uniform], dtype=torch.float64))
    assert picked.tokens.tolist() == [token]
    assert picked.log_probs.item() == pytest.approx(math.log(probability), abs=1e-6)
    if sampling.temperature == 1:
        assert picked.full_log_probs.item() == pytest.approx(LOGITS[0, token].item(), abs=1e-6)
    else:  # no token is taken away
        assert picked.full_log_probs.item() == picked.log_probs.item()


def test_pick_never_takes_what_is_filtered_out() -> None:
    # the largest double below 1, and a kept token in front of filtered ones
    almost_one = torch.full((64,), 1 - 2.0**-53, dtype=torch.float64)
    logits = torch.randn(64, 1000, generator=seeded(0)) * 5
    tokens, log_probs, _ = pick(logits, Sampling(top_k=5), almost_one)
    assert torch.isfinite(log_probs).all()
    assert (logits.gather(1, tokens[:, None]) >= logits.topk(5).values[:, -1:]).all()
