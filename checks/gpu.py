"""Everything that only a GPU runs, checked and timed by one command.

    python checks/gpu.py [--device cuda] [--size 3b] [--out gpu] [--limit 480] [--only attention sampler]

attention: log-probabilities and gradients of trees against the flat batch by transformers' own attention, on
rows of both sides of `FLEX_FROM`, of many lengths, with and without compiled layers; that few kernels are
compiled for them. sampler: what was sampled with CUDA graphs against the same steps without, against what the
loss computes for it, and on a second GPU where there is one. tests: the policy's tests, among them those
that are skipped without a GPU. Then the scripts in `perf` that this machine was made for.

Each part is a process of its own with a time limit, so that one failure does not hide the others. A part's
output goes to OUT/PART.txt, its numbers to OUT/PART.json; a table of all comes last. The exit status is the
number of parts that failed. `--device cpu --size starter` tries the script itself out.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from policy_tiny import (  # noqa: E402
    flat_log_probs,
    gradients,
    noise_clip,
    question,
    tiny_policy,
    tiny_qwen3_policy,
)
from tolman.policy import decode  # noqa: E402
from tolman.policy.generate import Sample, generate  # noqa: E402
from tolman.policy.logprobs import tree_log_probs  # noqa: E402
from tolman.policy.policy import Policy  # noqa: E402
from tolman.policy.prompt import Prompt, build_prompt  # noqa: E402
from tolman.policy.tree import Packed, TokenTree, join, pack  # noqa: E402

PERF = {
    "loss": ["loss.py"],
    "rollout": ["rollout.py"],
    "step": ["step.py"],
    "step-frozen": ["step.py", "--train", "text"],
    "step-32-frames": ["step.py", "--frames", "32"],
    "step-4-questions": ["step.py", "--questions", "4"],
    "evaluate": ["evaluate.py"],
}
CLOSE = 1e-4
"""Largest difference of a log-probability in float32, and of a gradient relative to its norm."""


def main() -> int:
    """Run the parts, one after another."""
    given = read_arguments()
    if given.part:
        found = CHECKS[given.part](torch.device(given.device))
        given.json.write_text(json.dumps(found, indent=1) + "\n")
        return int(not found["ok"])
    given.out.mkdir(parents=True, exist_ok=True)
    table = [run(part, given) for part in given.only or (*CHECKS, "tests", *PERF)]
    print("\n".join(f"{part:17} {state:9} {taken:5.0f} s  {line}" for part, state, taken, line in table))
    return sum(state != "ok" for _, state, _, _ in table)


def read_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--size", default="3b", choices=("starter", "smol", "3b", "7b"), help="for perf")
    parser.add_argument("--rounds", type=int, default=2, help="timed runs of each way, for perf")
    parser.add_argument("--out", type=Path, default=Path("gpu"))
    parser.add_argument("--limit", type=float, default=480.0, help="seconds for each part")
    parser.add_argument("--only", nargs="+", choices=(*CHECKS, "tests", *PERF), metavar="PART")
    parser.add_argument("--part", choices=CHECKS, help=argparse.SUPPRESS)
    parser.add_argument("--json", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def run(part: str, given: argparse.Namespace) -> tuple[str, str, float, str]:
    """A part in its process: its name, what became of it, seconds, and its numbers in a line."""
    numbers = given.out / f"{part}.json"
    numbers.unlink(missing_ok=True)
    began = time.perf_counter()
    with (given.out / f"{part}.txt").open("w") as text:
        try:
            command = [sys.executable, *command_of(part, given, numbers)]
            done = subprocess.run(command, stdout=text, stderr=subprocess.STDOUT, timeout=given.limit)
            state = "ok" if done.returncode == 0 else "FAILED"
        except subprocess.TimeoutExpired:
            state = "TIMED OUT"
    taken = time.perf_counter() - began
    last = ((given.out / f"{part}.txt").read_text().splitlines() or [""])[-1]
    line = headline(json.loads(numbers.read_text())) if numbers.is_file() else last[:100]
    return part, state, taken, line


def command_of(part: str, given: argparse.Namespace, numbers: Path) -> list[str]:
    """What Python is to run."""
    if part in CHECKS:
        return [__file__, "--part", part, "--device", given.device, "--json", str(numbers)]
    if part == "tests":
        return ["-m", "pytest", "-q", *map(str, sorted((ROOT / "tests").glob("test_policy_*.py")))]
    script, *options = PERF[part]
    options += ["--size", given.size, "--device", given.device, "--rounds", str(given.rounds)]
    return [str(ROOT / "perf" / script), *options, "--json", str(numbers)]


def headline(found: dict[str, Any], prefix: str = "") -> str:
    """The ratios, differences and shares of a limit among the numbers."""
    wanted = ("ratio", "share_of_peak", "differ", "step_ms", "floor", "graphs", "same", "alone")
    parts = []
    for key, value in found.items():
        if isinstance(value, dict):
            parts.append(headline(value, f"{prefix}{key}."))
        elif isinstance(value, float | int) and any(word in key for word in wanted):
            parts.append(f"{prefix}{key} {value:.3g}")
    return ", ".join(part for part in parts if part)


def check_attention(device: torch.device) -> dict[str, Any]:
    """Trees against the flat batch; rows of 100 to 2,000 tokens, one to three in a batch."""
    torch._dynamo.config.fail_on_recompile_limit_hit = True  # else it goes on without a kernel
    found: dict[str, Any] = {"log_probs_differ": 0.0, "gradients_differ": 0.0}
    for make in (tiny_policy, tiny_qwen3_policy):
        torch._dynamo.reset()  # kernels of one class do not count towards the other's limit
        policy = make()
        policy.model.to(device)
        for compiled in (False, True) if device.type == "cuda" else (False,):
            if compiled:
                for layer in policy.model.model.language_model.layers:
                    layer.compile()
            for case, length in enumerate((8, 300, 410, 333, 520, 290)):
                one_row = case % 2 == 1  # as the learner packs a step's trees
                differences = apart(policy, 1 + case % 3, length, one_row)
                print(
                    make.__name__, "compiled" if compiled else "", length, one_row, *differences, flush=True
                )
                for key, value in zip(found, differences, strict=True):
                    found[key] = max(found[key], value)
    found["ok"] = max(found.values()) <= CLOSE
    found["graphs"] = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    return found


def apart(policy: Policy, rows: int, length: int, one_row: bool) -> tuple[float, float]:
    """Largest difference of a log-probability, and of a weight's gradient relative to its norm."""
    draw = torch.Generator().manual_seed(length)
    trees, nodes, flat = [], [], []
    for row in range(rows):
        tree = TokenTree()
        prompt = prompts_of(policy)[row]
        _, asked = prompt.add_to(tree)
        for own in (length, 1, 0, length - 3 * row):
            ids = tuple(torch.randint(20, 250, (own,), generator=draw).tolist())
            nodes.append((row, tree.add(ids, asked)))
            flat.append((prompt.clip_ids + prompt.question_ids, prompt.clip, ids))
        trees.append(tree)
    if one_row:
        joined, first = join(trees)
        trees, nodes = [joined], [(0, first[row] + node) for row, node in nodes]
    packed = pack(trees, policy.pad_id, policy.video_tokens)
    ours = tree_log_probs(policy.model, packed, nodes)
    our_gradients = gradients(policy, ours)
    theirs = flat_log_probs(policy, flat)
    their_gradients = gradients(policy, theirs)
    largest = max(float(gradient.norm()) for gradient in their_gradients.values())
    return (
        float((torch.cat(ours) - torch.cat(theirs)).detach().abs().max()),
        max(
            float((our_gradients[name] - wanted).norm() / wanted.norm().clamp(min=1e-3 * largest))
            for name, wanted in their_gradients.items()
        ),
    )


def prompts_of(policy: Policy) -> list[Prompt]:
    """Two questions about one clip, one about another, one about none."""
    first, second = noise_clip(policy, 0), noise_clip(policy, 1)
    asked = (
        ("How many chairs?", first),
        ("How many doors are there?", second),
        ("Why?", None),
        ("Where?", first),
    )
    return [build_prompt(policy, question(text), clip, "map") for text, clip in asked]


def check_sampler(device: torch.device) -> dict[str, Any]:
    """Samples longer than `FIRST_WIDTH`, so that a second graph is captured, in each way of drawing."""
    found: dict[str, Any] = {"log_probs_differ": 0.0, "same_without_graphs": 1.0}
    devices = [device]
    if device.type == "cuda" and torch.cuda.device_count() > 1:
        devices.append(torch.device("cuda:1"))  # while the current one is another
    for place in devices:
        for make in (tiny_policy, tiny_qwen3_policy):
            policy = make()
            policy.model.to(place)
            for options in ({}, {"temperature": 0.7}, {"top_p": 0.9, "top_k": 50}, {"temperature": 0.0}):
                samples = sample(policy, options)
                eager, decode.EAGER_STEPS = decode.EAGER_STEPS, 10**9
                again = sample(policy, options)
                decode.EAGER_STEPS = eager
                equal = [one.token_ids == other.token_ids for one, other in zip(samples, again, strict=True)]
                difference = rescored(policy, samples, options)
                print(place, make.__name__, options, difference, sum(equal), "of", len(equal), flush=True)
                found["log_probs_differ"] = max(found["log_probs_differ"], difference)
                found["same_without_graphs"] = min(found["same_without_graphs"], sum(equal) / len(equal))
    found["ok"] = found["log_probs_differ"] <= CLOSE and found["same_without_graphs"] == 1
    return found


def sample(policy: Policy, options: dict[str, Any]) -> list[Sample]:
    """Three completions of each prompt."""
    random = torch.Generator().manual_seed(0)
    length = decode.FIRST_WIDTH + 44
    prompts = prompts_of(policy)
    groups = generate(policy, prompts, 3, max_new_tokens=length, generator=random, stop_ids=(5,), **options)
    return [one for group in groups for one in group]


@torch.no_grad()
def rescored(policy: Policy, samples: Sequence[Sample], options: dict[str, Any]) -> float:
    """Largest difference of a token's log-probability from the loss's; of a greedy one, how much likelier
    some other token is said to be."""
    trees, nodes = [], []
    for row, prompt in enumerate(prompts_of(policy)):
        tree = TokenTree()
        _, asked = prompt.add_to(tree)
        nodes += [(row, tree.add(one.token_ids, asked)) for one in samples[3 * row : 3 * row + 3]]
        trees.append(tree)
    packed: Packed = pack(trees, policy.pad_id, policy.video_tokens)
    again = torch.cat(tree_log_probs(policy.model, packed, nodes, options.get("temperature") or 1.0)).cpu()
    if options.get("temperature") == 0:
        vocabulary = policy.model.config.text_config.vocab_size
        return max(0.0, -float(again.min()) - float(torch.tensor(vocabulary).log()))
    before = [one.log_probs if one.full_log_probs is None else one.full_log_probs for one in samples]
    return float((again - torch.cat(before)).abs().max())


CHECKS: dict[str, Callable[[torch.device], dict[str, Any]]] = {
    "attention": check_attention,
    "sampler": check_sampler,
}

if __name__ == "__main__":
    sys.exit(main())
