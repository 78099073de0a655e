"""Training steps against the naive way: trees that hold what is shared once, beside one flat row per sample.

    python perf/step.py [--size starter|smol|3b|7b] [--questions 1] [--frames N] [--tokens N] [--train all]
                        [--rounds 3] [--threads 2] [--device auto] [--json FILE]

starter here is a fresh one (about 7 million parameters, 8 frames of 112 pixels) with 4 clips a step, the
others take one; 3b and 7b are random bfloat16 weights. SFT: 4 questions a clip, gold map and answer. RL: 8
completions of each question (`--questions` a clip), KL to a reference: rollout, grading, reference, loss,
update. `--train text`: the vision tower is frozen.

The naive way repeats pixels and prompt for every sample in loss and reference, with the same functions, on
the same tokens, and for 3b and 7b with gradient checkpointing (7b's tree too); it samples by transformers'
`generate` with `num_return_sequences`. Both in one process, by turns. Clips are decoded beforehand.

The floor of a step: the arithmetic of loss and reference at the speed of the matrix product, and for RL the
bytes of the weights once for each token of the longest completion at the bandwidth of a copy, both measured.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from evaluate import weight_bytes
from loss import keep_activations, matmul_peak
from sizes import SIZES, TEXT, WORDS, bandwidth, pick_device, seconds, stock_inputs
from sizes import make_policy as policy_of_size
from tolman.learn.batching import ClipTree, flat_log_probs, tree_scores_of
from tolman.learn.corpus import load_corpus
from tolman.learn.optim import choose_trained, make_adamw, recompute_activations
from tolman.learn.recipe import Recipe, parse_recipe
from tolman.learn.rl import Rl
from tolman.learn.sft import Sft
from tolman.learn.utilisation import FlopMeter
from tolman.policy.policy import Policy
from tolman.policy.prompt import Prompt, encode_clip
from tolman.policy.starter import StarterConfig, make_starter
from tolman.policy.tokenizer import train_tokenizer
from tolman.policy.tree import TokenTree
from tolman.video.encode import write_clip

QUESTIONS, GROUP = 4, 8


def main() -> None:
    """Measure and print."""
    arguments = read_arguments()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    policy = make_policy(arguments)
    with tempfile.TemporaryDirectory() as folder:
        data = write_dataset(Path(folder), policy, clips_of(arguments))
        results = {name: measure(name, data, policy, arguments) for name in ("sft", "rl")}
    for name, found in results.items():
        print(f"{name}:")
        for key, value in found.items():
            print(f"  {key:28} {value:10.4g}")
    if arguments.json:
        arguments.json.write_text(json.dumps(vars(arguments) | results, indent=1, default=str) + "\n")


def read_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", choices=SIZES, default="starter")
    parser.add_argument("--questions", type=int, default=1, help="of a clip in an RL step, 4 at most")
    parser.add_argument("--frames", type=int, default=0, help="of a clip; 0: the policy's own number")
    parser.add_argument("--tokens", type=int, default=0, help="at most; 0: 400 for 3b and 7b, or 100")
    parser.add_argument("--train", choices=("all", "text"), default="all", help="text: a frozen vision tower")
    parser.add_argument("--rounds", type=int, default=3, help="timed steps of each way (the median counts)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="auto", help="a torch device; auto: CUDA where there is one")
    parser.add_argument("--json", type=Path, metavar="FILE")
    return parser.parse_args()


def clips_of(arguments: argparse.Namespace) -> int:
    """Clips a step."""
    return 4 if arguments.size == "starter" else 1


def make_policy(arguments: argparse.Namespace) -> Policy:
    """Of the size; a starter is fresh, with a vocabulary of 2,048."""
    device = pick_device(arguments.device)
    if arguments.size == "starter":
        policy = make_starter(train_tokenizer([WORDS], 2048), 0, StarterConfig())
        policy.model.to(device)
    else:
        policy = policy_of_size(arguments.size, device)
    choose_trained(policy.model, arguments.train)
    return replace(policy, frames=arguments.frames or policy.frames)


def write_dataset(folder: Path, policy: Policy, clips: int) -> Path:
    """Clips of random blocks with counting questions and maps of six categories."""
    rng = np.random.default_rng(0)
    (folder / "clips").mkdir()
    rows = []
    height, width = (side // 14 for side in policy.frame_size)
    for clip in range(clips):
        rgb = rng.integers(0, 255, (max(16, policy.frames), height, width, 3), dtype=np.uint8)
        write_clip(folder / "clips" / f"{clip}.mp4", rgb.repeat(14, 1).repeat(14, 2), fps=2)
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
    return {
        "problem_id": problem_id, "problem": WORDS, "data_type": "video", "problem_type": "numerical",
        "options": None, "solution": f"<answer>{answer}</answer>", "path": path, "cognitive_map": drawn,
    }  # fmt: skip


def tokens_of(arguments: argparse.Namespace) -> int:
    """Most tokens of a completion."""
    return int(arguments.tokens) or (400 if arguments.size in TEXT else 100)


def make_recipe(name: str, data: Path, arguments: argparse.Namespace) -> Recipe:
    """Of supervised fine-tuning, or of GRPO. Features are not held from one step to the next: a clip that is
    new costs its pass through the tower."""
    table: dict[str, Any] = {
        "run": {"name": "perf", "steps": 1},
        "model": {"path": "starter", "template": "map", "train": arguments.train},
        "data": {"path": str(data), "features_mb": 0},
        "optimiser": {"lr": 1e-5},
        "objective": {"name": name},
        "batch": {"clips": clips_of(arguments), "questions_per_clip": QUESTIONS},
    }
    if name == "sft":
        return parse_recipe(table | {"loss": {"name": "nll", "normalise": "tokens"}})
    table["batch"]["questions_per_clip"] = arguments.questions
    rewards = [{"name": "accuracy"}, {"name": "map", "options": {"no_truth": "no_term"}}, {"name": "format"}]
    loss = {"name": "policy_gradient", "normalise": "sequences", "beta": 0.04, "clamp": 10.0}
    return parse_recipe(
        table
        | {
            "sampling": {"group": GROUP, "max_new_tokens": tokens_of(arguments)},
            "rewards": rewards,
            "advantage": {"name": "group_mean_std"},
            "loss": loss,
        }
    )


def measure(name: str, data: Path, policy: Policy, arguments: argparse.Namespace) -> dict[str, float]:
    """Seconds of steps of an objective, both ways."""
    recipe, device = make_recipe(name, data, arguments), policy.device
    objective = (Rl if name == "rl" else Sft)(recipe, policy, load_corpus(recipe.data))
    optimiser = make_adamw(policy.model.parameters(), recipe.optimiser)
    tokens = tokens_of(arguments)
    [part] = objective.batch(0).parts
    flat = flatten(objective, part)
    apart = disagreement(objective, part, flat)
    is_large = arguments.size in TEXT

    def ours(index: int) -> None:
        [part] = objective.batch(index).parts
        with checkpointing(policy.model, arguments.size == "7b"):
            descend(objective, part, optimiser)

    def naive(_: int) -> None:
        if name == "rl":
            for clip in part.clips:
                for index in range(len(clip.questions)):
                    sample_by_transformers(policy, fresh_prompt(objective, clip, index), tokens)
        with checkpointing(policy.model, is_large):
            descend(objective, flat, optimiser)

    times, peaks = by_turns({"ours": ours, "naive": naive}, arguments.rounds, device)
    flops = FlopMeter(policy, recipe).of(part)["flops"]
    floor = flops / matmul_peak(device, policy.model.dtype)
    if name == "rl":
        longest = max(length for clip in part.clips for length in clip.lengths)
        floor = 4 / 3 * floor + longest * weight_bytes(policy) / bandwidth(device)
    samples = len(flat.clips)
    return {
        "samples": samples, "step_seconds": times["ours"], "naive_step_seconds": times["naive"],
        "samples_per_second": samples / times["ours"], "naive_samples_per_second": samples / times["naive"],
        "ratio": times["naive"] / times["ours"], "floor_seconds": floor, "log_probs_differ_by": apart,
        **{f"{way}_peak_gib": peak / 2**30 for way, peak in peaks.items()},
    }  # fmt: skip


def descend(objective: Sft | Rl, part: Any, optimiser: torch.optim.Optimizer) -> None:
    """Loss, gradient, update."""
    objective.policy.model.train()
    objective.loss(part).loss.backward()  # type: ignore[no-untyped-call]
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)


@contextmanager
def checkpointing(model: Any, wanted: bool) -> Iterator[None]:
    """Recompute activations in the block, if wanted."""
    if wanted:
        recompute_activations(model)
    try:
        yield
    finally:
        if wanted:
            keep_activations(model)


@torch.no_grad()
def sample_by_transformers(policy: Policy, prompt: Prompt, tokens: int) -> None:
    """A group of one prompt."""
    policy.model.eval()
    policy.model.set_attn_implementation("sdpa")
    policy.model.generate(
        **stock_inputs(policy, prompt), num_return_sequences=GROUP, do_sample=True, temperature=1.0, top_k=0,
        top_p=1.0, max_new_tokens=tokens, eos_token_id=list(policy.stop_ids), pad_token_id=policy.pad_id,
    )  # fmt: skip


@torch.no_grad()
def disagreement(objective: Sft | Rl, part: Any, flat: Any) -> float:
    """Largest difference between the two ways' log-probabilities of one token: that they do the same work.
    In float32 they must be the same."""
    objective.policy.model.eval()
    ours, naive = (flat_log_probs(tree_scores_of(objective.policy, way.clips)) for way in (part, flat))
    apart = float((ours - naive).abs().max())
    if ours.isnan().any() or (objective.policy.model.dtype == torch.float32 and apart > 1e-3):
        raise SystemExit(f"the two ways differ by {apart:.1e}; times would mean nothing")
    return apart


def by_turns(
    ways: dict[str, Callable[[int], None]], rounds: int, device: torch.device
) -> tuple[dict[str, float], dict[str, int]]:
    """Median seconds and, on a GPU, peak bytes of each way; the first round only warms up."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    peaks = {}
    for index in range(rounds + 1):
        for name, way in ways.items():
            if device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(device)
            found[name].append(seconds(partial(way, index), device))
            if device.type == "cuda":
                peaks[name] = torch.cuda.max_memory_allocated(device)
    return {name: statistics.median(times[1:]) for name, times in found.items()}, peaks


def flatten(objective: Sft | Rl, part: Any) -> Any:
    """The part with one tree per completion and its own copy of the pixels: nothing is shared."""
    flat = []
    for clip in part.clips:
        for node, advantage, sampled in zip(
            clip.completion_nodes, clip.advantages, clip.sampled, strict=True
        ):
            leaf = clip.tree.nodes[node]
            index = clip.question_nodes.index(leaf.parent)
            prompt = fresh_prompt(objective, clip, index)
            tree = TokenTree()
            _, question = prompt.add_to(tree)
            alone = ClipTree(clip.clip, (clip.questions[index],), (prompt,), tree, (question,))
            alone.add_completion(0, leaf.token_ids, advantage, sampled=sampled)
            flat.append(alone)
    return replace(part, clips=flat)


def fresh_prompt(objective: Sft | Rl, clip: ClipTree, index: int) -> Prompt:
    """A prompt with its clip's pixels of its own, so that nothing recognises it as the same."""
    frames = objective.reader.store.get(clip.clip.file)
    encoded = encode_clip(objective.policy, frames.rgb_THWC, frames.times_T)
    return replace(clip.prompts[index], clip=encoded)


if __name__ == "__main__":
    main()
