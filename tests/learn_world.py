"""A tiny policy, a tiny dataset and a recipe for the tests of `learn`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from tolman.policy.policy import Policy
from tolman.policy.starter import StarterConfig, make_starter
from tolman.policy.tokenizer import train_tokenizer
from tolman.questions.question import Question
from tolman.reward.graded import Graded
from tolman.video.encode import write_clip

SIZES = StarterConfig(
    hidden=64, layers=2, head_dim=16, kv_heads=2, intermediate=64, vision_hidden=32, vision_depth=1,
    vision_heads=2, vision_intermediate=32, patch=14, merge=2, frames=4, frame_size=(56, 56),
)  # fmt: skip
TEXTS = [
    "How many chairs are there?",
    '<think><map>{"chair": [[1, 2]], "table": [[3, 3]]}</map></think><answer>3</answer>',
    "Think, draw the map, answer.",
]


def tiny_policy(seed: int = 0) -> Policy:
    """About 60,000 parameters, 4 frames of 56 pixels."""
    return make_starter(train_tokenizer(TEXTS, 320), seed, SIZES)


def write_dataset(folder: Path, clips: int = 5, questions: int = 3) -> Path:
    """Clips of random blocks and counting questions about them."""
    rng = np.random.default_rng(0)
    (folder / "clips").mkdir(parents=True)
    rows = []
    for clip in range(clips):
        rgb = rng.integers(0, 255, (6, 4, 4, 3), dtype=np.uint8).repeat(16, 1).repeat(16, 2)
        write_clip(folder / "clips" / f"{clip}.mp4", rgb, fps=4)
        for index in range(questions):
            rows.append(question_row(f"{clip}-{index}", f"clips/{clip}.mp4", (clip + index) % 5 + 1))
    (folder / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def question_row(problem_id: str, path: str, answer: int) -> dict[str, Any]:
    """A row of questions.jsonl."""
    return {
        "problem_id": problem_id,
        "problem": "How many chairs are there?",
        "data_type": "video",
        "problem_type": "numerical",
        "options": None,
        "solution": f"<answer>{answer}</answer>",
        "path": path,
        "question_type": "object_counting",
        "cognitive_map": {"chair": [[1, 2], [answer, 7]], "table": [[3, 3]]},
    }


def digits(completion: str, question: Question) -> Graded:
    """A reward that a fresh policy sometimes earns: the share of digits in the text."""
    return Graded(sum(c.isdigit() for c in completion) / max(len(completion), 1), "share of digits")


def sft_table(data: Path, out: Path, **run: Any) -> dict[str, Any]:
    """An SFT recipe's table."""
    return {
        "run": {"name": "tiny", "out": str(out), "steps": 6, "checkpoint_every": 3, "seed": 3, **run},
        "model": {"path": "unused", "template": "map"},
        "data": {"path": str(data)},
        "objective": {"name": "sft"},
        "loss": {"name": "nll", "normalise": "tokens"},
        "optimiser": {"lr": 3e-3, "warmup": 2, "schedule": "cosine"},
        "batch": {"clips": 2, "questions_per_clip": 2},
    }


def rl_table(data: Path, out: Path, **run: Any) -> dict[str, Any]:
    """An RL recipe's table; the rewards are ones that a fresh policy sometimes earns."""
    return sft_table(data, out, **run) | {
        "objective": {"name": "rl"},
        "sampling": {"group": 4, "max_new_tokens": 12},
        "rewards": [{"name": "accuracy"}, {"name": "format"}],
        "advantage": {"name": "group_mean_std"},
        "loss": {"name": "policy_gradient", "normalise": "sequences", "beta": 0.04, "clamp": 10.0},
    }
