"""Judges that a recipe names: a real model judges in a real step, and what is refused."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from learn_world import SIZES, question_row, rl_table, tiny_policy, write_dataset
from tolman.cli.main import main
from tolman.learn import judges
from tolman.learn.config import write_toml
from tolman.learn.recipe import Recipe, make_rewards, parse_recipe
from tolman.learn.train import train
from tolman.policy import load
from tolman.policy.judge import PolicyJudge
from tolman.policy.load import save_policy
from tolman.policy.policy import Policy
from tolman.policy.prompt import encode_text
from tolman.policy.starter import make_starter
from tolman.policy.tokenizer import train_tokenizer
from tolman.questions.question import Question
from tolman.reward.graded import Graded, Reward
from tolman.reward.registry import REWARDS

CONSISTENCY = "think_answer_consistency"
SERVER = {"url": "http://localhost:1/v1", "model": "m"}
SAID = "<think>I count one.</think><answer>1</answer>"


def judge_that_says(word: str) -> Policy:
    """A model whose likeliest first token is `word`, whatever it is asked.

    Its layers add nothing, so that the last token of the turn alone decides, and the embedding of the word,
    which is its output row as well, points the same way with ten times the length.
    """
    policy = make_starter(train_tokenizer(["TRUE", "FALSE"], 320), 0, SIZES)
    [said], [*_, last] = encode_text(policy, word), encode_text(policy, "assistant\n")
    with torch.no_grad():
        for name, weight in policy.model.named_parameters():
            if "language_model" in name and name.endswith(("o_proj.weight", "down_proj.weight")):
                weight.zero_()
        embedding = policy.model.get_input_embeddings().weight
        embedding[said] = 10 * embedding[last]
    return policy


@pytest.fixture(scope="module")
def says_true(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("judge") / "true"
    save_policy(judge_that_says("TRUE"), folder)
    return str(folder)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("data"), clips=2, questions=1)


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names that models are loaded by."""
    gc.collect()
    names: list[str] = []
    exact = load.load_policy

    def noted(name: str, **options: Any) -> Policy:
        names.append(name)
        return exact(name, **options)

    monkeypatch.setattr(load, "load_policy", noted)
    return names


def table(judge: object, data: Path = Path("data"), out: Path = Path("runs")) -> dict[str, Any]:
    options = {"judge": judge, "style": "verdict", "gate": "none"}
    return rl_table(data, out, steps=2) | {"rewards": [{"name": CONSISTENCY, "options": options}]}


def asked(recipe: Recipe) -> Graded:
    """What the recipe's judge makes of a completion."""
    question = Question.from_row(question_row("q", "clips/0.mp4", 1))
    return make_rewards(recipe).grade(SAID, question).parts[CONSISTENCY]


BAD: list[tuple[object, str]] = [
    ("starter", r"judge must be a table, got 'starter'"),
    ({}, r"judge.model is missing; give a model's name, or judge.url"),
    ({"cache": "x"}, r"judge.model is missing"),
    ({"model": "starter", "host": "x"}, r"judge.host is not a known key; valid keys: model, device, max_new"),
    ({"model": 3}, r"judge.model must be a string, got 3"),
    ({"model": "starter", "max_new_tokens": 0}, r"judge.max_new_tokens must be at least 1, got 0"),
    ({"model": "starter", "max_prompt_tokens": True}, r"judge.max_prompt_tokens must be a whole number"),
    ({"model": "starter", "seconds": 5}, r"judge.seconds is an option of a server, but judge.url is missing"),
    (
        SERVER | {"device": "cuda"},
        r"judge.device is an option of a model in this process, but judge.url names",
    ),
    (SERVER | {"max_new_tokens": 5}, r"judge.max_new_tokens is an option of a model in this process"),
    (SERVER | {"host": "x"}, r"judge.host is not a known key; valid keys: url, model, temperature"),
    (SERVER | {"sleep": "x"}, r"judge.sleep is not a known key"),
]


@pytest.mark.parametrize(("judge", "message"), BAD, ids=[str(judge) for judge, _ in BAD])
def test_mistakes_are_named(judge: object, message: str) -> None:
    with pytest.raises(ValueError, match=rf"recipe: rewards.{CONSISTENCY}.options: {message}"):
        parse_recipe(table(judge))


def test_a_recipe_is_read_without_loading_its_judge(loads: list[str]) -> None:
    recipe = parse_recipe(table({"model": "nowhere"}))
    assert loads == []
    with pytest.raises(ValueError, match=rf"rewards.{CONSISTENCY}.options: no policy 'nowhere'"):
        make_rewards(recipe)


def test_outside_recipes_a_model_is_given_as_a_judge(says_true: str) -> None:
    with pytest.raises(ValueError, match=r"url is missing; .* give a tolman.policy.judge.PolicyJudge"):
        REWARDS[CONSISTENCY](judge={"model": says_true})


def test_rewards_share_the_frozen_weights_and_let_them_go(says_true: str, loads: list[str]) -> None:
    whole = table({"model": says_true, "max_new_tokens": 1})
    second = {"name": "semantic_consistency", "options": {"judge": {"model": says_true, "max_new_tokens": 2}}}
    recipe = parse_recipe(whole | {"rewards": [*whole["rewards"], second]})
    composed = [make_rewards(recipe), make_rewards(recipe)]
    assert loads == [says_true]
    [policy] = judges._loaded.values()
    assert not any(weight.requires_grad for weight in policy.model.parameters())
    assert not policy.model.training
    del composed, policy
    gc.collect()
    assert len(judges._loaded) == 0


def test_asking_moves_no_random_generator(says_true: str) -> None:
    before = torch.get_rng_state()
    assert asked(parse_recipe(table({"model": says_true, "max_new_tokens": 1}))).value == 1
    PolicyJudge(tiny_policy(), max_new_tokens=3)("Is it?")
    assert torch.equal(torch.get_rng_state(), before)


def test_replies_are_kept_and_belong_to_the_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, cache = tmp_path / "model", tmp_path / "replies"
    recipe = parse_recipe(table({"model": str(model), "max_new_tokens": 1, "cache": str(cache)}))
    save_policy(judge_that_says("TRUE"), model)
    assert asked(recipe) == (1.0, "the judge says TRUE")
    with monkeypatch.context() as patch:
        patch.setattr(PolicyJudge, "__call__", lambda *_: pytest.fail("asked again"))
        assert asked(recipe) == (1.0, "the judge says TRUE")
    save_policy(judge_that_says("FALSE"), model)
    gc.collect()
    assert asked(recipe) == (0.0, "the judge says FALSE")
    assert len(list(cache.iterdir())) == 2


def test_a_prompt_that_is_too_long_is_not_judged(says_true: str) -> None:
    graded = asked(parse_recipe(table({"model": says_true, "max_prompt_tokens": 20})))
    assert graded.ungraded
    assert "at most 20 are taken" in graded.reason


def test_judging_leaves_training_alone(
    says_true: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two steps with a model as judge end in the weights of two with the judge's verdict written down.

    In bfloat16, whose rounding draws from torch's own generator.
    """

    def digits(completion: str, question: Question) -> Graded:
        return Graded(sum(c.isdigit() for c in completion) / max(len(completion), 1), "share of digits")

    def speaking(factory: Callable[..., Reward]) -> Callable[..., Reward]:
        """A fresh policy's text as a thought."""

        def make(**options: Any) -> Reward:
            exact = factory(**options)
            return lambda text, question: exact(f"<think>{text}.</think><answer>1</answer>", question)

        return make

    def verdict(**options: Any) -> Reward:
        return lambda text, question: Graded(1.0, "the judge says TRUE")

    monkeypatch.setitem(REWARDS, "digits", lambda: digits)
    whole = table({"model": says_true, "max_new_tokens": 1}, data)
    whole["rewards"].append({"name": "digits"})
    whole["model"]["dtype"] = "bfloat16"
    weights, replies = [], []
    for name, factory in [("asked", speaking(REWARDS[CONSISTENCY])), ("told", verdict)]:
        monkeypatch.setitem(REWARDS, CONSISTENCY, factory)
        whole["run"] |= {"name": name, "out": str(tmp_path)}
        policy = tiny_policy()
        policy.model.to(torch.bfloat16)
        folder = train(parse_recipe(whole), policy=policy)
        weights.append([weight.clone() for weight in policy.model.parameters()])
        rows = [json.loads(line) for line in (folder / "rollouts.jsonl").read_text().splitlines()]
        replies.append([row["rewards"][CONSISTENCY] for row in rows])
    assert replies[0] == replies[1]
    assert replies[0] == [{"value": 1.0, "reason": "the judge says TRUE"}] * (2 * 2 * 4)
    fresh = tiny_policy().model.to(torch.bfloat16).parameters()
    assert not all(map(torch.equal, weights[0], fresh))
    assert all(map(torch.equal, *weights))


def test_rows_are_validated_with_it(
    says_true: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    row = question_row("q", "clips/0.mp4", 3)
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
    command = ["data", "validate", str(tmp_path / "rows.jsonl"), "--recipe", str(tmp_path / "recipe.toml")]
    (tmp_path / "recipe.toml").write_text(write_toml(table({"model": says_true, "max_new_tokens": 1})))
    assert main(command) == 0
    (tmp_path / "recipe.toml").write_text(write_toml(table({"model": says_true, "max_prompt_tokens": 9})))
    assert main(command) == 2
    assert "could not judge: a prompt of" in capsys.readouterr().out
