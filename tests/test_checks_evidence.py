"""docs/evidence.md: the plan of its experiment, the runner on tiny seeds, the page of hand-made answers."""

from __future__ import annotations

import json
import os
import tomllib
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

import evidence
import evidence_page
from evidence_figure import COLOURS, Line, forest
from evidence_plan import BASE, PLAN, Plan, answers_of, asked_of, read_plan, recipe_of
from tolman.bench.seeds import Interval
from tolman.cli.quickstart import Rooms
from tolman.data.scene_io import read_scenes
from tolman.learn.run_folder import METRICS

TINY = """
seeds = [0, 1]
clips = ["true", "none"]
[rooms]
training = 2
held_out = 2
difficulty = 0
frames = 4
size = [56, 56]
per_family = 1
workers = 1
[layouts]
questions = 2
[seconds]
film = 1.0
answer = 0.5
[recipe]
run = { steps = 1, checkpoint_every = 1 }
sampling = { group = 2, max_new_tokens = 16 }
optimiser = { warmup = 0 }
batch = { clips = 1, questions_per_clip = 1 }
[[arms]]
name = "sft"
says = "gold"
step = 10
objective = { name = "sft" }
loss = { name = "nll", normalise = "tokens" }
[[arms]]
name = "grpo"
says = "rewards"
step = 100
rewards = [{ name = "accuracy" }]
[[pairs]]
asks = "Is it better?"
first = "sft"
second = "grpo"
"""


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    file = tmp_path / "plan.toml"
    file.write_text(TINY)
    return file


def test_the_experiment_asks_what_it_should() -> None:
    plan = read_plan()
    names = [arm.name for arm in plan.arms]
    assert names == [
        "base", "sft", "grpo", "sg-rlvr-published", "sg-rlvr-calibrated", "t-grpo", "t-grpo-surviving",
        "grpo-no-kl", "sg-rlvr-calibrated-no-kl",
    ]  # fmt: skip
    assert len(plan.seeds) == 5
    assert set(plan.clips) == {"true", "shuffled", "other", "none"}
    recipes = {arm.name: arm.recipe for arm in plan.arms if arm.recipe is not None}
    shipped = tomllib.loads(
        (Path(evidence_page.__file__).parents[1] / "src/tolman/cli/quickstart.toml").read_text()
    )
    for name, recipe in recipes.items():  # same data and budget: the draw depends on these alone
        assert recipe.model.path == "starter"
        budget = (shipped["run"]["steps"], shipped["batch"]["clips"], shipped["batch"]["questions_per_clip"])
        assert (recipe.run.steps, recipe.batch.clips, recipe.batch.questions_per_clip) == budget
        assert recipe.data == recipes["grpo"].data
        assert recipe.optimiser.lr == shipped["optimiser"]["lr"]
        assert recipe.loss is not None
        assert recipe.loss.beta == (0.0 if "no-kl" in name or name == "sft" else 0.04)
    calibrated = recipes["sg-rlvr-calibrated"]
    assert [part.name for part in calibrated.rewards] == [entry["name"] for entry in shipped["rewards"]]
    assert [part.options for part in calibrated.rewards] == [
        entry.get("options", {}) for entry in shipped["rewards"]
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("seeds = [0, 1]", "seeds = [0, 0]"), "different"),
        (('clips = ["true", "none"]', 'clips = ["none"]'), "`true`"),
        (('second = "grpo"', 'second = "ppo"'), "no arm 'ppo'"),
        (("[seconds]", "[minutes]"), "minutes"),
        (("held_out = 2", "held_in = 2"), "rooms.held_in"),
        (('says = "gold"', 'stays = "gold"'), "no says"),
        (('name = "nll"', 'name = "mse"'), "mse"),
    ],
)
def test_a_wrong_plan_is_refused(tiny: Path, change: tuple[str, str], message: str) -> None:
    assert change[0] in TINY
    tiny.write_text(TINY.replace(*change))
    with pytest.raises(ValueError, match=message):
        read_plan(tiny)


def test_runs_go_on_where_they_stopped_and_make_a_page(tiny: Path, tmp_path: Path, capsys: Any) -> None:
    out, page = tmp_path / "out", tmp_path / "evidence.md"
    run = ["run", "--plan", str(tiny), "--out", str(out)]
    # 4 rooms and 22 questions in 2 ways for each of 2 seeds, by 3 policies, 2 of them trained
    seconds = 2 * (4 * 1.0 + 3 * 2 * 22 * 0.5 + 10 + 100)
    assert evidence.main([*run, "--estimate"]) == 0
    assert f"about {seconds / 3600:.1f} hours" in capsys.readouterr().err
    assert not out.exists()
    evidence.main([*run, "--arms", BASE, "--seeds", "0"])
    assert not (out / "seed-1").exists()

    answers = answers_of(out, BASE, 0, "rooms", "none")
    lines = answers.read_bytes().splitlines(keepends=True)
    answers.write_bytes(b"".join(lines[:3]) + lines[3][:20])  # as a kill leaves it
    unfinished = evidence_page.collect(read_plan(tiny), out)
    assert not unfinished.rows[BASE, "rooms", "none"]
    rooms = asked_of(out, 0, "rooms")
    assert {tuple(scene.meta["side"]) for scene in read_scenes(rooms.parent)} == {Rooms().side}
    layouts = tmp_path / "layouts"
    layouts.mkdir()
    for name in ("scenes.jsonl", "questions.jsonl"):
        (layouts / name).write_bytes((rooms.parent / name).read_bytes())
    real = ["--layouts", str(layouts / "scenes.jsonl"), "--questions", str(layouts / "questions.jsonl")]
    evidence.main([*run, *real, "--seeds", "0"])
    assert answers.read_bytes().splitlines(keepends=True)[:3] == lines[:3]
    assert len(answers.read_bytes().splitlines()) == len(lines)
    recipe = recipe_of(read_plan(tiny).arm("grpo"), 0, out)
    folder = Path(recipe.run.out) / recipe.run.name
    assert len((folder / METRICS).read_text().splitlines()) == 1
    assert [place.name for place in (folder / "checkpoints").iterdir()] == ["final"]
    learnt = {json.loads(line)["path"] for line in (folder / "rollouts.jsonl").read_text().splitlines()}
    asked = {json.loads(line)["clip"] for line in answers.read_text().splitlines()}
    assert learnt
    assert learnt.isdisjoint(asked)

    before = {file: file.stat().st_mtime_ns for file in out.rglob("*.jsonl")}
    evidence.main([*run, *real, "--seeds", "0"])  # everything is there
    changed = [file for file in before if file.stat().st_mtime_ns != before[file]]
    assert {file.parent.name for file in changed} <= {"layouts"}  # its questions are written down each time
    evidence.main(["write", str(out), "--plan", str(tiny), "--page", str(page)])
    text = page.read_text()
    assert "14 of 24 evaluations are there" in text  # the starter's on the layouts count for both seeds
    assert "* `grpo` on real layouts, clip true, none: seeds 1" in text
    assert "`grpo` on held-out rooms, clip true, none: seeds 1\n" in text
    assert str(tmp_path) not in text

    tiny.write_text(TINY.replace("held_out = 2", "held_out = 3"))
    with pytest.raises(ValueError, match="other rooms"):
        evidence.main(run)


def hand_made(out: Path, plan: Plan) -> None:
    """One counting question about each of two clips: base and grpo for two seeds, sft for one."""
    scores = {
        (BASE, 0): [0.2, 0.4], (BASE, 1): [0.6, 0.8], ("grpo", 0): [0.3, 0.5], ("grpo", 1): [0.9, 1.0],
        ("sft", 0): [0.2, 0.4],
    }  # fmt: skip
    for (arm, seed), pair in scores.items():
        asked, file = asked_of(out, seed, "rooms"), answers_of(out, arm, seed, "rooms", "true")
        asked.parent.mkdir(parents=True, exist_ok=True)
        file.parent.mkdir(parents=True, exist_ok=True)
        asked.write_text("".join(json.dumps(question(k, seed)) + "\n" for k in range(2)))
        drawn = "<think><map>{'chair': [[1, 2]]}</map></think><answer>1</answer>"
        rows = [
            {
                "number": k, "id": k, "clip": f"{seed}-{k}.mp4", "question_type": "object_counting",
                "score": score, "ground_truth": "1", "options": None,
                "cognitive_map": {"chair": [[1, 2]], "bed": [[8, 1]]},
                "raw": drawn if arm == "grpo" else "",
            }
            for k, score in enumerate(pair)
        ]  # fmt: skip
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    half = answers_of(out, "grpo", 0, "rooms", "none")  # one of two answers: not finished
    half.write_text(
        json.dumps({"id": 0, "score": 1.0, "question_type": "object_counting", "clip": "0-0.mp4"}) + "\n"
    )


def question(number: int, seed: int) -> dict[str, Any]:
    return {
        "problem_id": number, "problem": "How many chairs are there?", "data_type": "video",
        "problem_type": "numerical", "options": None, "solution": "<answer>1</answer>",
        "path": f"{seed}-{number}.mp4", "question_type": "object_counting",
    }  # fmt: skip


def test_the_page_says_what_the_answers_say(tiny: Path, tmp_path: Path) -> None:
    plan, out = read_plan(tiny), tmp_path / "out"
    hand_made(out, plan)
    found = evidence_page.collect(plan, out)
    # gains 10 10 / 30 20, mean 17.5; a quarter of the deviations -7.5 -7.5 / 12.5 2.5 sums to -3.75 and 3.75
    # by seed: 2/1 · 2 · 3.75² = 7.5²; every clip has one seed, so nothing is added; t of 1 degree of freedom
    change = found.change((BASE, "true"), ("grpo", "true"), "rooms")
    assert change is not None
    assert change.mean == pytest.approx(17.5)
    assert change.high == pytest.approx(17.5 + 12.706204736174694 * 7.5)
    assert (change.rows, change.seeds, change.clips) == (4, 2, 4)
    text = evidence_page.page(found, "there.svg")
    assert "](there.svg)" in text
    assert "5 of 24 evaluations are there" in text
    # base: 20 40 / 60 80, mean 50, by seed -10, 10: error 20. grpo: 30 50 / 90 100: mean 67.5, error 27.5
    assert "| `base` | 2 | 50.0 [-204.1, 304.1] | – |" in text
    assert "| `grpo` | 2 | 67.5 [-281.9, 416.9] | +17.5 [-77.8, +112.8] |" in text
    assert "| `sft` | 1 | 30.0 [?] | +0.0 [?] |" in text
    assert "| best constant answers |  | 100.0 |  |" in text  # all truths are 1
    assert "| Is it better? | `grpo` − `sft` | +10.0 [?] | – | cannot be told |" in text
    assert (
        "| `grpo` | 67.5 [-281.9, 416.9] | – | – |" in text
    )  # the half-finished one without a clip is not shown
    assert "| `base` | 0.0 [0.0, 0.0] | 0.0 [0.0, 0.0] |" in text  # maps
    assert "| `grpo` | 100.0 [100.0, 100.0] |" in text
    assert "* `sft` on held-out rooms, clip true, none: seeds 1" in text
    assert "* `sft` on held-out rooms, clip none: seeds 0" in text
    assert "* `grpo` on held-out rooms, clip none: seeds 0, 1" in text
    assert "* `base` on real layouts, clip true, none: seeds 0, 1" in text


def test_the_picture_has_a_bar_from_end_to_end() -> None:
    lines = [
        Line("Is it < better?", [Interval(10, -20, 40, 4, 2, 2), None]),
        Line("Worse?", [None, Interval(-20, float("nan"), float("nan"), 4, 1, 1)]),
    ]
    picture = ElementTree.fromstring(forest(lines, ["rooms", "layouts"]))
    named = "{http://www.w3.org/2000/svg}"
    told = [each.text for each in picture.iter(f"{named}text")]
    assert [tick for tick in told if tick and tick.lstrip("+-").isdigit()] == [
        "-20", "-10", "0", "+10", "+20", "+30", "+40",
    ]  # fmt: skip
    assert "Is it < better?" in told
    dots = [(each.get("cx"), each.get("fill")) for each in picture.iter(f"{named}circle")][
        2:
    ]  # after the legend
    assert dots == [("620.0", COLOURS[0]), ("430.0", COLOURS[1])]  # half-way and at the left of 430 to 810
    bars = [each.get("d") for each in picture.iter(f"{named}path") if each.get("stroke") in COLOURS]
    assert bars == ["M430.0 50H810.0"]  # the second has no interval
    with pytest.raises(ValueError, match="measured"):
        forest([Line("?", [None, None])], ["rooms", "layouts"])


def test_the_starter_on_layouts_has_the_error_of_its_clips(tiny: Path) -> None:
    plan = read_plan(tiny)
    rows = [
        {"id": k, "clip": f"{k}.mp4", "question_type": "object_counting", "score": score}
        for k, score in enumerate([0.0, 1.0, 1.0])
    ]
    found = evidence_page.Found(plan, {(BASE, "layouts", "true"): {0: rows, 1: rows}})
    score = found.score(BASE, "layouts")
    assert score is not None
    # deviations -2/3 1/3 1/3, a third of each: 3/2 · (4 + 1 + 1)/81 = 1/9; t of 2 degrees of freedom 4.3027
    assert score.mean == pytest.approx(200 / 3)
    assert score.high - score.mean == pytest.approx(4.302652729911275 * 100 / 3)
    assert (score.rows, score.clips) == (3, 3)


@pytest.mark.parametrize(
    ("intervals", "said"),
    [
        ([None, None], "not measured"),
        ([(-1, 1), None], "cannot be told"),
        ([(1, 2), (-1, 1)], "yes"),
        ([(-2, -1), (-1, 1)], "no, it is worse"),
        ([(1, 2), (-2, -1)], "on one set yes, on the other the opposite"),
    ],
)
def test_what_two_differences_say(intervals: list[tuple[float, float] | None], said: str) -> None:
    changes = [ends and Interval(sum(ends) / 2, *ends, rows=4, seeds=2, clips=2) for ends in intervals]
    assert evidence_page.answer(changes) == said


def test_plan_lies_beside_the_runner() -> None:
    assert Path(evidence.__file__).with_name("evidence.toml") == PLAN
    assert os.access(PLAN, os.R_OK)
