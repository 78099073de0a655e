"""`--isolate`: what the decoder cannot bear is a clip that cannot be read, and the command goes on."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from policy_tiny import tiny_policy
from test_video_fuzz import png
from tolman.cli.main import main
from tolman.policy.load import save_policy
from tolman.video.encode import write_clip
from tolman.video.isolation import IsolatedReader


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy, a clip, a picture that is larger than it looks, and a question about each."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("isolate")
    save_policy(tiny_policy(), folder / "policy")
    frames = np.random.default_rng(0).integers(0, 256, (6, 4, 6, 3), np.uint8).repeat(14, 1).repeat(14, 2)
    write_clip(folder / "good.mp4", frames, 2.0)
    png(folder / "large.png", 8000, 8000)  # 192 MB as RGB
    rows = [
        {"problem_id": number, "problem": "How many chairs?", "data_type": "video", "path": path,
         "problem_type": "numerical", "options": None, "solution": "<answer>2</answer>", "scene_id": path,
         "question_type": "object_counting"}
        for number, path in enumerate(("good.mp4", "large.png"))
    ]  # fmt: skip
    (folder / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture
def little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers with 300 MiB."""
    monkeypatch.setattr(IsolatedReader.__init__, "__defaults__", (300, 60, 900.0))


def predictions(place: Path, out: Path, *more: str) -> list[dict[str, Any]]:
    given = ["--questions", place / "questions.jsonl", "--videos", place, "--model", place / "policy"]
    how = ["--template", "direct", "--max-new-tokens", "4", "--out", out, *more]
    assert main(["eval", *map(str, [*given, *how])]) == 0
    rows = [json.loads(line) for line in (out / "predictions.jsonl").read_text().splitlines()]
    return sorted(rows, key=lambda row: row["id"])


@pytest.mark.usefixtures("little_memory")
def test_eval_and_report(place: Path, tmp_path: Path) -> None:
    plain = predictions(place, tmp_path / "plain")
    good, large = predictions(place, tmp_path / "isolated", "--isolate")
    assert not plain[1]["unanswered"]  # this process has the memory, so it was no fault of the file's
    for key in ("raw", "score", "frames", "frame_times", "frame_size"):
        assert good[key] == plain[0][key]
    assert large["unanswered"]
    assert re.search(r"clip cannot be read: .*large\.png: .*memory", large["reason"])  # av's words, or ours
    pages = {}
    for name, option in (("plain", []), ("isolated", ["--isolate"])):
        assert main(["report", str(tmp_path / "plain"), *option]) == 0
        pages[name] = (tmp_path / "plain" / "report.html").read_text(encoding="utf-8")
    assert "Frames not shown" not in pages["plain"]
    assert len(re.findall(r"Frames not shown: .*large\.png: .*memory", pages["isolated"])) == 1
    shown = {name: re.findall(r"data:image/png[^\"]+", page) for name, page in pages.items()}
    assert len(shown["plain"]) == 7  # six frames of the clip and the large picture
    assert shown["isolated"] == shown["plain"][:6]
