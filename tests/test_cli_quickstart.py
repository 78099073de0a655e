"""The whole loop, small: `tolman model new` and the quickstart's own path with few rooms and few steps."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tolman.cli import quickstart as module
from tolman.cli.main import main
from tolman.cli.quickstart import Rooms, quickstart
from tolman.data.scene_io import read_scenes

SMALL = Rooms(training=3, held_out=2, frames=4, size=(56, 56), per_family=1, workers=1)


def test_a_fresh_model_reads_and_writes_its_questions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = tmp_path / "data", tmp_path / "model"
    build = ["data", "build", "2", "--out", str(data), "--size", "56", "--frames", "4", "--workers", "1"]
    assert main([*build, "--views", "--style", "survey,overhead", "--difficulty", "0,1"]) == 0
    assert len(list((data / "views").iterdir())) == 2
    card = json.loads((data / "card.json").read_text())
    assert card["styles"] == ["survey", "overhead"]
    assert main(["model", "new", str(out), "--questions", str(data / "questions.jsonl")]) == 0
    assert (out / "model.safetensors").is_file()
    assert main(["model", "new", str(out), "--questions", str(data / "questions.jsonl")]) == 2
    assert "exists" in capsys.readouterr().err


def test_quickstart_measures_trains_and_reports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = module._recipe

    def short(out: Path, seed: int) -> object:
        from dataclasses import replace

        recipe = original(out, seed)
        return replace(
            recipe,
            run=replace(recipe.run, steps=2),
            optimiser=replace(recipe.optimiser, warmup=1),
            sampling=replace(recipe.sampling, group=2, max_new_tokens=64),
        )

    monkeypatch.setattr(module, "_recipe", short)
    out = tmp_path / "run"
    figures = quickstart(seed=3, out=out, json_file=tmp_path / "figures.json", rooms=SMALL)
    assert json.loads((tmp_path / "figures.json").read_text()) == figures
    assert set(figures["evaluations"]) == {"before", "after"}
    before = (out / "predictions_before.jsonl").read_text().splitlines()
    held_out = (out / "rooms" / "held-out" / "questions.jsonl").read_text().splitlines()
    assert len(before) == len(held_out) == figures["evaluations"]["before"]["total"]
    halls = [scene for which in ("train", "held-out") for scene in read_scenes(out / "rooms" / which)]
    assert len(halls) == 5
    assert all(np.ptp(scene.floor, axis=0).min() >= 6 for scene in halls)
    trained = {json.loads(line)["path"] for line in (out / "rollouts.jsonl").read_text().splitlines()}
    asked = {json.loads(line)["clip"] for line in before}
    assert trained.isdisjoint(asked)  # never trained on what it is measured on
    assert len((out / "metrics.jsonl").read_text().splitlines()) == 2
    assert "<html" in (out / "report.html").read_text()
    with pytest.raises(ValueError, match="not empty"):
        quickstart(seed=3, out=out, json_file=None, rooms=SMALL)
