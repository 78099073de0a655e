"""Runs that train adapters over weights in four bits: what learns and is written, resuming, the reference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file

from learn_world import digits, sft_table, tiny_policy, write_dataset
from test_learn_adapters import table as adapters_table
from tolman.learn import train as training
from tolman.learn.batching import frozen_log_probs
from tolman.learn.checkpoint import bit_sums
from tolman.learn.corpus import load_corpus
from tolman.learn.engines.ray_workers import RolloutWorker, Weights, learned_weights, pieces_of
from tolman.learn.recipe import apply_overrides, parse_recipe
from tolman.learn.rl import Rl
from tolman.learn.sections import Model
from tolman.learn.train import train
from tolman.policy.adapters import adapter_weights, merged_weights, without_adapters
from tolman.policy.load import save_policy
from tolman.policy.policy import Policy
from tolman.policy.quantised import quantise, scales
from tolman.reward.registry import REWARDS

pytest.importorskip("bitsandbytes")
pytest.importorskip("peft")
QLORA = ["model.train=text", "model.lora_rank=4", "model.quantise=nf4"]
IDS = torch.arange(5, 25)[None]


class Killed(Exception):
    pass


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("data"))


@pytest.fixture(autouse=True)
def earnable(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reward that a fresh policy sometimes earns."""
    monkeypatch.setitem(REWARDS, "digits", lambda: digits)


def table(data: Path, out: Path, kind: str, *overrides: str) -> dict[str, Any]:
    return adapters_table(data, out, kind, "model.quantise=nf4", *overrides)


def kill(row: dict[str, Any]) -> None:
    if row["step"] == 5:  # two steps after the checkpoint
        raise Killed


def unpacked(seed: int = 0) -> Policy:
    """A plain policy with the weights that the packed one multiplies by."""
    policy, source = tiny_policy(), tiny_policy(seed)
    quantise(source)
    policy.model.load_state_dict(merged_weights(source.model, source.model.state_dict()))
    return policy


@torch.no_grad()
def logits(model: Any) -> torch.Tensor:
    found: torch.Tensor = model(input_ids=IDS).logits
    return found


def test_only_adapters_learn_and_what_was_trained_is_written(data: Path, tmp_path: Path) -> None:
    """The final checkpoint in plain transformers; a second run over the unpacked weights ends the same."""
    policy, plain = tiny_policy(), unpacked()
    base = plain.model.state_dict()
    folder = train(parse_recipe(table(data, tmp_path / "a", "sft")), policy=policy)
    with without_adapters(policy.model):
        held = merged_weights(policy.model, policy.model.state_dict())
    assert all(torch.equal(weight, held[name]) for name, weight in base.items())
    own = adapter_weights(policy.model)
    stored = load_file(folder / "checkpoints" / "step-00000006" / "weights.policy.safetensors")
    assert stored.keys() == own.keys()
    model_class: Any = transformers.Qwen2_5_VLForConditionalGeneration
    final = model_class.from_pretrained(folder / "checkpoints" / "final", local_files_only=True).eval()
    torch.testing.assert_close(logits(final), logits(policy.model), rtol=1e-5, atol=1e-5)
    assert (logits(final) - logits(unpacked().model)).abs().max() > 1e-3
    train(parse_recipe(table(data, tmp_path / "b", "sft", "model.quantise=''")), policy=plain)
    for name, weight in adapter_weights(plain.model).items():
        torch.testing.assert_close(own[name], weight, rtol=1e-3, atol=1e-4)


def test_resumed_equals_uninterrupted(data: Path, tmp_path: Path) -> None:
    """RL with a KL term, several updates a batch and checkpointing."""
    given = ["model.lora_targets=['q_proj', 'up_proj']", "sampling.epochs=2"]
    given += ["model.gradient_checkpointing=true"]
    expected, resumed = tiny_policy(), tiny_policy()
    straight = train(parse_recipe(table(data, tmp_path / "a", "rl", *given)), policy=expected)
    recipe = parse_recipe(table(data, tmp_path / "b", "rl", *given))
    with pytest.raises(Killed):
        train(recipe, policy=tiny_policy(), progress=kill)
    folder = train(recipe, policy=resumed, resume=True)
    ours, theirs = adapter_weights(resumed.model), adapter_weights(expected.model)
    assert len(ours) == 2 * 2 * 2
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    files = list(straight.glob("checkpoints/*/*.safetensors"))
    assert len(files) == 5
    for file in files:
        assert file.read_bytes() == (folder / file.relative_to(straight)).read_bytes(), file


def test_a_run_does_not_go_on_over_other_scales(data: Path, tmp_path: Path) -> None:
    """Twice the weights are the same four bits."""
    double = tiny_policy()
    with torch.no_grad():
        for name, weight in double.model.named_parameters():
            if name.endswith("_proj.weight") and ".language_model." in name:
                weight.mul_(2)
    recipe = parse_recipe(table(data, tmp_path, "sft"))
    with pytest.raises(Killed):
        train(recipe, policy=tiny_policy(), progress=kill)
    with pytest.raises(ValueError, match="holds adapters of other weights"):
        train(recipe, policy=double, resume=True)


def test_the_reference_is_the_packed_base(data: Path, tmp_path: Path) -> None:
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
    torch.testing.assert_close(found, frozen_log_probs(unpacked(), part.clips), rtol=1e-5, atol=1e-5)
    assert (found - frozen_log_probs(tiny_policy(), part.clips)).abs().max() > 1e-4


def test_a_rollout_worker_packs_as_the_learner_does(tmp_path: Path) -> None:
    learner = tiny_policy()
    save_policy(learner, tmp_path / "policy")
    settings = Model(str(tmp_path / "policy"), "map", train="text", lora_rank=4, quantise="nf4")
    recipe = parse_recipe(table(tmp_path, tmp_path, "rl"))
    training._choose_what_learns(recipe, learner)
    for weight in adapter_weights(learner.model).values():
        weight.add_(0.1)
    frozen = [weight for weight in learner.model.parameters() if not weight.requires_grad]
    told = Weights(0, bit_sums(frozen + scales(learner.model)))
    worker = RolloutWorker(settings, "cpu")
    worker.take(told, *pieces_of(learned_weights(learner)))
    assert worker.policy is not None
    assert torch.equal(logits(worker.policy.model), logits(learner.model))
    without_scales = Weights(0, bit_sums(frozen))
    with pytest.raises(ValueError, match="found other weights"):
        RolloutWorker(settings, "cpu").take(without_scales, *pieces_of(learned_weights(learner)))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["model.quantise=nf4"], "what is in four bits cannot learn and model.lora_rank is 0"),
        ([*QLORA, "model.mixed=true"], r"model.mixed does not reach products with four-bit weights"),
        ([*QLORA, "model.quantise=fp4"], r"model.quantise is 'fp4'; valid choices: , nf4"),
        ([*QLORA, "distributed.shard=full"], "cannot split a policy with adapters"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, overrides: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_recipe(apply_overrides(sft_table(tmp_path, tmp_path), overrides))


def test_bitsandbytes_is_asked_for_before_anything_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tolman.policy.quantised.find_spec", lambda name: None)
    recipe = parse_recipe(table(tmp_path / "no data", tmp_path / "out", "sft"))  # nor is there a model
    with pytest.raises(ValueError, match="need bitsandbytes: pip install"):
        train(recipe)
    assert not (tmp_path / "out").exists()
