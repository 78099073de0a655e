"""The rollout interface: which engine a recipe gets, what the learner tells it, and a worker alone."""

from __future__ import annotations

import dataclasses
import inspect
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from learn_world import rl_table, sft_table, tiny_policy, write_dataset
from tolman.cli.main import main
from tolman.learn.checkpoint import bit_sums
from tolman.learn.corpus import draw, load_corpus
from tolman.learn.engines import options as engine_options
from tolman.learn.engines.engine import Engine, InProcess, make_engine
from tolman.learn.engines.ray_workers import (
    RolloutWorker,
    Weights,
    learned_weights,
    pieces_of,
    shares_of,
)
from tolman.learn.optim import choose_trained
from tolman.learn.recipe import apply_overrides, parse_recipe, parse_selection, recipe_to_toml
from tolman.learn.registry import ENGINES, EngineEntry
from tolman.learn.rl import Rl
from tolman.learn.run_folder import RunFolder
from tolman.learn.sections import Model, Recipe
from tolman.learn.selection import select
from tolman.learn.train import train
from tolman.policy.adapters import adapter_weights, add_adapters
from tolman.policy.generate import Sample, draw_uniforms, generate
from tolman.policy.load import load_policy, save_policy
from tolman.policy.policy import Policy
from tolman.policy.prompt import Prompt
from tolman.policy.sampling import Sampling
from tolman.policy.tree import ClipInput

SAMPLING = Sampling(temperature=0.9, top_p=0.95)
CLOCK = ("seconds", "samples_per_second", "tokens_per_second")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("data"), clips=3, questions=2)


def prompts_of(policy: Policy, data: Path) -> list[Prompt]:
    """Two prompts about each of two clips."""
    recipe = parse_recipe(rl_table(data, data))
    rl = Rl(recipe, policy, load_corpus(recipe.data))
    clips, _ = rl.reader.read(draw(rl.corpus.training, 0, 0, 2, 2))
    return [prompt for clip in clips for prompt in clip.prompts]


def same(one: list[list[Sample]], other: list[list[Sample]]) -> bool:
    pairs = [(a, b) for x, y in zip(one, other, strict=True) for a, b in zip(x, y, strict=True)]
    assert len({a.token_ids for a, _ in pairs}) > 1  # not all alike, or the order would not show
    return all(
        (a.token_ids, a.text, a.finished) == (b.token_ids, b.text, b.finished)
        and torch.allclose(a.log_probs, b.log_probs, rtol=0, atol=1e-6)
        for a, b in pairs
    )


class Recording(InProcess):
    """The learner's own process, noting what it is told."""

    told: list[str]

    def sync(self, policy: Policy, step: int) -> None:
        super().sync(policy, step)
        self.told.append(f"sync {step}")

    def sample(self, *given: Any) -> list[list[Sample]]:
        self.told.append(f"sample {len(given[0])}")
        return super().sample(*given)

    def close(self) -> None:
        self.told.append("close")


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a run with the engine `in_process` tells it."""
    heard: list[str] = []
    monkeypatch.setattr(Recording, "told", heard, raising=False)
    monkeypatch.setitem(ENGINES, "in_process", EngineEntry("test_learn_engines:make_recording"))
    return heard


def make_recording(recipe: Any, policy: Policy, options: object) -> Engine:
    return Recording(policy)


def test_the_default_draws_what_generate_draws(data: Path) -> None:
    policy = tiny_policy()
    prompts = prompts_of(policy, data)
    recipe = parse_recipe(rl_table(data, data))
    engine = make_engine(recipe, policy)
    assert isinstance(engine, InProcess)
    assert recipe.engine is None
    assert "engine" not in recipe_to_toml(recipe)  # so that runs from before can be resumed
    uniforms = draw_uniforms(len(prompts), 3, 7, torch.Generator().manual_seed(5))
    wanted = generate(
        policy, prompts, 3, max_new_tokens=7, temperature=0.9, top_p=0.95,
        generator=torch.Generator().manual_seed(5),
    )  # fmt: skip
    assert same(engine.sample(prompts, 3, SAMPLING, uniforms), wanted)


def test_an_engine_is_told_every_step_and_closed(data: Path, tmp_path: Path, told: list[str]) -> None:
    table = rl_table(data, tmp_path / "here", steps=2)
    plain = train(parse_recipe(table), policy=tiny_policy())
    assert told == []
    table["run"]["out"] = str(tmp_path / "there")
    folder = train(parse_recipe(table | {"engine": {"name": "in_process"}}), policy=tiny_policy())
    assert told == ["sync 0", "sample 4", "sync 1", "sample 4", "close"]
    metrics = [
        [{k: v for k, v in json.loads(line).items() if k not in CLOCK} for line in text.splitlines()]
        for text in ((at / "metrics.jsonl").read_text() for at in (plain, folder))
    ]
    assert metrics[0] == metrics[1]
    assert len(metrics[0]) == 2


def test_an_engine_is_closed_after_an_error(data: Path, tmp_path: Path, told: list[str]) -> None:
    table = rl_table(data, tmp_path, steps=2) | {"engine": {"name": "in_process"}}
    table = apply_overrides(table, ["run.max_skipped=0", f"data.clips={tmp_path}"])  # there are no clips
    with pytest.raises(ValueError, match="clips cannot be read"):
        train(parse_recipe(table), policy=tiny_policy())
    assert told[-1] == "close"


RL = rl_table(Path("data"), Path("runs"))
REVIEW = RL | {
    "objective": {"name": "review"},
    "loss": {"name": "policy_gradient", "normalise": "tokens"},
    "engine": {"name": "ray"},
}
BAD = [
    (sft_table(Path("d"), Path("r")), "engine.name=ray", r"\[engine\] would be ignored by objective 'sft'"),
    (REVIEW, "run.seed=1", r"\[engine\] would be ignored by objective 'review'; remove it"),
    (RL, "engine.name=slurm", r"engine.name is 'slurm'; valid choices: in_process, ray, "),
    (RL, "engine.options.workers=2", r"engine.name is missing"),
    (RL, "engine={name='in_process', options={workers=2}}", r"engine.options.workers is not a known key"),
    (RL, "engine={name='ray', options={gpu=1}}", r"options.gpu is not a known key; valid keys: address"),
    (RL, "engine={name='ray', options={workers=-1}}", r"engine.options.workers must be at least 0, got -1"),
    (RL, "engine={name='ray', options={timeout=0}}", r"engine.options.timeout must be more than 0"),
]


@pytest.mark.parametrize(("table", "override", "message"), BAD, ids=[bad[1] for bad in BAD])
def test_mistakes_are_named(table: dict[str, Any], override: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_recipe(apply_overrides(table, [override]))


def test_a_selecting_stage_may_name_an_engine() -> None:
    table = {
        "run": {"name": "x"},
        **{name: RL[name] for name in ("model", "data", "batch", "sampling", "rewards")},
        "select": {"of": "accuracy"},
    }
    assert parse_selection(table).engine is None
    chosen = parse_selection(table | {"engine": {"name": "ray"}}).engine
    assert chosen is not None
    assert chosen.name == "ray"
    with pytest.raises(ValueError, match=r"engine.options.cpus must be at least 1, got 0"):
        parse_selection(table | {"engine": {"name": "ray", "options": {"cpus": 0}}})


def test_a_selecting_stage_samples_through_its_engine(data: Path, tmp_path: Path, told: list[str]) -> None:
    save_policy(tiny_policy(), tmp_path / "policy")
    table = {
        "run": {"name": "x", "out": str(tmp_path)},
        "model": {"path": str(tmp_path / "policy"), "template": "map"},
        "data": {"path": str(data)},
        "batch": {"clips": 2, "questions_per_clip": 2},
        "sampling": {"group": 2, "max_new_tokens": 4},
        "rewards": [{"name": "accuracy"}],
        "select": {"of": "accuracy"},
        "engine": {"name": "in_process"},
    }
    select(parse_selection(table))
    assert told == ["sync 0", "sample 4", "sample 2", "close"]  # three clips with two questions each


def test_a_resumed_run_may_have_other_workers_but_no_other_engine(tmp_path: Path) -> None:
    def recipe(name: str, **options: Any) -> Recipe:
        return parse_recipe(RL | {"engine": {"name": name, "options": options}})

    folder = RunFolder(tmp_path / "run")
    folder.start(recipe("ray", workers=2))
    folder.check_same(recipe("ray", workers=4, gpus=1.0, cpus=2, address="h:1", timeout=5.0, deaths=0))
    with pytest.raises(ValueError, match=r"engine\.name was 'ray', is 'in_process'"):
        folder.check_same(recipe("in_process"))


def test_every_engine_can_be_made_and_explains_its_options() -> None:
    source = inspect.getsource(engine_options).splitlines()
    for entry in ENGINES.values():
        assert callable(entry.load())
        for item in dataclasses.fields(entry.options):
            at = next(k for k, line in enumerate(source) if line.startswith(f"    {item.name}: "))
            assert source[at + 1].strip().startswith('"""'), item.name


def test_without_ray_the_error_says_so(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)  # as where it is not installed
    recipe = parse_recipe(rl_table(data, data) | {"engine": {"name": "ray"}})
    with pytest.raises(ValueError, match=r"Ray cannot be imported .*pip install 'tolman\[ray\]'"):
        make_engine(recipe, tiny_policy())


@given(st.lists(st.integers(0, 4), max_size=12), st.integers(1, 5))
def test_shares_cut_the_prompts_between_clips(clips: list[int], count: int) -> None:
    made = {number: ClipInput(torch.empty(0), torch.empty(0), 1.0) for number in range(1, 5)}
    prompts = [Prompt((1,), made.get(number), (2,)) for number in clips]  # 0: a prompt without a clip
    shares = shares_of(prompts, count)
    assert sorted(number for share in shares for number in share) == list(range(len(prompts)))
    assert len(shares) <= count
    assert all(shares)
    for number in made:
        assert sum(any(clips[at] == number for at in share) for share in shares) <= 1


def test_shares_are_even_where_clips_are() -> None:
    clips = [ClipInput(torch.empty(0), torch.empty(0), 1.0) for _ in range(4)]
    prompts = [Prompt((1,), clip, (2,)) for clip in clips for _ in range(3)]
    assert shares_of(prompts, 2) == [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11]]
    assert shares_of(prompts[:7], 3) == [[0, 1, 2], [3, 4, 5], [6]]
    assert shares_of([Prompt((1,), None, (2,))] * 5, 2) == [[0, 1], [2, 3, 4]]


def worker_of(policy: Policy, folder: Path, **model: Any) -> RolloutWorker:
    save_policy(policy, folder)
    return RolloutWorker(Model(str(folder), "map", **model), "cpu")


def frozen(policy: Policy) -> str:
    return bit_sums(w for w in policy.model.parameters() if not w.requires_grad)


@pytest.mark.parametrize("trained", ["all", "text"])
def test_a_worker_samples_with_the_weights_it_took(data: Path, tmp_path: Path, trained: str) -> None:
    learner = tiny_policy()
    worker = worker_of(learner, tmp_path / "policy")
    choose_trained(learner.model, trained)
    with torch.no_grad():
        for weight in learned_weights(learner).values():
            weight.add_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)), alpha=0.02)
    prompts = prompts_of(learner, data)
    asked = prompts, 3, SAMPLING, draw_uniforms(len(prompts), 3, 9, torch.Generator().manual_seed(2))
    with pytest.raises(RuntimeError, match="asked for samples of step 4, but the weights are of None"):
        worker.sample(4, *asked)
    pieces = list(pieces_of(learned_weights(learner), size=20_000))
    assert len(pieces) > 3
    worker.take(Weights(4, frozen(learner)), *pieces)
    assert worker.policy is not None
    states = zip(worker.policy.model.parameters(), learner.model.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in states)
    wanted = InProcess(learner).sample(*asked)
    assert same(worker.sample(4, *asked), wanted)
    assert not same(InProcess(load_policy(tmp_path / "policy")).sample(*asked), wanted)
    with pytest.raises(RuntimeError, match="asked for samples of step 5, but the weights are of 4"):
        worker.sample(5, *asked)


def test_of_a_policy_with_adapters_they_alone_travel(data: Path, tmp_path: Path) -> None:
    pytest.importorskip("peft")
    learner = tiny_policy()
    worker = worker_of(learner, tmp_path / "policy", train="text", lora_rank=2)
    add_adapters(learner, 2, 4, worker.model.lora_targets, seed=7)
    with torch.no_grad():
        for weight in adapter_weights(learner.model).values():
            weight.add_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(3)), alpha=0.3)
    sent = learned_weights(learner)
    assert sent.keys() == adapter_weights(learner.model).keys()
    worker.take(Weights(0, frozen(learner)), *pieces_of(sent))
    prompts = prompts_of(learner, data)
    asked = prompts, 2, SAMPLING, draw_uniforms(len(prompts), 2, 9, torch.Generator().manual_seed(2))
    assert same(worker.sample(0, *asked), InProcess(learner).sample(*asked))


def test_a_worker_that_found_another_model_says_so(tmp_path: Path) -> None:
    learner = tiny_policy()
    choose_trained(learner.model, "text")
    worker = worker_of(tiny_policy(seed=1), tmp_path / "policy")
    with pytest.raises(ValueError, match=r"found other weights at .*policy than the learner has"):
        worker.take(Weights(0, frozen(learner)), *pieces_of(learned_weights(learner)))
    other = {"model.nothing.weight": torch.zeros(2)}
    with pytest.raises(ValueError, match=r"policy has no weight model.nothing.weight of shape \(2,\)"):
        worker.take(Weights(1, frozen(learner)), *pieces_of(other))
    assert worker.version is None


def test_the_command_line_places_learners(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(recipe_to_toml(parse_recipe(RL)))
    given: list[Any] = []

    def train_on(address: str, stages: list[Any], **options: Any) -> Path:
        given.append((address, [stage.run.seed for stage in stages], options["learners"], options["resume"]))
        options["progress"](stages[0], {"step": 1, "reward": 0.5})
        return Path("runs/mine")

    monkeypatch.setattr("tolman.learn.placing.train_on", train_on)
    assert main(["train", str(file), "--ray", "auto", "--run.seed", "5"]) == 0
    assert main(["train", str(file), "--ray", "h:1", "--learners", "2", "--resume"]) == 0
    assert given == [("auto", [5], 1, False), ("h:1", [3], 2, True)]
    said = capsys.readouterr()
    assert said.out.splitlines() == ["runs/mine/checkpoints/final"] * 2
    assert "step 1/6  reward 0.5" in said.err
    assert main(["train", str(file), "--learners", "2"]) == 2
    assert "--learners are placed by --ray" in capsys.readouterr().err
