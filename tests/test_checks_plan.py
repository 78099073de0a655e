"""What `tolman plan` says of steps on two CPU cores, against what checks/plan.py measured there."""

from __future__ import annotations

from pathlib import Path

import pytest

from plan import KINDS, recipe_of
from tolman.learn.hardware import find_hardware
from tolman.learn.plan import Lengths, make_plan, model_size

MEASURED = [  # model, kind, share of its clips, seconds, tokens of a question, a completion and the longest
    ("starter", "dense", 1.0, 0.947, 61, 0, 0),
    ("starter", "sft", 1.0, 0.448, 61, 46, 0),
    ("starter", "sft, float32", 1.0, 0.559, 61, 46, 0),
    ("starter", "sft, whole", 1.0, 1.131, 61, 46, 0),
    ("starter", "sft, whole, float32", 1.0, 1.527, 61, 46, 0),
    ("starter", "sft, four questions", 1.0, 0.580, 61, 47, 0),
    ("starter", "sft, four questions, whole", 1.0, 0.964, 61, 47, 0),
    ("starter", "sft, four questions, whole, float32", 1.0, 1.358, 61, 47, 0),
    ("starter", "sft, 96 blind, whole", 1.0, 1.832, 61, 46, 0),
    ("starter", "rl", 1.0, 2.909, 61, 78, 145),
    ("starter", "rl, whole, mixed", 1.0, 2.945, 61, 78, 143),
    ("smol", "sft", 0.25, 3.257, 65, 72, 0),
    ("smol", "sft, float32", 0.25, 5.657, 65, 72, 0),
    ("smol", "sft, four questions, whole", 0.25, 5.172, 65, 73, 0),
]


@pytest.mark.parametrize(
    ("model", "kind", "scale", "seconds", "question", "completion", "longest"),
    MEASURED,
    ids=[f"{model}: {kind}" for model, kind, *_ in MEASURED],
)
def test_seconds_on_two_cores(
    model: str, kind: str, scale: float, seconds: float, question: int, completion: int, longest: int
) -> None:
    """Rows of docs/plan.md."""
    recipe = recipe_of(kind, model, scale, Path("data"), Path("runs"))
    lengths = Lengths(question, completion, longest)
    made = make_plan(recipe, model_size(model), find_hardware("cpu2"), lengths)
    assert made.step_seconds == pytest.approx(seconds, rel=0.15)


def test_every_kind_is_measured() -> None:
    assert {kind for model, kind, *_ in MEASURED if model == "starter"} == set(KINDS)
