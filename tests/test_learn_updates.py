"""RL beyond one update of one group: several updates per batch, state, mirrored twins, segments, token
weights."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from learn_world import rl_table, tiny_policy, write_dataset
from tolman.learn.advantage import GroupMean
from tolman.learn.advantage.segments import PerSegment
from tolman.learn.batching import frozen_log_probs
from tolman.learn.corpus import load_corpus
from tolman.learn.divergence import group_divergence
from tolman.learn.loss import Tokens, divisors, policy_gradient
from tolman.learn.loss.divergence import position_divergence
from tolman.learn.recipe import apply_overrides, parse_recipe
from tolman.learn.rl import Rl, RlPart, group_numbers
from tolman.learn.rollout import Sampled, comparable_answer, cut_after, grade_group, weigh_step
from tolman.learn.train import train
from tolman.policy.forward import hidden_states, logits
from tolman.policy.generate import Sample
from tolman.policy.policy import Policy
from tolman.policy.tree import TokenTree, pack
from tolman.questions.question import Question
from tolman.reward.compose import Composed, Part
from tolman.reward.graded import Graded
from tolman.reward.registry import REWARDS

CLOCK = ("seconds", "samples_per_second", "tokens_per_second")
CLIPPED = ["sampling.epochs=2", "sampling.minibatches=2", "loss.clip=[0.2, 0.28]"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("data"), clips=3, questions=2)


@pytest.fixture(autouse=True)
def digits(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reward that a fresh policy sometimes earns: the share of digits in the text."""

    def grade(completion: str, question: Question) -> Graded:
        return Graded(sum(c.isdigit() for c in completion) / max(len(completion), 1), "share of digits")

    monkeypatch.setitem(REWARDS, "digits", lambda: grade)


def table(data: Path, out: Path, overrides: Sequence[str] = (), **run: Any) -> dict[str, Any]:
    plain = rl_table(data, out, **run) | {"rewards": [{"name": "digits"}]}
    return apply_overrides(plain, overrides)


def objective(made: dict[str, Any], policy: Policy) -> Rl:
    recipe = parse_recipe(made)
    return Rl(recipe, policy, load_corpus(recipe.data))


def shift(policy: Policy) -> None:
    with torch.no_grad():
        generator = torch.Generator().manual_seed(1)
        for weight in policy.model.parameters():
            weight.add_(0.02 * torch.randn(weight.shape, generator=generator))


def test_minibatches_are_counted_apart_and_repeat(data: Path, tmp_path: Path) -> None:
    batch = objective(table(data, tmp_path, CLIPPED), tiny_policy()).batch(0)
    assert len(batch.updates) == 4
    assert [part is other for part, other in zip(batch.updates[0], batch.updates[2], strict=True)] == [True]
    for [part] in batch.updates:
        assert len(part.clips) == 1
        assert part.count.completions == len(part.clips[0].lengths) == 8
        assert part.count.tokens == sum(part.clips[0].lengths)


def test_ratios_are_taken_against_the_sampling_policy(data: Path, tmp_path: Path) -> None:
    policy = tiny_policy()
    rl = objective(table(data, tmp_path, ["sampling.epochs=2", "loss.clip=[0.2, 0.28]"]), policy)
    [part] = rl.batch(0).parts
    old = frozen_log_probs(policy, part.clips)
    # before anything has moved, the gradient is the on-policy one
    gradients = []
    for at_start in (part, RlPart(part.clips, part.count, part.hung)):
        policy.model.zero_grad()
        rl.loss(at_start).loss.backward()
        gradients.append([weight.grad.clone() for weight in policy.model.parameters()])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7)
    shift(policy)
    output = rl.loss(part)
    lengths = part.clips[0].lengths + part.clips[1].lengths
    now = frozen_log_probs(policy, part.clips)
    assert not torch.allclose(now, old)
    tokens = Tokens(
        now, old, torch.tensor([a for clip in part.clips for of in clip.advantages for a in of]),
        divisors(lengths, "sequences", part.count), lengths, group_numbers(part.clips),
        frozen_log_probs(tiny_policy(), part.clips),
    )  # fmt: skip
    expected = policy_gradient(tokens, beta=0.04, clamp=10.0, clip=(0.2, 0.28))
    assert output.loss.item() == pytest.approx(expected.loss.item(), rel=1e-4)
    assert output.metrics["clipped"] == pytest.approx(expected.clipped, rel=1e-4)
    assert expected.clipped > 0


def test_a_resumed_run_has_its_state_and_updates(data: Path, tmp_path: Path) -> None:
    def run(out: Path, **options: Any) -> tuple[Path, Policy]:
        made = table(data, out, [*CLIPPED, "advantage={name='ema_per_task'}"], steps=4, checkpoint_every=2)
        policy = tiny_policy()
        return train(parse_recipe(made), policy=policy, **options), policy

    def kill(row: dict[str, Any]) -> None:
        if row["step"] == 3:
            raise KeyboardInterrupt

    straight, expected = run(tmp_path / "straight")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "broken", progress=kill)
    broken, resumed = run(tmp_path / "broken", resume=True)
    states = zip(expected.model.state_dict().values(), resumed.model.state_dict().values(), strict=True)
    assert all(torch.equal(one, other) for one, other in states)
    rows = []
    for folder in (straight, broken):
        state = json.loads((folder / "checkpoints" / "step-00000004" / "state.json").read_text())
        assert set(state["objective"]) == {"numerical"}
        lines = (folder / "metrics.jsonl").read_text().splitlines()
        rows.append([{k: v for k, v in json.loads(line).items() if k not in CLOCK} for line in lines])
    assert rows[0] == rows[1]
    assert all("clipped" in row and "kl" in row for row in rows[0])


def test_mirrored_twins_are_sampled_and_paired(data: Path, tmp_path: Path) -> None:
    policy = tiny_policy()
    rl = objective(table(data, tmp_path, ["advantage={name='duality', options={weight=0.5}}"]), policy)
    pairs: list[Any] = []
    monkey = rl.advantage.__class__.__call__
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            type(rl.advantage), "__call__", lambda self, groups: pairs.extend(groups) or monkey(self, groups)
        )
        batch = rl.batch(0)
    assert [group.pair for group in pairs] == [4, 5, 6, 7, 0, 1, 2, 3]
    assert batch.samples == 2 * 2 * 2 * 4
    [part] = batch.parts
    plain, twin = part.clips[0], part.clips[2]
    assert (plain.mirrored, twin.mirrored, twin.clip) == (False, True, plain.clip)
    frames = rl.reader.store.get(plain.clip.file).rgb_THWC
    assert np.array_equal(rl.reader._frames(twin, twin.mirrored)[0], frames[:, :, ::-1])
    assert twin.questions[0].cognitive_map == {
        "chair": [[8, 2], [9 - plain.questions[0].cognitive_map["chair"][1][0], 7]],
        "table": [[6, 3]],
    }
    back = rl.reader.mirror(twin)
    assert torch.equal(back.prompts[0].clip.pixels, plain.prompts[0].clip.pixels)
    assert not torch.equal(twin.prompts[0].clip.pixels, plain.prompts[0].clip.pixels)


def sample(text: str) -> Sample:
    return Sample(tuple(ord(c) for c in text), text, torch.zeros(len(text)), True)


def decode(token_ids: Sequence[int]) -> str:
    return "".join(chr(token) for token in token_ids)


QUESTION = Question(1, "?", "video", "numerical", None, "<answer>2</answer>", "a.mp4", "")


def test_segments_reach_their_tokens() -> None:
    composed = Composed(
        [
            Part("first", lambda text, question: Graded(float("x" in text), "")),
            Part("second", lambda text, question: Graded(float("y" in text), "")),
        ]
    )
    advantage = PerSegment(mark="|", first=("first",), second=("second",), eps=0.0)
    step = [Sampled(QUESTION, [sample("x|a"), sample("ab")]), Sampled(QUESTION, [sample("|y"), sample("|z")])]
    graded = [grade_group(one, composed, [], advantage, decode) for one in step]
    one, other = weigh_step(graded, advantage, [True, True])
    high = 0.5**0.5
    assert one.token_advantages(0) == pytest.approx([high, high, 0.0])
    assert one.token_advantages(1) == pytest.approx([-high, -high])  # no mark: all first segment
    assert other.token_advantages(0) == pytest.approx([0.0, high])
    assert other.token_advantages(1) == pytest.approx([0.0, -high])
    whole = GroupMean()
    [plain] = weigh_step([grade_group(step[0], composed, [], whole, decode)], whole, [True])
    assert plain.token_advantages(1) == [-0.5, -0.5]


def test_cut_after_the_mark() -> None:
    assert cut_after([ord(c) for c in "ab</t>cd</t>"], "</t>", decode) == 6
    assert cut_after([ord(c) for c in "ab"], "</t>", decode) == 2
    assert cut_after([], "</t>", decode) == 0


@pytest.mark.parametrize(
    ("kind", "options", "text", "answer"),
    [
        ("multiple choice", ("A. left", "B. right"), "<answer>(B)</answer>", "B"),
        ("multiple choice", ("A. left", "B. right"), "<answer>?</answer>", None),
        ("numerical", None, "<answer>2.0</answer>", "2"),
        ("numerical", None, "2", None),
        ("free-form", None, "<answer>The Lamp</answer>", "the lamp"),
    ],
)
def test_answers_are_comparable(kind: str, options: Any, text: str, answer: str | None) -> None:
    question = Question(1, "?", "video", kind, options, "<answer>2</answer>", "a.mp4", "")
    assert comparable_answer(text, question) == answer


def test_token_divergence_equals_whole_distributions_of_flat_rows(data: Path, tmp_path: Path) -> None:
    policy = tiny_policy()
    loss = "loss={name='tw_grpo', normalise='tokens', beta=0.04, options={alpha=1.7}}"
    rl = objective(table(data, tmp_path, [loss, "batch.clips=1"]), policy)
    [part] = rl.batch(0).parts
    [clip] = part.clips
    tables, lengths = [], clip.lengths
    with torch.no_grad():
        for node, question in zip(clip.completion_nodes, clip.groups, strict=True):
            prompt, tree = clip.prompts[question], TokenTree()
            root = tree.add(prompt.clip_ids, clip=prompt.clip)
            tree.add([*prompt.question_ids, *clip.tree.nodes[node].token_ids], root)
            packed = pack([tree], policy.pad_id, policy.video_tokens)
            states = hidden_states(policy.model, packed)[0, -clip.lengths[len(tables)] - 1 : -1]
            tables.append(torch.log_softmax(logits(policy.model, states), -1))
    expected = []
    for question in (0, 1):
        rows = [t for t, q in zip(tables, clip.groups, strict=True) if q == question]
        longest = max(len(t) for t in rows)
        padded = torch.stack([torch.nn.functional.pad(t, (0, 0, 0, longest - len(t))) for t in rows])
        mask = torch.tensor([[t < len(r) for t in range(longest)] for r in rows])
        found = position_divergence(padded, mask)
        expected += [found[: len(t)] for t in rows]
    assert lengths == [len(t) for t in tables]
    ours = group_divergence(policy, part.clips)
    torch.testing.assert_close(ours, torch.cat(expected), rtol=1e-4, atol=1e-6)
    assert rl.loss(part).loss.requires_grad
