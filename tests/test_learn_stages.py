"""Recipes of several stages: what each stage becomes, what is refused, and that a killed run goes on."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch

from learn_world import sft_table, tiny_policy, write_dataset
from tolman.cli.main import main
from tolman.learn.config import write_toml
from tolman.learn.recipe import apply_overrides, parse_selection, recipe_to_toml
from tolman.learn.run_folder import ROLLOUTS
from tolman.learn.sections import Recipe, Selection
from tolman.learn.selection import select
from tolman.learn.stages import folder_of, load_stages, parse_stages
from tolman.learn.train import train_stages
from tolman.policy.load import load_policy, save_policy
from tolman.questions.question import Question
from tolman.reward.graded import Graded
from tolman.reward.registry import REWARDS

CLOCK = ("seconds", "samples_per_second", "tokens_per_second")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("data"), clips=3, questions=2)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base") / "policy"
    save_policy(tiny_policy(), folder)
    return folder


@pytest.fixture(autouse=True)
def digits(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reward that a fresh policy sometimes earns: the share of digits in the text."""

    def grade(completion: str, question: Question) -> Graded:
        return Graded(sum(c.isdigit() for c in completion) / max(len(completion), 1), "share of digits")

    monkeypatch.setitem(REWARDS, "digits", lambda: grade)


def table(data: Path, out: Path, base: Path | str = "base") -> dict[str, Any]:
    """Fine-tuning, a selection, GRPO on what was selected."""
    common = sft_table(data, out, name="three", steps=2, checkpoint_every=1)
    common["optimiser"].pop("warmup")
    return common | {
        "model": {"path": str(base), "template": "map"},
        "sampling": {"group": 3, "max_new_tokens": 8},
        "rewards": [{"name": "digits"}],
        "stages": [
            {"name": "sft", "batch": {"clips": 1}},
            {"name": "choose", "select": {"of": "digits"}},
            {
                "name": "grpo",
                "run": {"steps": 3},
                "objective": {"name": "rl"},
                "loss": {"name": "policy_gradient", "normalise": "tokens"},
                "advantage": {"name": "group_mean"},
            },
        ],
    }


def test_what_the_stages_become(tmp_path: Path) -> None:
    whole = table(Path("rooms"), tmp_path)
    whole["data"]["families"] = ["object_counting"]
    sft, choose, grpo = parse_stages(whole)
    home = tmp_path / "three"
    assert [folder_of(stage) for stage in (sft, choose, grpo)] == [
        home / "01-sft",
        home / "02-choose",
        home / "03-grpo",
    ]
    assert isinstance(sft, Recipe)
    assert isinstance(choose, Selection)
    assert isinstance(grpo, Recipe)
    assert sft.batch.clips == 1  # its own key over the common ones
    assert sft.batch.questions_per_clip == grpo.batch.questions_per_clip == 2
    assert (sft.rewards, sft.sampling) == ((), None)  # common, but nothing that SFT reads
    assert (sft.run.steps, grpo.run.steps, grpo.run.checkpoint_every) == (2, 3, 1)
    after_sft = str(home / "01-sft" / "checkpoints" / "final")
    assert (sft.model.path, choose.model.path, grpo.model.path) == ("base", after_sft, after_sft)
    assert (choose.data.path, choose.data.families) == ("rooms", ("object_counting",))
    assert (grpo.data.path, grpo.data.clips) == (str(home / "02-choose" / "questions.jsonl"), "rooms")
    assert grpo.data.families == ()  # the selection has seen to them
    assert grpo.loss is not None
    assert grpo.loss.name == "policy_gradient"  # another method takes nothing of the common loss


def test_overrides_name_common_keys_and_stages(tmp_path: Path) -> None:
    whole = apply_overrides(
        table(Path("rooms"), tmp_path), ["run.seed=9", "stages.grpo.run.steps=7", "stages.sft.model.path=x"]
    )
    sft, choose, grpo = parse_stages(whole)
    assert (sft.run.seed, choose.run.seed, grpo.run.seed) == (9, 9, 9)
    assert isinstance(grpo, Recipe)
    assert (grpo.run.steps, sft.model.path) == (7, "x")


BAD = [
    ("stages=3", r"stages must be a list of tables"),
    ("stages.sft.name='a/b'", r"stages\[0\].name must be letters"),
    ("stages.sft.name=grpo", r"two stages are named 'grpo'"),
    ("stages.sft.run={name='x'}", r"stages.sft.run.name would be ignored"),
    ("stages.sft.loss={beta=0.1}", r"stages.sft: loss.beta is 0.1, but nll has no such term"),
    (
        "stages.sft.sampling={group=2, max_new_tokens=3}",
        r"stages.sft: \[sampling\] would be ignored by objective 'sft'",
    ),
    ("run=3", r"stages.sft: run must be a table, got 3"),
    ("stages.choose.data=3", r"stages.choose: data must be a table, got 3"),
    ("bonuses.x=1", r"stages.grpo: bonuses must be a list of tables"),
    ("stages.sft.modle={}", r"stages.sft: \[modle\] is not a known section"),
    ("modle.x=1", r"stages.sft: \[modle\] is not a known section"),
    ("stages.choose.objective={name='sft'}", r"stages.choose: a stage has \[objective\] or \[select\]"),
    ("stages.choose.loss={name='nll'}", r"stages.choose: \[loss\] would be ignored by a selecting stage"),
    ("stages.choose.select.of=map", r"select.of is 'map'; valid choices: digits"),
    ("stages.choose.select.low=2", r"select.low must be at most 1"),
    ("stages.choose.select={of='digits', low=0.5, high=0.2}", r"needs low <= high"),
    ("stages.choose.select.kep=1", r"select.kep is not a known key"),
    ("stages.choose.run={steps=3}", r"stages.choose: run.steps would be ignored by a selecting stage"),
    ("stages.choose.run={hardware='h200'}", r"stages.choose: run.hardware would be ignored"),
    ("stages.choose.model={train='text'}", r"stages.choose: model.train would be ignored"),
    ("stages.choose.model={train='all'}", r"stages.choose: model.train would be ignored"),  # its default, too
    ("stages.choose.model={lora_rank=4}", r"stages.choose: model.lora_rank would be ignored"),
    ("stages.choose.model={mixed=true}", r"stages.choose: model.mixed would be ignored"),
    ("stages.choose.data={easy_first=true}", r"stages.choose: data.easy_first would be ignored"),
    ("stages.choose.batch={micro_clips=1}", r"stages.choose: batch.micro_clips would be ignored"),
    ("stages.choose.sampling={epochs=2}", r"stages.choose: sampling.epochs would be ignored"),
    (
        "stages.choose.rewards=[{name='digits', weight=0.5}]",
        r"stages.choose: rewards.digits.weight would be ignored",
    ),
    (
        "stages.choose.select={of='digits', right=0.5}",
        r"select.right is 0.5, but keep is 'questions', which takes no right completion",
    ),
    (
        "stages.choose.select={of='digits', keep='answers', right=0.5, wrong=0.1}",
        r"select.wrong is 0.1, but keep is 'answers', which takes no wrong completion",
    ),
    (
        "stages.choose.select={of='digits', keep='pairs', solved=0.2}",
        r"select.solved is 0.2, but a question that is always answered rightly makes no pair",
    ),
]


@pytest.mark.parametrize(("override", "message"), BAD, ids=[override for override, _ in BAD])
def test_refused(tmp_path: Path, override: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_stages(apply_overrides(table(Path("rooms"), tmp_path), [override]))


def test_what_only_training_reads_is_for_the_other_stages(tmp_path: Path) -> None:
    common = [
        "run.hardware=h200", "model.mixed=true", "model.train=text", "model.lora_rank=4",
        "model.lora_targets=['q_proj']", "model.gradient_checkpointing=true", "data.easy_first=true",
        "batch.micro_clips=1", "sampling.epochs=2", "rewards.digits.weight=0.5",
    ]  # fmt: skip
    sft, choose, grpo = parse_stages(apply_overrides(table(Path("rooms"), tmp_path), common))
    [_, plain, _] = parse_stages(table(Path("rooms"), tmp_path))
    assert isinstance(choose, Selection)
    assert choose == plain
    assert parse_selection(tomllib.loads(recipe_to_toml(choose))) == choose
    for stage in (sft, grpo):
        assert isinstance(stage, Recipe)
        assert (stage.run.hardware, stage.model.train, stage.model.lora_rank) == ("h200", "text", 4)
        assert (stage.model.mixed, stage.data.easy_first, stage.batch.micro_clips) == (True, True, 1)
    assert isinstance(grpo, Recipe)
    assert grpo.sampling is not None
    assert (grpo.sampling.epochs, grpo.rewards[0].weight) == (2, 0.5)


def test_what_a_selection_cannot_have_is_refused_without_stages_too(tmp_path: Path) -> None:
    [_, choose, _] = parse_stages(table(Path("rooms"), tmp_path))
    whole = tomllib.loads(recipe_to_toml(choose))
    for override, message in [
        ("model.train=text", "model.train would be ignored by a selecting stage"),
        ("sampling.minibatches=2", "sampling.minibatches would be ignored"),
        ("rewards.digits.weight=2", "rewards.digits.weight would be ignored"),
    ]:
        with pytest.raises(ValueError, match=message):
            parse_selection(apply_overrides(whole, [override]))


def test_a_last_selection_and_missing_sections_are_refused(tmp_path: Path) -> None:
    whole = table(Path("rooms"), tmp_path)
    with pytest.raises(ValueError, match="the last stage, 'choose', selects rows that no stage learns from"):
        parse_stages(whole | {"stages": whole["stages"][:2]})
    tuned = whole | {"stages": whole["stages"][:1]}
    with pytest.raises(ValueError, match=r"recipe: \[rewards\] is read by no stage; remove it"):
        parse_stages(tuned)
    whole.pop("sampling")
    with pytest.raises(ValueError, match=r"stages.choose: section \[sampling\] is missing"):
        parse_stages(whole)


def test_one_stage_is_a_recipe_as_it_stands(tmp_path: Path) -> None:
    [recipe] = load_stages(Path(__file__).resolve().parents[1] / "recipes" / "spacer-starter.toml")
    assert recipe.run.name == "spacer-starter"


class Killed(Exception):
    pass


def kill_at(stage_name: str, step: int) -> Any:
    def progress(stage: Recipe | Selection, row: dict[str, Any]) -> None:
        if (stage.run.name, row["step"]) == (stage_name, step):
            raise Killed

    return progress


def rows(file: Path) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in file.read_text().splitlines()]
    return [{key: value for key, value in row.items() if key not in CLOCK} for row in found]


def test_stages_resume_between_and_within(
    data: Path, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    straight = train_stages(parse_stages(table(data, tmp_path / "straight", base)))
    assert straight == tmp_path / "straight" / "three" / "03-grpo"
    chosen = rows(straight.parent / "02-choose" / "questions.jsonl")
    assert len(chosen) == 6
    assert all(row["difficulty"] == pytest.approx(1 - row["score_mean"]) for row in chosen)
    assert len(rows(straight.parent / "02-choose" / ROLLOUTS)) == 6 * 3
    summary = json.loads((straight.parent / "02-choose" / "selection.json").read_text())
    assert summary == {"questions": 6, "rows": 6, "kept": 6}

    stages = parse_stages(table(data, tmp_path / "broken", base))
    with pytest.raises(ValueError, match="nothing to resume"):
        train_stages(stages, resume=True)
    for name, step in (("01-sft", 2), ("02-choose", 1), ("03-grpo", 2)):  # before a checkpoint, each time
        if name == "02-choose":
            train_stages(stages[:1], resume=True)  # stopped just between two stages
        with pytest.raises(Killed):
            train_stages(stages, resume=name != "01-sft", progress=kill_at(name, step))
        with pytest.raises(ValueError, match=r"01-sft exists; continue it with resume"):
            train_stages(stages)
    resumed = train_stages(stages, resume=True)
    for one in ("01-sft/metrics.jsonl", "02-choose/rollouts.jsonl", "02-choose/questions.jsonl",
                "03-grpo/metrics.jsonl", "03-grpo/rollouts.jsonl"):  # fmt: skip
        assert rows(resumed.parent / one) == rows(straight.parent / one), one
    states = [
        load_policy(folder / "checkpoints" / "final").model.state_dict() for folder in (straight, resumed)
    ]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])

    monkeypatch.setattr("tolman.learn.train.load_policy", None)  # nothing is loaded where all is done
    monkeypatch.setattr("tolman.learn.selection.load_policy", None)
    assert train_stages(stages, resume=True) == resumed
    other = parse_stages(
        apply_overrides(table(data, tmp_path / "broken", base), ["stages.sft.run={steps=9}"])
    )
    with pytest.raises(ValueError, match=r"cannot resume .*01-sft: run.steps was 2, is 9"):
        train_stages(other, resume=True)


def test_a_selection_that_keeps_nothing_says_why(data: Path, base: Path, tmp_path: Path) -> None:
    whole = apply_overrides(table(data, tmp_path, base), ["stages.choose.select.low=1.0"])
    with pytest.raises(ValueError, match=r"02-choose: no row passes \[select\]: .*'hard': 6"):
        train_stages(parse_stages(whole))


@pytest.mark.parametrize(
    ("max_skipped", "allowed"),
    [(0.34, 1), (0.3, 0)],  # of 3 clips: rounded down
)
def test_a_selection_passes_over_few_unreadable_clips(
    base: Path, tmp_path: Path, max_skipped: float, allowed: int
) -> None:
    data = write_dataset(tmp_path / "data", clips=3, questions=2)
    (data / "clips" / "1.mp4").write_bytes(b"")
    overrides = [f"run.max_skipped={max_skipped}", f"stages.choose.model.path={base}"]
    [_, choose, _] = parse_stages(apply_overrides(table(data, tmp_path, base), overrides))
    assert isinstance(choose, Selection)
    if not allowed:
        with pytest.raises(ValueError, match=r"1 clips cannot be read, 0 are allowed .*1\.mp4"):
            select(choose)
        return
    folder = select(choose)
    assert [Path(row["path"]).name for row in rows(folder / "skipped.jsonl")] == ["1.mp4"]
    # three completions of each question, side by side, in the order of the questions
    asked = [row["problem_id"] for row in rows(folder / ROLLOUTS)]
    assert asked == [name for name in ("0-0", "0-1", "2-0", "2-1") for _ in range(3)]
    [counts] = rows(folder / "selection.json")
    assert (counts["questions"], counts["ungraded"]) == (6, 2)


def test_the_command_runs_and_resumes_stages(
    data: Path, base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "three.toml"
    recipe.write_text(write_toml(table(data, tmp_path, base)))
    assert main(["train", str(recipe), "--stages.grpo.run.steps", "1"]) == 0
    captured = capsys.readouterr()
    assert captured.out.strip() == str(tmp_path / "three" / "03-grpo" / "checkpoints" / "final")
    assert [line for line in captured.err.splitlines() if line.startswith("stage")] == [
        "stage 01-sft",
        "stage 02-choose",
        "stage 03-grpo",
    ]
    assert main(["train", str(recipe)]) == 2
    assert "01-sft exists; continue it with resume" in capsys.readouterr().err
    assert main(["train", str(recipe), "--resume", "--stages.grpo.run.steps", "1"]) == 0
