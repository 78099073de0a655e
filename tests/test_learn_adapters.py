"""Runs that train adapters: nothing else moves, they resume to the same bits, the reference is the base."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from learn_world import digits, rl_table, sft_table, tiny_policy, write_dataset
from tolman.learn import train as training
from tolman.learn.batching import frozen_log_probs
from tolman.learn.corpus import load_corpus
from tolman.learn.recipe import apply_overrides, parse_recipe
from tolman.learn.rl import Rl
from tolman.learn.train import train
from tolman.policy.adapters import adapter_weights, without_adapters
from tolman.policy.load import load_policy
from tolman.policy.policy import Policy
from tolman.reward.registry import REWARDS

pytest.importorskip("peft")
LORA = ["model.train=text", "model.lora_rank=4"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("data"))


@pytest.fixture(autouse=True)
def earnable(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reward that a fresh policy sometimes earns."""
    monkeypatch.setitem(REWARDS, "digits", lambda: digits)


def table(data: Path, out: Path, kind: str, *overrides: str) -> dict[str, Any]:
    made = (rl_table if kind == "rl" else sft_table)(data, out)
    if kind == "rl":
        made["rewards"] = [{"name": "digits"}]
    return apply_overrides(made, [*LORA, *overrides])


def test_only_adapters_learn_and_the_merged_policy_is_written(data: Path, tmp_path: Path) -> None:
    policy, base = tiny_policy(), tiny_policy().model.state_dict()
    folder = train(parse_recipe(table(data, tmp_path, "sft")), policy=policy)
    with without_adapters(policy.model):
        assert all(torch.equal(base[name], value) for name, value in policy.model.state_dict().items())
    own = adapter_weights(policy.model)
    assert all(value.abs().max() > 0 for value in own.values())  # B begins at zero
    stored = load_file(folder / "checkpoints" / "step-00000006" / "weights.policy.safetensors")
    assert stored.keys() == own.keys()
    moments = load_file(folder / "checkpoints" / "step-00000006" / "optimiser.safetensors")
    assert sum(value.numel() for value in moments.values() if value.ndim) == 2 * sum(
        map(torch.numel, own.values())
    )
    merged = load_policy(folder / "checkpoints" / "final")
    ids = torch.arange(5, 25)[None]
    with torch.no_grad():
        ours, theirs = (model(input_ids=ids).logits for model in (policy.model, merged.model))
    torch.testing.assert_close(theirs, ours, rtol=1e-5, atol=1e-5)
    assert not torch.equal(
        merged.model.model.language_model.layers[0].mlp.up_proj.weight,
        base["model.language_model.layers.0.mlp.up_proj.weight"],
    )
    assert (folder / "checkpoints" / "final" / "adapter" / "adapter_config.json").is_file()


def test_resumed_equals_uninterrupted(data: Path, tmp_path: Path) -> None:
    """With a KL term, several updates a batch, checkpointing, and adapters on some matrices only."""
    given = [
        "model.lora_targets=['q_proj', 'up_proj']",
        "sampling.epochs=2",
        "model.gradient_checkpointing=true",
    ]

    class Killed(Exception):
        pass

    def kill(row: dict[str, Any]) -> None:
        if row["step"] == 5:  # two steps after the checkpoint
            raise Killed

    expected, resumed = tiny_policy(), tiny_policy()
    straight = train(parse_recipe(table(data, tmp_path / "a", "rl", *given)), policy=expected)
    recipe = parse_recipe(table(data, tmp_path / "b", "rl", *given))
    with pytest.raises(Killed):
        train(recipe, policy=tiny_policy(), progress=kill)
    folder = train(recipe, policy=resumed, resume=True)
    ours, theirs = adapter_weights(resumed.model), adapter_weights(expected.model)
    assert len(ours) == 2 * 2 * 2
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    for file in straight.glob("checkpoints/*/*.safetensors"):
        assert file.read_bytes() == (folder / file.relative_to(straight)).read_bytes(), file


def test_a_run_does_not_go_on_over_other_weights(data: Path, tmp_path: Path) -> None:
    class Killed(Exception):
        pass

    def kill(row: dict[str, Any]) -> None:
        if row["step"] == 4:
            raise Killed

    recipe = parse_recipe(table(data, tmp_path, "sft"))
    with pytest.raises(Killed):
        train(recipe, policy=tiny_policy(), progress=kill)
    with pytest.raises(ValueError, match="holds adapters of other weights"):
        train(recipe, policy=tiny_policy(seed=1), resume=True)


def test_the_reference_is_the_base_and_no_copy(data: Path, tmp_path: Path) -> None:
    policy = tiny_policy()
    recipe = parse_recipe(table(data, tmp_path, "rl", "loss.clamp=0.0"))
    training._choose_what_learns(recipe, policy)
    objective = Rl(recipe, policy, load_corpus(recipe.data))
    assert objective.reference is not None
    assert objective.reference.policy is policy
    [part] = objective.batch(0).parts
    assert objective.loss(part).metrics["kl"] == 0.0  # B is still zero
    for weight in adapter_weights(policy.model).values():
        weight.add_(0.1)
    found = objective.reference.log_probs(part.clips)
    assert torch.equal(found, frozen_log_probs(tiny_policy(), part.clips))
    own = frozen_log_probs(policy, part.clips)
    ratio = found - own
    output = objective.loss(part)
    lengths = [length for clip in part.clips for length in clip.lengths]
    terms = (ratio.exp() - ratio - 1).split(lengths)  # k3, averaged over tokens and then completions
    assert output.metrics["kl"] == pytest.approx(
        float(torch.stack([t.mean() for t in terms]).mean()), rel=1e-4
    )
    output.loss.backward()
    assert all(p.grad is not None for p in policy.model.parameters() if p.requires_grad)
    assert all(p.grad is None for p in policy.model.parameters() if not p.requires_grad)


def test_preferences_take_the_base_as_reference(data: Path, tmp_path: Path) -> None:
    """DPO begins at ln 2: policy and reference agree."""
    rows = (data / "questions.jsonl").read_text().splitlines()
    extra = '"chosen": "<answer>1</answer>", "rejected": "Many."'
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text("".join(f"{row[:-1]}, {extra}}}\n" for row in rows))
    settings = ["loss={name='dpo', normalise='sequences', beta=0.5}", "objective.name=dpo"]
    settings += [f"data.path={pairs}", f"data.clips={data}", "optimiser.warmup=0"]
    seen: list[dict[str, Any]] = []
    train(parse_recipe(table(data, tmp_path, "sft", *settings)), policy=tiny_policy(), progress=seen.append)
    assert seen[0]["loss"] == pytest.approx(0.693147, abs=1e-6)
    assert seen[-1]["loss"] < seen[0]["loss"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["model.lora_rank=4"], r"model.train is 'all', but adapters .* write 'text'"),
        (["model.lora_alpha=8"], r"model.lora_alpha is 8, but model.lora_rank is 0"),
        (["model.lora_targets=['q_proj']"], r"model.lora_targets is \('q_proj',\), but model.lora_rank is 0"),
        ([*LORA, "model.lora_targets=[]"], "names no matrix"),
        ([*LORA, "model.lora_targets=['q_proj', 'q_proj']"], "lists 'q_proj' twice"),
        ([*LORA, "model.lora_targets=['lm_head']"], r"is 'lm_head'; valid choices: q_proj, k_proj"),
        ([*LORA, "model.lora_dropout=0.1"], "model.lora_dropout is not a known key"),
        ([*LORA, "distributed.shard=full"], "cannot split a policy with adapters"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, overrides: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_recipe(apply_overrides(sft_table(tmp_path, tmp_path), overrides))


def test_peft_is_asked_for_before_anything_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tolman.policy.adapters.find_spec", lambda name: None)
    recipe = parse_recipe(table(tmp_path / "no data", tmp_path / "out", "sft"))  # nor is there a model
    with pytest.raises(ValueError, match="need PEFT: pip install"):
        train(recipe)
    assert not (tmp_path / "out").exists()


def test_a_policy_with_adapters_is_told_apart(tmp_path: Path, data: Path) -> None:
    """What a stage leaves in memory is not what the next one begins with: that loads the merged weights."""
    policy: Policy = tiny_policy()
    recipe = parse_recipe(table(data, tmp_path / "a", "sft", "run.steps=2"))
    train(recipe, policy=policy)
    other = parse_recipe(table(data, tmp_path / "b", "sft", "run.steps=2"))
    with pytest.raises(ValueError, match="has adapters already"):
        train(other, policy=policy)
