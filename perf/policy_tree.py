"""What a token tree saves: loss and rollout of one clip with G completions, against the repeated batch.

    python perf/policy_tree.py [--group 8] [--tokens 100] [--threads 2]

Both ways run in this process on a fresh starter with random weights; prints seconds and ratios.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from tolman.policy.generate import generate
from tolman.policy.logprobs import tree_log_probs
from tolman.policy.policy import Policy
from tolman.policy.prompt import Prompt, build_prompt, encode_clip
from tolman.policy.starter import make_starter
from tolman.policy.tokenizer import train_tokenizer
from tolman.policy.tree import TokenTree, pack
from tolman.questions.question import Question


def best_of(run: Callable[[], Any], repeats: int = 3) -> float:
    """Seconds of the fastest run, after one to warm up."""
    run()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


def flat_inputs(policy: Policy, prompt: Prompt, completions: list[tuple[int, ...]]) -> dict[str, Any]:
    """Transformers' inputs with clip and prompt repeated for every completion (all of one length)."""
    assert prompt.clip is not None
    ids = torch.tensor([prompt.clip_ids + prompt.question_ids + completion for completion in completions])
    n = len(completions)
    return {
        "input_ids": ids,
        "pixel_values_videos": prompt.clip.pixels.repeat(n, 1),
        "video_grid_thw": prompt.clip.grid_thw.repeat(n, 1),
        "second_per_grid_ts": torch.tensor([prompt.clip.seconds_per_grid] * n),
        "mm_token_type_ids": 2 * (ids == policy.video_tokens.video_token_id).long(),
    }


def tree_loss(policy: Policy, prompt: Prompt, completions: list[tuple[int, ...]]) -> None:
    """Forward and backward through the packed tree."""
    tree = TokenTree()
    _, asked = prompt.add_to(tree)
    nodes = [(0, tree.add(completion, asked)) for completion in completions]
    packed = pack([tree], policy.pad_id, policy.video_tokens)
    torch.cat(tree_log_probs(policy.model, packed, nodes)).sum().backward()


def flat_loss(policy: Policy, prompt: Prompt, completions: list[tuple[int, ...]]) -> None:
    """The same from the repeated batch, logits kept for the completions only."""
    length = len(completions[0])
    inputs = flat_inputs(policy, prompt, completions)
    logits = policy.model(**inputs, logits_to_keep=length + 1).logits[:, :-1]
    targets = torch.tensor(completions)
    logits.float().log_softmax(-1).gather(-1, targets[..., None]).sum().backward()


def main() -> None:
    """Print both comparisons."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--group", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=100)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    policy = make_starter(train_tokenizer(["how many chairs are there in this room?"], 2048), 0)
    shape = (policy.frames, *policy.frame_size, 3)
    rgb = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    clip = encode_clip(policy, rgb, np.arange(policy.frames) / 4)
    row = {"problem_id": 0, "problem": "How many chairs are in this room?", "problem_type": "numerical"}
    question = Question.from_row(row | {"solution": "<answer>2</answer>", "path": ""})
    prompt = build_prompt(policy, question, clip, "map")
    ids = np.random.default_rng(1).integers(20, len(policy.tokenizer), (args.group, args.tokens))
    completions = [tuple(int(token) for token in line) for line in ids]
    size = f"{len(prompt.clip_ids + prompt.question_ids)} prompt + {args.group} x {args.tokens} tokens"
    tree, flat = (best_of(lambda way=way: way(policy, prompt, completions)) for way in (tree_loss, flat_loss))
    print(f"loss and gradients, {size}: tree {tree:.3f} s, repeated {flat:.3f} s, ratio {flat / tree:.2f}")
    inputs = flat_inputs(policy, prompt, [()] * args.group)
    ours = best_of(lambda: generate(policy, [prompt], args.group, max_new_tokens=args.tokens, stop_ids=()))
    theirs = best_of(
        lambda: policy.model.generate(
            **inputs, do_sample=True, top_k=0, max_new_tokens=args.tokens, min_new_tokens=args.tokens
        )
    )
    print(f"rollout, {size}: tree {ours:.3f} s, transformers {theirs:.3f} s, ratio {theirs / ours:.2f}")


if __name__ == "__main__":
    main()
