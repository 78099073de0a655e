"""The training loop on a tiny policy: it learns, resumes bit for bit, and skips what cannot be read."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import tolman
from learn_world import rl_table, sft_table, tiny_policy, write_dataset
from tolman.learn.batching import Reader, flat_log_probs, tree_scores_of
from tolman.learn.corpus import load_corpus
from tolman.learn.optim import choose_trained
from tolman.learn.recipe import apply_overrides, load_recipe, parse_recipe
from tolman.learn.rl import Rl
from tolman.learn.sft import Sft
from tolman.learn.train import train
from tolman.policy.load import load_policy
from tolman.policy.logprobs import tree_log_probs
from tolman.policy.policy import Policy
from tolman.policy.tree import TokenTree, pack
from tolman.questions.question import Question
from tolman.reward.graded import Graded
from tolman.reward.registry import REWARDS

CLOCK = ("seconds", "samples_per_second", "tokens_per_second")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("data"))


@pytest.fixture
def digits(monkeypatch: pytest.MonkeyPatch) -> str:
    """A reward that a fresh policy sometimes earns: the share of digits in the text."""

    def grade(completion: str, question: Question) -> Graded:
        return Graded(sum(c.isdigit() for c in completion) / max(len(completion), 1), "share of digits")

    monkeypatch.setitem(REWARDS, "digits", lambda: grade)
    return "digits"


def rows(folder: Path, name: str) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (folder / name).read_text().splitlines()]
    return [{key: value for key, value in row.items() if key not in CLOCK} for row in found]


def same_weights(one: Policy, other: Policy) -> bool:
    states = zip(one.model.state_dict().values(), other.model.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in states)


def run(table: dict[str, Any], **options: Any) -> tuple[Path, Policy]:
    policy = tiny_policy()
    return train(parse_recipe(table), policy=policy, **options), policy


def test_sft_learns_and_its_final_policy_loads(data: Path, tmp_path: Path) -> None:
    folder, policy = run(sft_table(data, tmp_path, steps=25, checkpoint_every=25))
    metrics = rows(folder, "metrics.jsonl")
    assert [row["step"] for row in metrics] == list(range(1, 26))
    assert metrics[0]["loss"] == pytest.approx(5.8, abs=0.3)  # ln 320 = 5.77: it begins by guessing
    assert metrics[-1]["loss"] < 3.5
    assert same_weights(load_policy(folder / "checkpoints" / "final"), policy)
    assert load_recipe(folder / "recipe.toml") == parse_recipe(
        sft_table(data, tmp_path, steps=25, checkpoint_every=25)
    )


def test_tree_loss_equals_one_row_per_answer(data: Path, tmp_path: Path) -> None:
    policy = tiny_policy()
    recipe = parse_recipe(sft_table(data, tmp_path))
    objective = Sft(recipe, policy, load_corpus(recipe.data))
    batch = objective.batch(0)
    loss = objective.loss(batch.parts[0]).loss
    loss.backward()
    grads = [p.grad.clone() for p in policy.model.parameters()]
    policy.model.zero_grad()
    total, tokens = torch.zeros(()), 0
    for clip in batch.parts[0].clips:
        for prompt, node in zip(clip.prompts, clip.completion_nodes, strict=True):
            tree = TokenTree()
            root = tree.add(prompt.clip_ids + prompt.question_ids, clip=prompt.clip)
            leaf = tree.add(clip.tree.nodes[node].token_ids, root)
            packed = pack([tree], policy.pad_id, policy.video_tokens)
            [log_probs] = tree_log_probs(policy.model, packed, [(0, leaf)])
            total, tokens = total - log_probs.sum(), tokens + len(log_probs)
    (total / tokens).backward()
    torch.testing.assert_close(loss, total / tokens, rtol=1e-5, atol=1e-6)
    for ours, parameter in zip(grads, policy.model.parameters(), strict=True):
        torch.testing.assert_close(ours, parameter.grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", ["sft", "rl"])
def test_micro_batches_change_no_gradient(data: Path, tmp_path: Path, digits: str, kind: str) -> None:
    table = (sft_table if kind == "sft" else rl_table)(data, tmp_path)
    if kind == "rl":
        table["rewards"] = [{"name": digits}]
    gradients = []
    for size in (0, 1):
        policy = tiny_policy()
        recipe = parse_recipe(apply_overrides(table, [f"batch.micro_clips={size}", "batch.clips=3"]))
        objective = (Sft if kind == "sft" else Rl)(recipe, policy, load_corpus(recipe.data))
        batch = objective.batch(0)
        assert len(batch.parts) == (3 if size else 1)
        for part in batch.parts:
            objective.loss(part).loss.backward()
        gradients.append([p.grad.clone() for p in policy.model.parameters()])
    for whole, split in zip(*gradients, strict=True):
        torch.testing.assert_close(split, whole, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("kind", ["sft", "rl"])
def test_resumed_equals_uninterrupted(data: Path, tmp_path: Path, digits: str, kind: str) -> None:
    table = sft_table if kind == "sft" else rl_table
    extra = {"rewards": [{"name": digits}]} if kind == "rl" else {}
    straight, expected = run(table(data, tmp_path / "straight") | extra)

    class Killed(Exception):
        pass

    def kill(row: dict[str, Any]) -> None:
        if row["step"] == 5:  # two steps after the checkpoint
            raise Killed

    broken = table(data, tmp_path / "broken") | extra
    with pytest.raises(Killed):
        run(broken, progress=kill)
    folder, resumed = run(broken, resume=True)
    assert same_weights(resumed, expected)
    for name in ("metrics.jsonl", "rollouts.jsonl", "skipped.jsonl"):
        assert rows(folder, name) == rows(straight, name)
    assert len(rows(folder, "metrics.jsonl")) == 6
    assert len(rows(folder, "rollouts.jsonl")) == (6 * 2 * 2 * 4 if kind == "rl" else 0)


def test_resume_after_a_real_kill(data: Path, tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from learn_world import sft_table, tiny_policy\n"
        "from tolman.learn.recipe import parse_recipe; from tolman.learn.train import train\n"
        "def kill(row):\n    if row['step'] == 4: os.kill(os.getpid(), signal.SIGKILL)\n"
        "recipe = parse_recipe(sft_table(Path(sys.argv[1]), Path(sys.argv[2])))\n"
        "train(recipe, policy=tiny_policy(), progress=kill)"
    )
    places = [str(Path(__file__).parent), str(Path(tolman.__file__).parents[1])]
    killed = subprocess.run(
        [sys.executable, "-c", code, data, tmp_path / "killed"],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(places)},
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    _, resumed = run(sft_table(data, tmp_path / "killed"), resume=True)
    _, expected = run(sft_table(data, tmp_path / "straight"))
    assert same_weights(resumed, expected)


def test_rl_improves_its_reward(data: Path, tmp_path: Path, digits: str) -> None:
    table = rl_table(data, tmp_path, steps=40, checkpoint_every=40) | {
        "rewards": [{"name": digits}, {"name": "format", "weight": 0.0}],
        "loss": {"name": "policy_gradient", "normalise": "tokens"},
        "optimiser": {"lr": 1e-2},
        "sampling": {"group": 8, "max_new_tokens": 12},
    }
    folder, _ = run(table)
    metrics = rows(folder, "metrics.jsonl")
    first, last = (sum(row["reward"] for row in part) / 5 for part in (metrics[:5], metrics[-5:]))
    assert last > first + 0.2
    row = rows(folder, "rollouts.jsonl")[0]
    assert row["step"] == 1
    assert row["rewards"]["digits"]["reason"] == "share of digits"
    assert {"problem_id", "completion", "advantage", "reward", "map", "path"} <= row.keys()


def test_groups_without_a_preference_are_counted_and_skip_the_backward(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(REWARDS, "same", lambda: lambda completion, question: Graded(0.5, "always"))
    table = rl_table(data, tmp_path) | {"rewards": [{"name": "same"}]}
    table["loss"] = {"name": "policy_gradient", "normalise": "sequences"}
    folder, policy = run(table)
    assert {row["zero_signal"] for row in rows(folder, "metrics.jsonl")} == {1.0}
    assert {row["tokens"] for row in rows(folder, "metrics.jsonl")} == {0}
    assert same_weights(policy, tiny_policy())
    recipe = parse_recipe(
        table | {"loss": {"name": "policy_gradient", "normalise": "sequences", "beta": 0.1}}
    )
    objective = Rl(recipe, tiny_policy(), load_corpus(recipe.data))
    assert len(objective.batch(0).parts) == 1  # the KL term still has a gradient


def test_ungraded_completions_are_never_trained_on(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def grade(completion: str, question: Question) -> Graded:
        return Graded(float("nan") if completion[:1] > "a" else float(len(completion)), "")

    monkeypatch.setitem(REWARDS, "odd", lambda: grade)
    recipe = parse_recipe(rl_table(data, tmp_path) | {"rewards": [{"name": "odd"}]})
    objective = Rl(recipe, tiny_policy(), load_corpus(recipe.data))
    batch = objective.batch(0)
    ungraded = sum(row["reward"] != row["reward"] for row in batch.rows)
    assert 0 < ungraded == batch.metrics["ungraded"]
    leaves = sum(len(clip.completion_nodes) for part in batch.parts for clip in part.clips)
    assert leaves == len(batch.rows) - ungraded
    assert batch.parts[0].count.completions == leaves


def test_a_frozen_tower_runs_once_and_changes_nothing(data: Path, tmp_path: Path, digits: str) -> None:
    table = rl_table(data, tmp_path) | {"rewards": [{"name": digits}]}
    losses, gradients = [], []
    for frozen in (False, True):
        policy = tiny_policy()
        recipe = parse_recipe(table)
        objective = Rl(recipe, policy, load_corpus(recipe.data))
        part = objective.batch(0).parts[0]
        if frozen:
            choose_trained(policy.model, "text")
        loss = objective.loss(part).loss
        loss.backward()
        losses.append(loss)
        gradients.append([p.grad for name, p in policy.model.named_parameters() if "visual" not in name])
        tower = [p.grad is None for name, p in policy.model.named_parameters() if "visual" in name]
        assert set(tower) == {frozen}
    torch.testing.assert_close(losses[1], losses[0])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7)


def test_gradient_checkpointing_changes_nothing(data: Path, tmp_path: Path) -> None:
    table = sft_table(data, tmp_path, steps=2)
    _, plain = run(table)
    table["run"]["name"] = "other"
    _, saving = run(apply_overrides(table, ["model.gradient_checkpointing=true"]))
    assert any(getattr(module, "gradient_checkpointing", False) for module in saving.model.modules())
    assert same_weights(plain, saving)


def test_reference_is_the_initial_policy(data: Path, tmp_path: Path, digits: str) -> None:
    policy = tiny_policy()
    recipe = parse_recipe(rl_table(data, tmp_path) | {"rewards": [{"name": digits}]})
    objective = Rl(recipe, policy, load_corpus(recipe.data))
    part = objective.batch(0).parts[0]
    assert objective.loss(part).metrics["kl"] == 0.0
    with torch.no_grad():
        for parameter in policy.model.parameters():
            parameter.mul_(1.1)
    assert objective.loss(part).metrics["kl"] > 0
    assert objective.reference is not None
    fresh = tiny_policy()
    assert same_weights(objective.reference.policy, fresh)
    ours = flat_log_probs(tree_scores_of(objective.reference.policy, part.clips))
    torch.testing.assert_close(ours, flat_log_probs(tree_scores_of(fresh, part.clips)))


def test_shuffled_frames_reach_the_temporal_bonus(data: Path, tmp_path: Path, digits: str) -> None:
    bonus = {"name": "temporal", "options": {"of": [digits], "shuffled": 2, "ratio": 0.0, "threshold": -1.0}}
    table = rl_table(data, tmp_path) | {"rewards": [{"name": digits}], "bonuses": [bonus]}
    recipe = parse_recipe(table)
    objective = Rl(recipe, tiny_policy(), load_corpus(recipe.data))
    batch = objective.batch(0)
    assert {row["bonus"] for row in batch.rows} == {0.3}  # ratio 0 and threshold -1: everyone earns it
    clip = batch.parts[0].clips[0]
    order = np.random.default_rng(2).permutation(objective.reader.frame_count(clip))
    shuffled = objective.reader.shuffled_prompts(clip, order)
    assert shuffled[0].clip_ids == clip.prompts[0].clip_ids
    assert not torch.equal(shuffled[0].clip.pixels, clip.prompts[0].clip.pixels)
    assert shuffled[0].clip.seconds_per_grid == clip.prompts[0].clip.seconds_per_grid


def test_unreadable_clips_are_dropped_and_listed(tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "data")
    (data / "clips" / "2.mp4").write_bytes(b"not a video")
    folder, _ = run(sft_table(data, tmp_path, max_skipped=0.2))
    skipped = rows(folder, "skipped.jsonl")
    assert {row["path"] for row in skipped} == {str(data / "clips" / "2.mp4")}
    assert all(row["reason"] for row in skipped)
    metrics = rows(folder, "metrics.jsonl")
    assert sum(row["skipped"] for row in metrics) == len(skipped) > 0
    assert {row["samples"] for row in metrics if row["skipped"]} == {2}


def test_too_many_unreadable_clips_stop_the_run(tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "data")
    (data / "clips" / "2.mp4").unlink()
    with pytest.raises(ValueError, match=r"1 clips cannot be read, 0 are allowed.*2.mp4.*skipped.jsonl"):
        run(sft_table(data, tmp_path))
    assert rows(tmp_path / "tiny", "skipped.jsonl")


def test_a_loss_that_is_not_finite_stops_the_run(data: Path, tmp_path: Path) -> None:
    policy = tiny_policy()
    with torch.no_grad():
        policy.model.model.language_model.norm.weight.fill_(float("nan"))
    with pytest.raises(ValueError, match=r"loss of step 1 is nan.*Lower optimiser.lr"):
        train(parse_recipe(sft_table(data, tmp_path)), policy=policy)


def test_answer_only_template_learns_the_answer_only(data: Path, tmp_path: Path) -> None:
    policy = tiny_policy()
    question = Question.from_row(json.loads((data / "questions.jsonl").read_text().splitlines()[0]))
    texts = {}
    for template in ("map", "direct"):
        recipe = parse_recipe(apply_overrides(sft_table(data, tmp_path), [f"model.template={template}"]))
        reader = Reader(recipe, policy)
        texts[template] = policy.tokenizer.decode(reader.text_ids(reader.gold_text(question)))
    assert texts["direct"] == "<answer>1</answer><|im_end|>"
    assert texts["map"] == (
        '<think><map>{"chair": [[1, 2], [1, 7]], "table": [[3, 3]]}</map></think><answer>1</answer><|im_end|>'
    )
    with pytest.raises(
        ValueError, match=r"model.template is 'maps'; valid choices: direct, evidence, layout, map"
    ):
        Reader(parse_recipe(apply_overrides(sft_table(data, tmp_path), ["model.template=maps"])), policy)


def test_global_random_state_and_threads_are_left_alone(data: Path, tmp_path: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    threads = torch.get_num_threads()
    torch.manual_seed(5)
    run(sft_table(data, tmp_path, steps=2, threads=1))
    assert torch.equal(torch.rand(3), expected)
    assert torch.get_num_threads() == threads
