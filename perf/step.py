"""Training steps against the naive way: trees that hold what is shared once, beside one flat row per sample.

    python perf/step.py [--rounds 5] [--threads 2] [--json FILE]

Policy: a fresh starter (about 7 million parameters, 8 frames of 112 pixels). SFT: 4 clips with 4 questions
each, gold map and answer. RL: 4 prompts, 8 completions of up to 100 tokens each, KL to a reference. The naive
way repeats pixels and prompt for every sample, in the loss, in the reference and in the rollout, as the
published trainers do; both run the same functions on the same tokens, by turns, in one process.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tolman.learn.batching import ClipTree, flat_log_probs, tree_scores_of
from tolman.learn.corpus import load_corpus
from tolman.learn.optim import make_adamw
from tolman.learn.recipe import Recipe, parse_recipe
from tolman.learn.rl import Rl
from tolman.learn.seeds import generator
from tolman.learn.sft import Sft
from tolman.policy.generate import generate
from tolman.policy.policy import Policy
from tolman.policy.prompt import Prompt
from tolman.policy.starter import StarterConfig, make_starter
from tolman.policy.tokenizer import train_tokenizer
from tolman.policy.tree import TokenTree
from tolman.video.encode import write_clip

CLIPS, QUESTIONS, GROUP, TOKENS = 4, 4, 8, 100


def main() -> None:
    """Measure and print."""
    arguments = read_arguments()
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as folder:
        data = write_dataset(Path(folder))
        results = {"sft": measure_sft(data, arguments.rounds), "rl": measure_rl(data, arguments.rounds)}
    for name, found in results.items():
        print(f"{name}:")
        for key, value in found.items():
            print(f"  {key:28} {value:10.4g}")
    if arguments.json:
        arguments.json.write_text(json.dumps({"threads": arguments.threads} | results, indent=1) + "\n")


def read_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5, help="timed steps of each way (the median counts)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, metavar="FILE")
    return parser.parse_args()


def write_dataset(folder: Path) -> Path:
    """Clips of random blocks with counting questions and maps of six categories."""
    rng = np.random.default_rng(0)
    (folder / "clips").mkdir()
    rows = []
    for clip in range(CLIPS):
        rgb = rng.integers(0, 255, (16, 8, 8, 3), dtype=np.uint8).repeat(14, 1).repeat(14, 2)
        write_clip(folder / "clips" / f"{clip}.mp4", rgb, fps=2)
        names = ("chair", "table", "sofa", "bed", "lamp", "door")
        drawn = {name: rng.integers(0, 10, (2, 2)).tolist() for name in names}
        rows += [
            question_row(f"{clip}-{index}", f"clips/{clip}.mp4", index + 1, drawn)
            for index in range(QUESTIONS)
        ]
    (folder / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def question_row(problem_id: str, path: str, answer: int, drawn: dict[str, Any]) -> dict[str, Any]:
    """One row of questions.jsonl."""
    problem = "How many chairs are in this room, counting those behind the table as well?"
    return {
        "problem_id": problem_id, "problem": problem, "data_type": "video", "problem_type": "numerical",
        "options": None, "solution": f"<answer>{answer}</answer>", "path": path, "cognitive_map": drawn,
    }  # fmt: skip


def make_policy(data: Path) -> Policy:
    """A fresh starter with a vocabulary of 2,048."""
    texts = (data / "questions.jsonl").read_text()
    policy = make_starter(train_tokenizer([texts], 2048), 0, StarterConfig())
    policy.model.train()
    return policy


def recipe(data: Path, **sections: Any) -> Recipe:
    """A recipe with the sections both objectives share."""
    table: dict[str, Any] = {
        "run": {"name": "perf", "steps": 1},
        "model": {"path": "starter", "template": "map"},
        "data": {"path": str(data)},
        "optimiser": {"lr": 1e-5},
    }
    return parse_recipe(table | sections)


def measure_sft(data: Path, rounds: int) -> dict[str, float]:
    """Samples a second of SFT steps, both ways."""
    policy = make_policy(data)
    config = recipe(
        data,
        objective={"name": "sft"},
        loss={"name": "nll", "normalise": "tokens"},
        batch={"clips": CLIPS, "questions_per_clip": QUESTIONS},
    )
    objective = Sft(config, policy, load_corpus(config.data))
    optimiser = make_adamw(policy.model.parameters(), config.optimiser)

    def step(index: int, flat: bool) -> float:
        began = time.perf_counter()
        [part] = objective.batch(index).parts
        descend(objective, flatten(part) if flat else part, optimiser)
        return time.perf_counter() - began

    apart = disagreement(objective)
    ours, naive = by_turns(step, rounds)
    samples = CLIPS * QUESTIONS
    return {
        "samples": samples, "samples_per_second": samples / ours, "naive_samples_per_second": samples / naive,
        "ratio": naive / ours, "log_probs_differ_by": apart,
    }  # fmt: skip


def measure_rl(data: Path, rounds: int) -> dict[str, float]:
    """Seconds of RL steps (rollout, grading, reference, loss, update), both ways."""
    policy = make_policy(data)
    config = recipe(
        data,
        objective={"name": "rl"},
        sampling={"group": GROUP, "max_new_tokens": TOKENS},
        rewards=[
            {"name": "accuracy"},
            {"name": "map", "options": {"no_truth": "no_term"}},
            {"name": "format"},
        ],
        advantage={"name": "group_mean_std"},
        loss={"name": "policy_gradient", "normalise": "sequences", "beta": 0.04, "clamp": 10.0},
        batch={"clips": CLIPS},
    )
    objective = Rl(config, policy, load_corpus(config.data))
    optimiser = make_adamw(policy.model.parameters(), config.optimiser)

    def step(index: int, flat: bool) -> float:
        began = time.perf_counter()
        [part] = objective.batch(index).parts
        if (
            flat
        ):  # sample again without sharing (the shared sampling is not counted), train on the same tokens
            began = time.perf_counter()
            policy.model.eval()
            prompts = [copied(prompt) for clip in part.clips for prompt in clip.prompts for _ in range(GROUP)]
            generate(policy, prompts, 1, max_new_tokens=TOKENS, generator=generator(0, index, "rollout"))
            part = flatten(part)
        policy.model.train()
        descend(objective, part, optimiser)
        return time.perf_counter() - began

    apart = disagreement(objective)
    ours, naive = by_turns(step, rounds)
    return {
        "completions": CLIPS * GROUP, "tokens_each_at_most": TOKENS, "step_seconds": ours,
        "naive_step_seconds": naive, "ratio": naive / ours, "log_probs_differ_by": apart,
    }  # fmt: skip


def descend(objective: Sft | Rl, part: Any, optimiser: torch.optim.Optimizer) -> None:
    """Loss, gradient, update."""
    objective.loss(part).loss.backward()  # type: ignore[no-untyped-call]
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)


@torch.no_grad()
def disagreement(objective: Sft | Rl) -> float:
    """Largest difference between the two ways' log-probabilities of one token: that they do the same work."""
    [part] = objective.batch(0).parts
    ours, naive = (
        flat_log_probs(tree_scores_of(objective.policy, clips)) for clips in (part.clips, flatten(part).clips)
    )
    return float((ours - naive).abs().max())


def by_turns(step: Callable[[int, bool], float], rounds: int) -> tuple[float, float]:
    """Median seconds of our way and of the naive way; the first round only warms up."""
    found: dict[bool, list[float]] = {False: [], True: []}
    for index in range(rounds + 1):
        for flat in (False, True):
            found[flat].append(step(index, flat))
    return statistics.median(found[False][1:]), statistics.median(found[True][1:])


def flatten(part: Any) -> Any:
    """The part with one tree per completion and its own copy of the pixels: nothing is shared."""
    flat = []
    for clip in part.clips:
        for node, advantage in zip(clip.completion_nodes, clip.advantages, strict=True):
            leaf = clip.tree.nodes[node]
            index = clip.question_nodes.index(leaf.parent)
            prompt = copied(clip.prompts[index])
            tree = TokenTree()
            _, question = prompt.add_to(tree)
            alone = ClipTree(clip.clip, (clip.questions[index],), (prompt,), tree, (question,))
            alone.add_completion(0, leaf.token_ids, advantage)
            flat.append(alone)
    return replace(part, clips=flat)


def copied(prompt: Prompt) -> Prompt:
    """The prompt with a clip of its own, so that nothing recognises it as the same."""
    assert prompt.clip is not None
    return replace(prompt, clip=replace(prompt.clip, pixels=prompt.clip.pixels.clone()))


if __name__ == "__main__":
    main()
