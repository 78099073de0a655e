"""Recipes: what is refused, with which words, and that every shipped one parses."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from learn_world import rl_table, sft_table
from tolman.learn import sections
from tolman.learn.config import write_toml
from tolman.learn.recipe import (
    apply_overrides,
    load_recipe,
    parse_recipe,
    parse_selection,
    recipe_to_toml,
)
from tolman.learn.sections import Selection
from tolman.learn.stages import load_stages

RECIPES = Path(__file__).resolve().parents[1] / "recipes"
SFT = sft_table(Path("data"), Path("runs"))
RL = rl_table(Path("data"), Path("runs"))


@pytest.mark.parametrize("file", sorted(RECIPES.glob("*.toml")), ids=lambda file: file.name)
def test_every_shipped_recipe_parses_and_round_trips(file: Path) -> None:
    stages = load_stages(file)
    for stage in stages:
        table = tomllib.loads(recipe_to_toml(stage))
        assert (parse_selection if isinstance(stage, Selection) else parse_recipe)(table) == stage
    run = stages[0].run
    assert file.stem == (Path(run.out).name if run.name.startswith("01-") else run.name)


def test_recipes_need_no_torch() -> None:
    code = "import sys, tolman.learn.recipe; sys.exit('torch' in sys.modules)"
    package = str(Path(sections.__file__).parents[2])
    run = subprocess.run([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": package}, check=False)
    assert run.returncode == 0


def test_every_field_has_a_docstring() -> None:
    source = Path(sections.__file__).read_text().splitlines()
    for name in vars(sections):
        kind = getattr(sections, name)
        if dataclasses.is_dataclass(kind) and kind not in (sections.Recipe, Selection):
            for field in dataclasses.fields(kind):
                at = next(k for k, line in enumerate(source) if line.startswith(f"    {field.name}: "))
                assert source[at + 1].strip().startswith('"""'), field.name


BAD: list[tuple[dict[str, Any], str, str]] = [
    (SFT, "model.pathh='x'", r"recipe: model.pathh is not a known key; valid keys: path, template"),
    (SFT, "modle.path='x'", r"recipe: \[modle\] is not a known section; valid sections: advantage"),
    (SFT, "run.steps='6'", r"recipe: run.steps must be a whole number, got '6'"),
    (SFT, "run.steps=true", r"run.steps must be a whole number, got True"),
    (SFT, "run.steps=0", r"run.steps must be at least 1, got 0"),
    (SFT, "run.max_skipped=1.5", r"run.max_skipped must be at most 1, got 1.5"),
    (SFT, "optimiser.lr=0", r"optimiser.lr must be more than 0, got 0.0"),
    (SFT, "optimiser.lr=nan", r"optimiser.lr must be finite, got nan"),
    (SFT, "optimiser.betas=[0.9]", r"optimiser.betas must have 2 entries, got \[0.9\]"),
    (SFT, "optimiser.betas=[0.9, 2]", r"optimiser.betas\[1\] must be at most"),
    (
        SFT,
        "optimiser.schedule=cosin",
        r"optimiser.schedule is 'cosin'; valid choices: constant, linear, cosine",
    ),
    (SFT, "optimiser.warmup=7", r"optimiser.warmup is 7, more than run.steps, which is 6"),
    (SFT, "model.train=vison", r"model.train is 'vison'; valid choices: all, text, vision, text\+merger"),
    (SFT, "data.families=object_counting", r"data.families must be a list, got 'object_counting'"),
    (SFT, "objective.name=grpo", r"objective.name is 'grpo'; valid choices: sft"),
    (SFT, "objective.options.x=1", r"objective.options.x is not an option of 'sft'; valid options: turns"),
    (SFT, "objective.options.turns=all", r"objective.options.turns must be int, got 'all'"),
    (SFT, "loss.name=policy_gradient", r"loss.name is 'policy_gradient'; objective 'sft' takes: nll"),
    (SFT, "loss.beta=0.1", r"loss.beta is 0.1, but nll has no such term"),
    (SFT, "loss.normalise=constant", r"nll takes: tokens, sequences"),
    (SFT, "loss=3", r"recipe: loss must be a table, got 3"),
    (SFT, "sampling.group=8", r"\[sampling\] would be ignored by objective 'sft'|max_new_tokens is missing"),
    (SFT, "rewards=[]", r"rewards must be a list of tables"),
    (RL, "sampling.group=1", r"sampling.group must be at least 2, got 1"),
    (RL, "rewards.accuracy.name=acuracy", r"'acuracy'; valid choices: accuracy, answer_structure"),
    (RL, "rewards.accuracy.options.rul=x", r"rewards.accuracy.options: .*rule"),
    (RL, "rewards.accuracy.options.rule=x", r"rewards.accuracy.options: .*'corrected', 'published'"),
    (RL, "rewards.0.weight=heavy", r"rewards\[0\].weight must be a number, got 'heavy'"),
    (RL, "rewards.1.name=accuracy", r"rewards lists 'accuracy' twice"),
    (RL, "advantage.name=z", r"advantage.name is 'z'; valid choices: group_mean_std, group_mean"),
    (RL, "advantage.options.epsilon=1", r"options.epsilon is not a known key; valid keys: eps, ddof"),
    (RL, "advantage={name='difficulty_weighted'}", r"advantage.options.of is missing"),
    (
        RL,
        "advantage={name='difficulty_weighted', options={of='map'}}",
        r"advantage.options.of names 'map'; valid choices: accuracy, format",
    ),
    (
        RL,
        "advantage={name='difficulty_weighted', options={of='format', power=2}}",
        r"advantage.options: power is 2, but rule 'exp' has none",
    ),
    (
        RL,
        "advantage={name='per_segment', options={mark='</x>', first=['map'], second=['format']}}",
        r"advantage.options names 'map'",
    ),
    (
        RL,
        "advantage={name='ema_per_task', options={task='id'}}",
        r"valid choices: problem_type, question_type",
    ),
    (RL, "loss.name=nll", r"objective 'rl' takes: policy_gradient, gspo, tw_grpo, reg_grpo"),
    (RL, "loss.options.alpha=2", r"loss.options.alpha is not a known key"),
    (
        RL,
        "loss={name='tw_grpo', normalise='tokens', options={alpha=0}}",
        r"loss.options.alpha must be at least 1",
    ),
    (RL, "loss={name='reg_grpo', normalise='tokens'}", r"reg_grpo takes: sequences"),
    (
        RL,
        "loss.clip=[0.2, 0.2]",
        r"loss.clip is \(0.2, 0.2\), but with one update per sampled batch every ratio",
    ),
    (RL, "loss.clip=[0.2]", r"loss.clip must have 2 entries"),
    (RL, "loss.dual_clip=3", r"loss.dual_clip is 3.0, but with one update"),
    (RL, "loss.dual_clip=0.5", r"loss.dual_clip is 0.5; it must be above 1"),
    (SFT, "loss.clip=[0.2, 0.2]", r"loss.clip is \(0.2, 0.2\), but nll has no such term"),
    (
        SFT | {"objective": {"name": "dpo"}, "loss": {"name": "dpo", "normalise": "sequences"}},
        "run.seed=1",
        r"loss.beta is 0, but dpo is made of beta",
    ),
    (RL, "advantage.options.eps=small", r"advantage.options"),
    (RL, "loss.beta=0", r"loss.clamp is 10.0, but without loss.beta it bounds nothing"),
    (RL, "bonuses=[{name='speed'}]", r"bonuses\[0\].name is 'speed'; valid choices: temporal, length"),
    (RL, "bonuses=[{name='length', options={of=['map']}}]", r"names 'map'; valid choices: accuracy, format"),
    (RL, "bonuses=[{name='temporal', options={of=['accuracy']}}]", r"options.shuffled is missing"),
    (RL, "bonuses=[{name='temporal', options={of=['accuracy'], shuffled=0}}]", r"at least 1, got 0"),
]


@pytest.mark.parametrize(("table", "override", "message"), BAD, ids=[bad[1] for bad in BAD])
def test_mistakes_are_named(table: dict[str, Any], override: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_recipe(apply_overrides(table, [override]))


@pytest.mark.parametrize("section", ["run", "model", "data", "objective", "optimiser", "batch", "loss"])
def test_missing_sections_are_named(section: str) -> None:
    with pytest.raises(ValueError, match=rf"section \[{section}\] is missing"):
        parse_recipe({name: value for name, value in SFT.items() if name != section})


def test_missing_values_are_named() -> None:
    with pytest.raises(
        ValueError, match=r"mine.toml: run.steps is missing; give it a value \(a whole number\)"
    ):
        parse_recipe(SFT | {"run": {"name": "x"}}, "mine.toml")


def test_bad_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no recipe at"):
        load_recipe(tmp_path / "absent.toml")
    (tmp_path / "broken.toml").write_text("[run\n")
    with pytest.raises(ValueError, match=r"broken\.toml is not valid TOML"):
        load_recipe(tmp_path / "broken.toml")


def test_overrides() -> None:
    table = apply_overrides(
        RL,
        [
            "--model.path=some/folder",
            "optimiser.lr=1",
            "rewards.format.weight=0.25",
            "data.families=['a', 'b']",
        ],
    )
    recipe = parse_recipe(table)
    assert recipe.model.path == "some/folder"
    assert recipe.optimiser.lr == 1.0
    assert [part.weight for part in recipe.rewards] == [1.0, 0.25]
    assert recipe.data.families == ("a", "b")
    assert RL["model"]["path"] == "unused"


@pytest.mark.parametrize(
    "override", ["model.path", "=3", "model..path=3", "run.name.x=3", "rewards.map.weight=1"]
)
def test_bad_overrides_are_named(override: str) -> None:
    with pytest.raises(ValueError, match="override"):
        apply_overrides(RL, [override])


SCALARS = st.text(max_size=8) | st.integers(-(2**40), 2**40) | st.floats(allow_nan=False) | st.booleans()
TABLES = st.recursive(
    st.dictionaries(st.text(max_size=5), SCALARS | st.lists(SCALARS, max_size=3), max_size=4),
    lambda inner: st.dictionaries(
        st.text(max_size=5), SCALARS | inner | st.lists(inner, min_size=1, max_size=2), max_size=3
    ),
    max_leaves=6,
)


@given(TABLES)
def test_written_toml_reads_back(table: dict[str, Any]) -> None:
    assert tomllib.loads(write_toml(table)) == table


def test_clips_act_where_there_are_several_updates() -> None:
    table = apply_overrides(RL, ["sampling.epochs=2", "loss.clip=[0.2, 0.28]", "loss.dual_clip=3"])
    recipe = parse_recipe(table)
    assert recipe.loss is not None
    assert recipe.loss.clip == (0.2, 0.28)
    assert parse_recipe(tomllib.loads(recipe_to_toml(recipe))) == recipe


@pytest.mark.parametrize(
    "advantage",
    [
        {"name": "leave_one_out"},
        {"name": "ema_per_task"},
        {"name": "task_bands", "options": {"of": "accuracy", "bands": {"object_counting": [0.5, 1]}}},
        {"name": "temporal_contrast", "options": {"of": ["accuracy"], "shuffled": 2}},
        {"name": "order_weighted", "options": {"of": ["accuracy"], "shuffled": 2}},
        {"name": "view_consistent", "options": {"of": ["accuracy"]}},
        {"name": "duality", "options": {"weight": 0.5}},
        {
            "name": "per_segment",
            "options": {"mark": "</think>", "first": ["format"], "second": ["accuracy"]},
        },
    ],
    ids=lambda advantage: advantage["name"],
)
def test_every_advantage_can_be_named(advantage: dict[str, Any]) -> None:
    recipe = parse_recipe(RL | {"advantage": advantage})
    assert parse_recipe(tomllib.loads(recipe_to_toml(recipe))) == recipe
