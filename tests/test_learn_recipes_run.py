"""Every paper's recipe takes a step at the size of a tiny policy, all of its stages."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from learn_world import tiny_policy, write_dataset
from tolman.learn.recipe import read_table
from tolman.learn.sections import Selection
from tolman.learn.stages import folder_of, load_stages, parse_stages
from tolman.learn.train import train_stages
from tolman.policy.load import save_policy
from tolman.questions.question import Question
from tolman.reward.graded import Graded, Reward
from tolman.reward.registry import REWARDS

RECIPES = Path(__file__).resolve().parents[1] / "recipes"
OURS = ("starter", "spacer-starter", "spacer-scans")  # for the starter itself, no paper's sizes
PAPERS = sorted(file.stem for file in RECIPES.glob("*.toml") if not file.stem.startswith(OURS))
SIZES: dict[str, dict[str, Any]] = {
    "run": {"steps": 1, "device": "cpu", "checkpoint_every": 1},
    "model": {"dtype": "float32"},
    "data": {"frames": 0, "isolate": False},
    "optimiser": {"warmup": 0},
    "batch": {"clips": 2},
    "sampling": {"group": 4, "max_new_tokens": 6},
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy and rows that hold what any of the recipes reads."""
    folder = write_dataset(tmp_path_factory.mktemp("world") / "data", clips=2, questions=1)
    rows = [json.loads(line) for line in (folder / "questions.jsonl").read_text().splitlines()]
    for row in rows:
        row |= {
            "problem_type": "multiple choice", "options": ["A. 1", "B. 2"], "solution": "<answer>B</answer>",
            "process": "<think>Two.</think>", "chosen": "one, then two", "rejected": "two, then one",
            "completion": "B", "label": True, "difficulty": 1, "task": "General video QA MCQ",
            "layout": {"chair": [[0, 0, 0.5, 0.5]], "table": [[2, 2, 3.5, 3]]},
        }  # fmt: skip
    (folder / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    maps = [{"video_id": str(clip), "cognitive_map": rows[clip]["cognitive_map"]} for clip in (0, 1)]
    (folder / "maps.jsonl").write_text("".join(json.dumps(row) + "\n" for row in maps))
    save_policy(tiny_policy(), folder.parent / "policy")
    return folder.parent


@pytest.mark.parametrize("name", PAPERS)
def test_strangers_videos_are_decoded_apart(name: str) -> None:
    """One that crashes the decoder must cost its clip, not the run (tests/test_video_fuzz.py)."""
    assert all(stage.data.isolate for stage in load_stages(RECIPES / f"{name}.toml"))


def lenient(factory: Callable[..., Reward]) -> Callable[..., Reward]:
    """The reward, but every other completion without an answer (all that a fresh policy makes) is right."""

    def make(**options: str) -> Reward:
        exact, seen = factory(**options), iter(range(10**9))

        def grade(completion: str, question: Question) -> Graded:
            if "<answer>" in completion:
                return exact(completion, question)
            return Graded(float(next(seen) % 2), "by turns")

        return grade

    return make


def shrink(table: dict[str, Any], world: Path, out: Path) -> dict[str, Any]:
    """The recipe at the size of the test, on its policy and rows; the method is untouched."""
    small = dict(table)
    for name, sizes in SIZES.items():
        if name in small:
            small[name] = small[name] | {key: value for key, value in sizes.items() if key in small[name]}
    if "path" in small.get("model", {}):
        small["model"] |= {"path": str(world / "policy")}
    if "path" in small.get("data", {}):
        small["data"] |= {"path": str(world / "data")}
    if "maps" in small.get("data", {}):
        small["data"] |= {"maps": str(world / "data" / "maps.jsonl")}
    if "data" in small:  # the rows are of one type
        left_out = ("problem_types", "data_types")
        small["data"] = {key: value for key, value in small["data"].items() if key not in left_out}
    if "name" in small.get("run", {}):
        small["run"] |= {"out": str(out)}
    if "stages" in small:
        small["stages"] = [shrink(stage, world, out) for stage in small["stages"]]
    return small


@pytest.mark.parametrize("name", PAPERS)
def test_takes_a_step(name: str, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for reward in ("accuracy", "soft_choice", "spacer_accuracy"):
        monkeypatch.setitem(REWARDS, reward, lenient(REWARDS[reward]))
    stages = parse_stages(shrink(read_table(RECIPES / f"{name}.toml"), world, tmp_path), name)
    final = train_stages(stages)
    assert (final / "checkpoints" / "final").is_dir()
    for stage in stages:
        rows = [json.loads(line) for line in (folder_of(stage) / "metrics.jsonl").read_text().splitlines()]
        assert len(rows) == 1
        assert isinstance(stage, Selection) or rows[0]["tokens"] > 0
        assert isinstance(stage, Selection) or rows[0]["grad_norm"] > 0  # something was there to learn


def test_problem_types_are_those_of_the_rows() -> None:
    """A type that a recipe names and its file does not have stops the run; these are the published names."""
    video_r1 = {"multiple choice", "numerical", "regression", "OCR", "free-form"}
    grounding = {"temporal grounding", "spatial grounding", "spatial-temporal grounding", "tracking"}
    onethinker = video_r1 - {"free-form"} | {"open-ended"} | grounding
    for name in PAPERS:
        for stage in parse_stages(read_table(RECIPES / f"{name}.toml"), name):
            known = onethinker if name == "onethinker" else video_r1 | {"temporal grounding"}
            assert {*stage.data.problem_types} <= known, name
