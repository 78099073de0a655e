"""perf/step.py on a tiny policy: both ways train on the same samples."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import pytest

import step
from learn_world import tiny_policy


@pytest.mark.parametrize(("name", "samples"), [("sft", 4 * 4), ("rl", 4 * 2 * 8)])
def test_both_ways_take_the_same_samples(name: str, samples: int, tmp_path: Path) -> None:
    given = Namespace(size="starter", questions=2, tokens=6, train="all", rounds=1)
    policy = tiny_policy()
    found = step.measure(name, step.write_dataset(tmp_path, policy, 4), policy, given)
    assert found["samples"] == samples
    assert found["log_probs_differ_by"] < 1e-4
    assert 0 < found["floor_seconds"] < found["step_seconds"]
