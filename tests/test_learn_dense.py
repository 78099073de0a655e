"""The warm-up objective: vision tokens learn what they show and where it stands."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from learn_world import question_row, tiny_policy
from tolman.data.views import Views, write_views
from tolman.learn.corpus import load_corpus
from tolman.learn.dense import CATEGORIES, make_dense
from tolman.learn.recipe import apply_overrides, parse_recipe
from tolman.learn.train import train
from tolman.video.encode import write_clip


def dense_table(data: Path, out: Path, steps: int = 3) -> dict[str, object]:
    """A recipe of the warm-up."""
    return {
        "run": {"name": "dense", "out": str(out), "steps": steps},
        "model": {"path": "unused", "template": "map"},
        "data": {"path": str(data)},
        "objective": {"name": "dense"},
        "optimiser": {"lr": 1e-2},
        "batch": {"clips": 2},
    }


@pytest.fixture
def bright_rooms(tmp_path: Path) -> Path:
    """Two clips: in one a white chair fills the upper left token throughout, in the other a grey table the
    lower right one."""
    folder = tmp_path / "data"
    for name in ("clips", "views"):
        (folder / name).mkdir(parents=True)
    rows = []
    for name, category, value, corner, cell in (
        ("a", "chair", 255, (0, 0), (1, 8)),
        ("b", "table", 128, (1, 1), (7, 2)),
    ):
        rgb = np.zeros((4, 56, 56, 3), dtype=np.uint8)
        y, x = corner[0] * 28, corner[1] * 28
        rgb[:, y : y + 28, x : x + 28] = value
        write_clip(folder / "clips" / f"{name}.mp4", rgb, fps=2)
        shares = np.zeros((4, 8, 8, 1), dtype=np.uint8)
        shares[:, corner[0] * 4 : corner[0] * 4 + 4, corner[1] * 4 : corner[1] * 4 + 4] = 255
        write_views(folder / "views" / f"{name}.npz", Views(shares, (category,), np.array([cell])))
        rows.append(question_row(name, f"clips/{name}.mp4", 1))
    (folder / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_questions_per_clip_are_refused(bright_rooms: Path, tmp_path: Path) -> None:
    recipe = parse_recipe(
        apply_overrides(dense_table(bright_rooms, tmp_path), ["batch.questions_per_clip=2"])
    )
    with pytest.raises(ValueError, match=r"questions_per_clip is 2, but objective 'dense' asks none"):
        make_dense(recipe, tiny_policy(), load_corpus(recipe.data))


def test_the_loss_of_fresh_heads_is_that_of_guessing(bright_rooms: Path, tmp_path: Path) -> None:
    # With zero weights and biases every head guesses evenly: a presence costs ln 2 each, times 20 and
    # averaged over entries, positive ones weighted 4: 2 steps × 4 tokens × 2 heads × C entries a clip, of
    # which 2 tokens × 2 heads are positive. A place costs ln 10 + ln 10 + ln C, a token's step, row and
    # column ln 32 each.
    recipe = parse_recipe(dense_table(bright_rooms, tmp_path))
    policy = tiny_policy()
    objective = make_dense(recipe, policy, load_corpus(recipe.data))
    for head in objective.modules.values():
        for weights in head.parameters():
            torch.nn.init.zeros_(weights)
    batch = objective.batch(0)
    metrics = objective.loss(batch.parts[0]).metrics
    categories = len(CATEGORIES)
    share = 4 / (8 * 2 * categories)
    assert metrics["loss_shown"] == pytest.approx(20 * math.log(2) * (1 + 3 * share), rel=1e-5)
    wanted = 2 * math.log(10) + math.log(categories) + 3 * math.log(32)
    assert metrics["loss_placed"] == pytest.approx(wanted, rel=1e-5)


def test_parts_add_up_to_the_whole(bright_rooms: Path, tmp_path: Path) -> None:
    shares = np.zeros((4, 8, 8, 1), dtype=np.uint8)
    shares[:, 4:] = 255  # the table covers twice as many tokens as the chair
    write_views(bright_rooms / "views" / "b.npz", Views(shares, ("table",), np.array([(7, 2)])))
    found = []
    for micro in (0, 1):
        recipe = parse_recipe(
            apply_overrides(dense_table(bright_rooms, tmp_path), [f"batch.micro_clips={micro}"])
        )
        policy = tiny_policy()
        torch.manual_seed(0)
        objective = make_dense(recipe, policy, load_corpus(recipe.data))
        outputs = [objective.loss(part) for part in objective.batch(0).parts]
        assert len(outputs) == 1 + micro
        sum(output.loss for output in outputs).backward()
        metrics = {name: sum(output.metrics[name] for output in outputs) for name in outputs[0].metrics}
        weights = [*policy.model.parameters(), *objective.modules["dense_placed"].parameters()]
        found.append((metrics, [weight.grad for weight in weights if weight.grad is not None]))
    assert found[1][0] == pytest.approx(found[0][0], rel=1e-5)
    for one, other in zip(found[0][1], found[1][1], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_it_learns_what_is_where(bright_rooms: Path, tmp_path: Path) -> None:
    rows: list[dict[str, float]] = []
    train(parse_recipe(dense_table(bright_rooms, tmp_path, 60)), policy=tiny_policy(), progress=rows.append)
    assert rows[-1]["placed_accuracy"] == 1.0
    assert rows[-1]["loss_shown"] < 0.2 * rows[0]["loss_shown"]


def test_missing_views_say_what_to_do(bright_rooms: Path, tmp_path: Path) -> None:
    (bright_rooms / "views" / "a.npz").unlink()
    with pytest.raises(ValueError, match=r"a\.npz: no views \(build the data with --views\)"):
        train(parse_recipe(dense_table(bright_rooms, tmp_path)), policy=tiny_policy())
