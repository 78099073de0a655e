"""Two-pass samples: what they earn, and that only the policy's own tokens are learnt, in both passes."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from learn_world import question_row, rl_table, tiny_policy, write_dataset
from policy_tiny import needs_right_positions
from tolman.learn import review as module
from tolman.learn.corpus import draw, load_corpus
from tolman.learn.processes import Processes
from tolman.learn.recipe import apply_overrides, parse_recipe
from tolman.learn.review import (
    SUFFICIENCY,
    Look,
    Review,
    Reviewed,
    join,
    read_segment,
    segment_of,
    whole_text,
)
from tolman.learn.rollout import Sampled
from tolman.learn.train import train
from tolman.policy.generate import Sample
from tolman.policy.policy import Policy
from tolman.policy.tree import TokenTree
from tolman.questions.question import Question
from tolman.reward.graded import Graded
from tolman.reward.registry import REWARDS
from tolman.reward.structured import SpanText

CLOCK = ("seconds", "samples_per_second", "tokens_per_second")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clips of 6 frames, 4 a second: the last one is shown at 1.25 s."""
    return write_dataset(tmp_path_factory.mktemp("data"), clips=3, questions=2)


@pytest.fixture
def asks(monkeypatch: pytest.MonkeyPatch) -> None:
    """What no fresh policy does: completions ask for a part, or for one that is not there, or for none, by
    their tokens. And a reward that it sometimes earns: the share of digits."""

    def segment(sample: Sample) -> SpanText:
        spans = [(0.25, 0.75), (9.0, 10.0), None]
        return SpanText(spans[sum(sample.token_ids) % 3], "does not ask")

    exact = REWARDS["accuracy"]()

    def digits(completion: str, question: Question) -> Graded:
        if "<answer>" in completion:  # gold answers, checked before a run
            return exact(completion, question)
        return Graded(sum(c.isdigit() for c in completion) / max(len(completion), 1), "share of digits")

    monkeypatch.setattr(module, "segment_of", segment)
    monkeypatch.setitem(REWARDS, "accuracy", lambda: digits)


def table(data: Path, out: Path, *overrides: str, **run: Any) -> dict[str, Any]:
    made = rl_table(data, out, **run) | {
        "objective": {"name": "review", "options": {"frames": 3}},
        "rewards": [{"name": "accuracy", "weight": 0.6}],
        "loss": {"name": "policy_gradient", "normalise": "tokens"},
    }
    made["model"] = made["model"] | {"template": "review"}
    return apply_overrides(made, overrides)


def objective(data: Path, out: Path, policy: Policy, *overrides: str) -> Review:
    recipe = parse_recipe(table(data, out, *overrides))
    return Review(recipe, policy, load_corpus(recipe.data))


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("<think>Hm.</think><review>[3.2, 7.5]</review>", (3.2, 7.5)),
        ("<review>from 0:03 to 0:07</review>", (3, 7)),
        ("<think>a</think><review>[1, 2]</review> or <review>[3, 4]</review>", (3, 4)),
        ("<think><review>[1, 2]</review></think> so", None),
        ("<think><review>[1, 2]</review>", None),
        ("<review>[1, 2, 3]</review>", None),
        ("<review>[2, 1]</review>", None),
        ("<review>[1, 2]", None),
        ("</review><review>", None),
        ("", None),
    ],
)
def test_the_part_that_is_asked_for(text: str, span: tuple[float, float] | None) -> None:
    found = read_segment(text)
    assert found.span == span
    assert bool(found.reason) == (span is None)


def test_a_pass_that_is_cut_off_asks_for_nothing() -> None:
    text = "<review>[1, 2]</review>"
    assert segment_of(Sample((1,), text, torch.zeros(1), True)).span == (1, 2)
    assert segment_of(Sample((1,), text, torch.zeros(1), False)).span is None


def two_passes(
    first: str, last: str, alone: str, segment: tuple[float, float] | None = (1.0, 2.5)
) -> Reviewed:
    one = Sample((5, 6, 2), first, torch.tensor([-1.0, -2.0, -3.0]), True)
    look = Look((0, 0, 0), one, segment, "" if segment else "does not ask", None)
    if segment is None:
        return join(look)
    return join(look, Sample((7, 2), last, torch.tensor([-4.0, -5.0]), False), alone)


def test_both_passes_make_one_sample() -> None:
    both = two_passes("look", "<answer>3</answer>", "")
    assert both.token_ids == (5, 6, 2, 7, 2)
    assert both.log_probs.tolist() == [-1, -2, -3, -4, -5]
    assert (both.first, both.finished, both.text) == (3, False, "<answer>3</answer>")
    assert whole_text(both) == "look\n[shown again: 1 to 2.5 s]\n<answer>3</answer>"
    alone = two_passes("<answer>3</answer>", "", "", None)
    assert (alone.token_ids, alone.first, alone.text) == ((5, 6, 2), 3, "<answer>3</answer>")
    assert whole_text(alone) == "<answer>3</answer>"


def test_what_samples_earn(data: Path, tmp_path: Path) -> None:
    review = objective(data, tmp_path, tiny_policy())
    right, wrong, ask = "<answer>3</answer>", "<answer>1000</answer>", "<review>[1, 2.5]</review>"
    samples = [
        two_passes(ask, right, right),  # 0.6 + 0.3
        two_passes(ask, right, wrong),  # 0.6
        two_passes(ask, wrong, right),  # 0.3
        two_passes(right, "", "", None),  # 0.6: graded as it stands
        two_passes("<review>[0, 99]</review>", right, right, (0.0, 99.0)),  # the whole clip is a part, too
    ]
    asked = Question.from_row(question_row("1", "clips/0.mp4", 3))
    graded = review._verdict(Sampled(asked, samples))
    assert graded.group.rewards_G.tolist() == pytest.approx([0.9, 0.6, 0.3, 0.6, 0.9])
    assert graded.group.parts[SUFFICIENCY].tolist() == pytest.approx([0.3, 0, 0.3, 0, 0.3])
    assert [grading.total for grading in graded.gradings] == pytest.approx([0.9, 0.6, 0.3, 0.6, 0.9])
    assert [grading.parts["reviewed"].value for grading in graded.gradings] == [1, 1, 1, 0, 1]
    assert graded.gradings[3].parts[SUFFICIENCY].reason == "does not ask"
    assert right in graded.gradings[0].parts[SUFFICIENCY].reason
    assert graded.sampled.samples[0].text.startswith(ask)
    unknown = Question.from_row(question_row("1", "clips/0.mp4", 3) | {"problem_type": "haiku"})
    ungraded = review._verdict(Sampled(unknown, samples))
    assert np.isnan(ungraded.group.rewards_G).all()
    assert all(math.isnan(grading.total) for grading in ungraded.gradings)


def test_parts_may_earn_nothing_and_have_the_frames_of_the_whole(data: Path, tmp_path: Path) -> None:
    plain = ["objective.options.sufficiency=0", "objective.options.frames=0"]
    review = objective(data, tmp_path, tiny_policy(), *plain)
    clips, _ = review.reader.read(draw(review.corpus.training, 0, 0, 1, 1))
    # the policy's four frames, in pairs
    assert review._part(clips[0], (0.0, 1.25)).grid_thw.tolist() == [2, 4, 4]
    asked = Question.from_row(question_row("1", "clips/0.mp4", 3))
    right, wrong = "<answer>3</answer>", "<answer>1000</answer>"
    graded = review._verdict(Sampled(asked, [two_passes("", right, wrong), two_passes("", wrong, right)]))
    assert graded.group.rewards_G.tolist() == pytest.approx([0.6, 0.0])


def way(tree: TokenTree, node: int) -> list[int]:
    """Nodes from the root."""
    path: list[int] = []
    at: int | None = node
    while at is not None:
        path.insert(0, at)
        at = tree.nodes[at].parent
    return path


@needs_right_positions
def test_only_the_policys_tokens_are_learnt_in_both_passes(data: Path, tmp_path: Path, asks: None) -> None:
    policy = tiny_policy()
    review = objective(data, tmp_path, policy)
    batch = review.batch(0)
    [part] = batch.parts
    output = review.loss(part)
    output.loss.backward()
    ours = {name: p.grad.clone() for name, p in policy.model.named_parameters() if p.grad is not None}
    assert any(name.startswith("model.visual") for name in ours)
    policy.model.zero_grad()
    policy.model.set_attn_implementation("sdpa")
    total, tokens, passes = torch.zeros(()), 0, []
    for clip in part.clips:
        nodes = clip.tree.nodes
        trained = dict(zip(clip.completion_nodes, clip.advantages, strict=True))
        inner = {parent for node in trained for parent in way(clip.tree, node)[:-1]}
        for leaf in [node for node in trained if node not in inner]:  # a row of its own for each sample
            path = way(clip.tree, leaf)
            ids = torch.tensor([[token for node in path for token in nodes[node].token_ids]])
            shown = [nodes[node].clip for node in path if nodes[node].clip is not None]
            is_placeholder = ids == policy.video_tokens.video_token_id
            assert int(is_placeholder.sum()) == sum(int(one.grid_thw.prod()) // 4 for one in shown)
            logits = policy.model(
                input_ids=ids, attention_mask=torch.ones_like(ids),
                pixel_values_videos=torch.cat([one.pixels for one in shown]),
                video_grid_thw=torch.stack([one.grid_thw for one in shown]),
                second_per_grid_ts=torch.tensor([one.seconds_per_grid for one in shown]),
                mm_token_type_ids=2 * is_placeholder.long(),
            ).logits[0]  # fmt: skip
            log_probs = logits[:-1].log_softmax(-1).gather(1, ids[0, 1:, None])[:, 0]
            weights = [w for node in path for w in trained.get(node, [0.0] * len(nodes[node].token_ids))]
            total = total - (torch.exp(log_probs - log_probs.detach()) * torch.tensor(weights[1:])).sum()
            tokens += sum(len(nodes[node].token_ids) for node in path if node in trained)
            passes.append(len(shown))
    assert sorted(set(passes)) == [1, 2]
    assert tokens == output.tokens
    expected = total / sum(row["tokens"] for row in batch.rows)  # groups without a preference count, too
    expected.backward()
    torch.testing.assert_close(output.loss, expected, rtol=1e-5, atol=1e-6)
    for name, gradient in ours.items():
        theirs = policy.model.get_parameter(name).grad
        torch.testing.assert_close(
            gradient, theirs, rtol=1e-4, atol=1e-6, msg=lambda text, name=name: f"{name}: {text}"
        )


def test_a_sample_is_a_completion_a_part_and_a_completion(data: Path, tmp_path: Path, asks: None) -> None:
    review = objective(data, tmp_path, tiny_policy())
    batch = review.batch(0)
    trained = {row["problem_id"] for row in batch.rows if row["advantage"]}  # groups with a preference
    shown = [row for row in batch.rows if "[shown again: 0.25 to 0.75 s]" in row["completion"]]
    seen = 0
    for clip in batch.parts[0].clips:
        nodes = clip.tree.nodes
        for node, advantages in zip(clip.completion_nodes, clip.advantages, strict=True):
            parent = nodes[node].parent
            assert parent is not None
            if parent in clip.question_nodes:
                continue
            between, first = nodes[parent], nodes[parent].parent
            assert first in clip.completion_nodes
            assert between.clip is not None
            assert int(between.clip.grid_thw[0]) == 2  # three frames, 0.25 to 0.75 s, in pairs
            # at their times in the whole clip
            assert between.clip.step_seconds == pytest.approx((0.375, 0.75))
            text = review.policy.tokenizer.decode(between.token_ids)
            assert text.startswith("\n<|im_start|>user\n<|vision_start|>")
            assert text.endswith(
                "only the number, as in <answer>3.1</answer>.<|im_end|>\n<|im_start|>assistant\n"
            )
            assert set(advantages) == set(clip.advantages[clip.completion_nodes.index(first)])
            seen += 1
    assert seen == sum(row["problem_id"] in trained for row in shown) > 0
    reasons = {row["rewards"]["reviewed"]["reason"] for row in batch.rows}
    assert {"", "does not ask"} < reasons
    assert any("over after 1.25 s" in reason for reason in reasons)
    assert batch.metrics["reward/reviewed"] == pytest.approx(len(shown) / len(batch.rows))


def test_a_process_samples_its_clips_as_one_alone_would(
    data: Path, tmp_path: Path, asks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    review = objective(data, tmp_path, tiny_policy())
    clips, _ = review.reader.read(draw(review.corpus.training, 0, 0, 3, 2))
    alone = review._grade(clips, 0)

    class Second(Processes):
        """Two processes seen from one that has the middle one of three clips; each clip has two questions."""

        def in_order(self, placed: Iterable[tuple[int, Any]]) -> list[Any]:
            own = dict(placed)
            return [own.get(place, 2) for place in range(3)]

    for name in ("tolman.learn.batching.current", "tolman.learn.review.current"):
        monkeypatch.setattr(name, lambda: Second(1, 2))
    found = review._grade([clips[1]], 0)[1]
    assert any(sample.segment is not None for group in found for sample in group.sampled.samples)
    for ours, theirs in zip(found, alone[1], strict=True):
        pairs = zip(ours.sampled.samples, theirs.sampled.samples, strict=True)
        assert all((one.token_ids, one.text) == (other.token_ids, other.text) for one, other in pairs)
        assert ours.group.rewards_G.tolist() == theirs.group.rewards_G.tolist()


def test_resumed_equals_uninterrupted(data: Path, tmp_path: Path, asks: None) -> None:
    def rows(folder: Path) -> list[str]:
        return (folder / "rollouts.jsonl").read_text().splitlines()

    whole = train(
        parse_recipe(table(data, tmp_path / "a", steps=4, checkpoint_every=2)), policy=tiny_policy()
    )
    assert any("[shown again" in row for row in rows(whole))
    made = table(data, tmp_path / "b", steps=4, checkpoint_every=2)
    with pytest.raises(KeyboardInterrupt):
        train(parse_recipe(made), policy=tiny_policy(), progress=interrupt_at(3))
    again = train(parse_recipe(made), policy=tiny_policy(), resume=True)
    assert rows(again) == rows(whole)
    weights = "checkpoints/final/model.safetensors"
    assert (again / weights).read_bytes() == (whole / weights).read_bytes()


def interrupt_at(step: int) -> Any:
    def progress(row: dict[str, Any]) -> None:
        if row["step"] == step:
            raise KeyboardInterrupt

    return progress


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.template=think", "model.template 'review'"),
        ("loss.normalise=sequences", "two samples"),
        ('advantage={name="order_weighted", options={of=["accuracy"], shuffled=2}}', "shuffled"),
        ('advantage={name="view_consistent", options={of=["accuracy"]}}', "mirrored"),
        ('rewards=[{name="format"}]', "the reward 'accuracy'"),
        ("objective.options.sufficiency=-0.1", "negative"),
    ],
)
def test_what_would_be_ignored_is_refused(data: Path, tmp_path: Path, override: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        objective(data, tmp_path, tiny_policy(), override)
