"""Workers on a Ray cluster of two nodes, both on this machine. Backends are scripted."""

from __future__ import annotations

import os
import signal
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from policy_tiny import tiny_policy
from test_bench_predictions import COUNT, Counting, numbers, questions
from test_bench_workers import OPTIONS, no_model, slow
from tolman.bench.asking import question
from tolman.bench.evaluate import evaluate
from tolman.bench.predictions import read_predictions
from tolman.bench.ray_workers import RayTeam
from tolman.bench.workers import Workers
from tolman.cli.main import main
from tolman.policy.load import save_policy
from tolman.video.encode import write_clip

ray: Any = pytest.importorskip("ray", reason="Ray is not installed (pip install ray)")


@pytest.mark.slow
def test_a_killed_actor_loses_and_doubles_nothing(address: str, tmp_path: Path) -> None:
    one = evaluate(Counting(), questions(), tmp_path, batch=2, **OPTIONS)
    hangs = tmp_path / "hangs"

    def kill() -> None:
        while not hangs.is_file() or not hangs.read_text():
            time.sleep(0.05)
        os.kill(int(hangs.read_text().split()[1]), signal.SIGKILL)

    threading.Thread(target=kill, daemon=True).start()
    out = tmp_path / "many" / "predictions.jsonl"
    team = RayTeam(partial(slow, folder=tmp_path, hang=True), None, address)
    assert len(team.members()) == 2  # one for each node
    with Workers(team) as workers:
        assert (workers.name, workers.sampling) == (Counting.name, Counting.sampling)
        found = evaluate(workers, questions(), out.parent, batch=2, out=out, **OPTIONS)
        assert len(team.members()) == 1
    assert sorted(numbers(out)) == list(range(COUNT))
    assert [row | {"clip_root": ""} for row in found.rows] == [row | {"clip_root": ""} for row in one.rows]
    assert not ray.is_initialized()  # left as it was found


@pytest.mark.slow
def test_what_a_cluster_cannot_do_is_said(address: str) -> None:
    with pytest.raises(ValueError, match=r"^no policy for worker "):
        Workers(RayTeam(no_model, 1, address))
    with pytest.raises(ValueError, match="1 workers of 1 GPUs each do not fit a cluster with 0"):
        RayTeam(no_model, 1, address, gpus=1)


@pytest.mark.slow
def test_a_policy_on_a_cluster_by_the_command_line(address: str, tmp_path: Path) -> None:
    save_policy(tiny_policy(), tmp_path / "policy")
    write_clip(tmp_path / "a.mp4", np.full((4, 56, 84, 3), 99, np.uint8), 2.0)
    asked = [
        question("stibench", f"s{k}", f"Which, {k}?", "B", options=["x", "y"], clip="a.mp4", kind="Pose")
        for k in range(3)
    ]
    (tmp_path / "rows.jsonl").write_text("".join(f"{one.to_json()}\n" for one in asked))
    base = ["eval", "--benchmark", "stibench", "--questions", str(tmp_path / "rows.jsonl")]
    base += ["--videos", str(tmp_path), "--model", str(tmp_path / "policy"), "--max-new-tokens", "4"]
    raw = []
    for out, more in (("here", []), ("there", ["--ray", address, "--workers", "1"])):
        assert main([*base, "--out", str(tmp_path / out), *more]) == 0
        rows = read_predictions(tmp_path / out / "predictions.jsonl")
        raw.append({row["id"]: row["raw"] for row in rows})
    assert raw[0] == raw[1]
    assert len(raw[0]) == 3
