"""The arithmetic that metrics.jsonl reports is that of the trees that were trained on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from learn_world import rl_table, sft_table, tiny_policy, write_dataset
from tolman.learn.corpus import load_corpus
from tolman.learn.hardware import HARDWARE
from tolman.learn.objective import Batch
from tolman.learn.plan.sizes import ModelSize
from tolman.learn.plan.work import text_flops, tower_flops
from tolman.learn.recipe import parse_recipe
from tolman.learn.sft import Sft
from tolman.learn.train import train
from tolman.learn.utilisation import FlopMeter
from tolman.policy.tree import pack


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("data"))


@pytest.mark.parametrize(("train_what", "tower"), [("all", 3), ("text+merger", 1), ("text", 0)])
def test_counts_a_trees_own_tokens_and_pairs(data: Path, tmp_path: Path, train_what: str, tower: int) -> None:
    """Two clips with two questions each: tokens, visible pairs by the attention mask, each clip once."""
    table = sft_table(data, tmp_path)
    table["model"]["train"] = train_what
    recipe, policy = parse_recipe(table), tiny_policy()
    [part] = Sft(recipe, policy, load_corpus(recipe.data)).batch(0).parts
    size = ModelSize.from_config(policy.model.config.to_dict())
    expected = 0.0
    for clip in part.clips:
        mask = pack([clip.tree], 0, policy.video_tokens).attention_mask
        expected += 3 * text_flops(size, len(clip.tree), int(mask.sum()), sum(clip.lengths))
        expected += tower * tower_flops(size, 2 * 4 * 4, (56, 56))
    meter = FlopMeter(policy, recipe)
    assert meter.of(part) == {"flops": expected}
    assert meter.of(None) == {}
    assert meter.utilisation(expected, 1.0, 1) == {}


def run(table: dict[str, Any]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    folder = train(parse_recipe(table), policy=tiny_policy(), progress=rows.append)
    assert [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()] == rows
    return rows


def test_a_run_reports_it(data: Path, tmp_path: Path) -> None:
    """Of several updates `flops` is the mean, as of other metrics; `mfu` takes all of them."""
    plain = run(sft_table(data, tmp_path, name="plain", steps=2))
    named = run(sft_table(data, tmp_path, name="named", steps=2, hardware="cpu2"))
    assert all("mfu" not in row for row in plain)
    assert [row["flops"] for row in named] == [row["flops"] for row in plain]
    for row in named:
        assert row["mfu"] >= row["flops"] / row["seconds"] / HARDWARE["cpu2"].float32 > 0
    table = rl_table(data, tmp_path, name="rl", steps=2, hardware="cpu2")
    table["sampling"] |= {"epochs": 2, "temperature": 2.0}
    for row in run(table):
        assert row["mfu"] >= 2 * row["flops"] / row["seconds"] / HARDWARE["cpu2"].float32 > 0


def test_other_parts_count_nothing() -> None:
    recipe = parse_recipe(sft_table(Path("data"), Path("runs"), hardware="h200"))
    meter = FlopMeter(tiny_policy(), recipe)
    assert meter.of(Batch([], 0)) == {}
    assert meter.utilisation(0.0, 1.0, 1) == {}
    # half of what two of them can do in float32 in a second
    assert meter.utilisation(HARDWARE["h200"].float32, 1.0, 2) == {"mfu": 0.5}
    with pytest.raises(ValueError, match=r"run\.hardware is 'h300'; valid choices: , h200"):
        parse_recipe(sft_table(Path("data"), Path("runs"), hardware="h300"))
