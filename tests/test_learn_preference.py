"""DPO and KTO over trees: what the rows say, and that sharing prompts changes nothing."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from learn_world import sft_table, tiny_policy, write_dataset
from tolman.learn.annotations import read_pair, read_turns, read_verdict
from tolman.learn.batching import ClipTree
from tolman.learn.corpus import load_corpus
from tolman.learn.loss.preference import dpo, kto
from tolman.learn.preference import Dpo, Kto
from tolman.learn.recipe import apply_overrides, parse_recipe
from tolman.learn.sft import Sft
from tolman.learn.train import train
from tolman.policy.logprobs import tree_log_probs
from tolman.policy.policy import Policy
from tolman.policy.tree import TokenTree, pack
from tolman.questions.question import Question

TURNS = [
    {"role": "assistant", "content": "Look closer."},
    {"role": "tool", "content": "chair"},
    {"role": "assistant", "content": "Again."},
    {"role": "user", "content": "How many?"},
    {"role": "assistant", "content": "<answer>3</answer>"},
]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows that carry a pair, a verdict and a conversation at once."""
    folder = write_dataset(tmp_path_factory.mktemp("data"), clips=3, questions=2)
    rows = [json.loads(line) for line in (folder / "questions.jsonl").read_text().splitlines()]
    for index, row in enumerate(rows):
        row |= {"chosen": f"<answer>{index}</answer>", "rejected": "Many, I think.", "turns": TURNS}
        row |= {"completion": f"Say {index}.", "label": index % 2 == 0}
    (folder / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def table(kind: str, data: Path, out: Path, **run: Any) -> dict[str, Any]:
    changes = {"objective": {"name": kind}, "loss": {"name": kind, "normalise": "sequences", "beta": 0.5}}
    return sft_table(data, out, **run) | changes


def shifted(policy: Policy) -> Policy:
    """The policy after something has been learnt."""
    with torch.no_grad():
        generator = torch.Generator().manual_seed(1)
        for weight in policy.model.parameters():
            weight.add_(0.05 * torch.randn(weight.shape, generator=generator))
    return policy


def flat_sums(policy: Policy, clips: list[ClipTree], completions: list[list[int]]) -> Tensor:
    """(C,) log-probability of each question's completions, one row each."""
    sums = []
    given = iter(completions)
    for clip in clips:
        for index in clip.groups:
            prompt, tree = clip.prompts[index], TokenTree()
            leaf = tree.add(next(given), tree.add(prompt.clip_ids + prompt.question_ids, clip=prompt.clip))
            packed = pack([tree], policy.pad_id, policy.video_tokens)
            sums.append(tree_log_probs(policy.model, packed, [(0, leaf)])[0].sum())
    return torch.stack(sums)


def leaves(clips: list[ClipTree]) -> list[list[int]]:
    return [list(clip.tree.nodes[node].token_ids) for clip in clips for node in clip.completion_nodes]


def grads(policy: Policy) -> list[Tensor]:
    found = [weight.grad.clone() for weight in policy.model.parameters()]
    policy.model.zero_grad()
    return found


def test_dpo_equals_one_row_per_completion(data: Path, tmp_path: Path) -> None:
    policy = tiny_policy()
    recipe = parse_recipe(apply_overrides(table("dpo", data, tmp_path), ["batch.micro_clips=1"]))
    objective = Dpo(recipe, policy, load_corpus(recipe.data))
    batch = objective.batch(0)
    assert (len(batch.parts), batch.samples) == (2, 8)
    start = [objective.loss(part) for part in batch.parts]
    assert sum(output.loss.item() for output in start) == pytest.approx(math.log(2), abs=1e-6)
    assert sum(output.metrics["accuracy"] for output in start) == 0.0
    shifted(policy)
    for part in batch.parts:
        objective.loss(part).loss.backward()
    ours = grads(policy)
    clips = [clip for part in batch.parts for clip in part.clips]
    own, reference = (flat_sums(p, clips, leaves(clips)) for p in (policy, tiny_policy()))
    dpo(own[0::2], own[1::2], reference[0::2], reference[1::2], 4, beta=0.5).loss.backward()
    for one, other in zip(ours, grads(policy), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_kto_equals_one_row_per_completion(data: Path, tmp_path: Path) -> None:
    policy = tiny_policy()
    recipe = parse_recipe(apply_overrides(table("kto", data, tmp_path), ["batch.micro_clips=1"]))
    objective = Kto(recipe, policy, load_corpus(recipe.data))
    shifted(policy)
    batch = objective.batch(0)
    for part in batch.parts:
        objective.loss(part).loss.backward()
    ours = grads(policy)
    clips = [clip for part in batch.parts for clip in part.clips]
    said = leaves(clips)
    others = [*said[1:], said[0]]
    fresh = tiny_policy()
    with torch.no_grad():
        gap = flat_sums(policy, clips, others) - flat_sums(fresh, clips, others)
    assert batch.metrics["kl"] == pytest.approx(max(0.0, float(gap.mean())), rel=1e-4, abs=1e-5)
    labels = [question.extra["label"] for clip in clips for question in clip.questions]
    own, reference = (flat_sums(p, clips, said) for p in (policy, fresh))
    kto(own, reference, torch.tensor(labels), batch.metrics["kl"], 4, beta=0.5).loss.backward()
    for one, other in zip(ours, grads(policy), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_dpo_prefers_what_it_is_told(data: Path, tmp_path: Path) -> None:
    recipe = parse_recipe(table("dpo", data, tmp_path, steps=5, checkpoint_every=5))
    folder = train(recipe, policy=tiny_policy())
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert rows[0]["loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert rows[-1]["loss"] < 0.6
    assert rows[-1]["accuracy"] == 1.0


def test_only_the_last_model_turns_are_learnt(data: Path, tmp_path: Path) -> None:
    policy = tiny_policy()
    decode = policy.tokenizer.decode

    def learnt(turns: int) -> tuple[list[str], str]:
        overrides = [f"objective.options.turns={turns}", "batch.questions_per_clip=1", "batch.clips=1"]
        recipe = parse_recipe(apply_overrides(sft_table(data, tmp_path), overrides))
        [part] = Sft(recipe, policy, load_corpus(recipe.data)).batch(0).parts
        [clip] = part.clips
        chain = "".join(decode(node.token_ids) for node in clip.tree.nodes[2:])
        return [decode(ids) for ids in leaves([clip])], chain

    end = "<|im_end|>"
    assert learnt(2)[0] == [f"Again.{end}", f"<answer>3</answer>{end}"]
    texts, chain = learnt(-1)
    assert texts == [f"Look closer.{end}", f"Again.{end}", f"<answer>3</answer>{end}"]
    turn = "<|im_start|>"
    assert chain == (
        f"Look closer.{end}\n{turn}user\n<tool_response>\nchair\n</tool_response>{end}\n{turn}assistant\n"
        f"Again.{end}\n{turn}user\nHow many?{end}\n{turn}assistant\n<answer>3</answer>{end}"
    )
    with pytest.raises(ValueError, match="must be -1"):
        learnt(-2)


def row(**extra: Any) -> Question:
    fields = {"problem_id": 7, "problem": "?", "problem_type": "free-form", "solution": "", "path": "a"}
    return Question.from_row(fields | extra)


@pytest.mark.parametrize(
    ("read", "extra", "message"),
    [
        (read_pair, {"chosen": "a"}, "question 7: `rejected` must be text, got None"),
        (read_pair, {"chosen": "a", "rejected": "a"}, "question 7: .* the same text"),
        (read_verdict, {"completion": "a"}, "question 7: `label` must be true or false, got None"),
        (read_verdict, {"completion": "a", "label": 1}, "`label` must be true or false, got 1"),
        (read_verdict, {"completion": 3, "label": True}, "`completion` must be text, got 3"),
        (read_turns, {}, "question 7: `turns` must be a list of turns, got None"),
        (read_turns, {"turns": TURNS[:2]}, "must end with a turn of the model, ends with 'tool'"),
        (read_turns, {"turns": TURNS[1:]}, r"`turns`\[0\] must have role assistant and content"),
        (
            read_turns,
            {"turns": [{"role": "assistant"}]},
            r"`turns`\[0\] must have role assistant and content",
        ),
    ],
)
def test_bad_rows_are_named(read: Any, extra: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read(row(**extra))


def test_rows_are_checked_before_training(tmp_path: Path) -> None:
    plain = write_dataset(tmp_path / "plain", clips=1, questions=1)
    for kind, key in (("dpo", "chosen"), ("kto", "label")):
        with pytest.raises(ValueError, match=f"question 0-0: `{key}`"):
            train(parse_recipe(table(kind, plain, tmp_path)), policy=tiny_policy())


def test_reasoning_of_video_r1s_rows_is_one_turn() -> None:
    asked = Question.from_row(
        {"problem_id": 7, "problem": "?", "problem_type": "OCR", "path": "a.mp4", "options": [],
         "process": "<think>It says so.</think>", "solution": "<answer>EXIT</answer>"}
    )  # fmt: skip
    assert read_turns(asked) == [("assistant", "<think>It says so.</think>\n<answer>EXIT</answer>")]
    with pytest.raises(ValueError, match="`turns` must be a list of turns, got None"):
        read_turns(replace(asked, extra={"process": " "}))
