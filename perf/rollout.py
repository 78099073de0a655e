"""Sampling a group of completions: shared keys and values against transformers' `generate`.

    python perf/rollout.py [--size starter|smol|3b|7b] [--prompts 1] [--group 8] [--tokens 100] [--rounds 3]
                           [--threads 2] [--device auto] [--json FILE]

Both draw from the full softmax and stop nowhere. transformers runs the prompt once for every completion
(`num_return_sequences`), earlier versions the vision tower too. Of several prompts, each with a clip of its
own, it takes one after another, as trainers with one prompt a device do; ours decodes all together.

A step's floor is the time to read once what it needs: the language model's weights, the prompts' keys and
values, and half of all completions' (on average); at the bandwidth that a copy reaches here. A small model
that stays in a CPU's caches can be quicker than that.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

from sizes import SIZES, bandwidth, by_turns, make_policy, make_prompt, noise_clip, pick_device, stock_inputs
from tolman.policy.generate import Sample, generate
from tolman.policy.logprobs import tree_log_probs
from tolman.policy.policy import Policy
from tolman.policy.prompt import Prompt
from tolman.policy.tree import TokenTree, pack


def main() -> None:
    """Check, measure, print."""
    arguments = read_arguments()
    torch.set_num_threads(arguments.threads)
    device = pick_device(arguments.device)
    policy = make_policy(arguments.size, device)
    prompts = [make_prompt(policy, noise_clip(policy, seed)) for seed in range(arguments.prompts)]
    group, tokens = arguments.group, arguments.tokens
    inputs = [stock_inputs(policy, prompt) for prompt in prompts]

    def ours(length: int) -> list[list[Sample]]:
        return generate(policy, prompts, group, max_new_tokens=length, stop_ids=())

    def stock(length: int) -> None:
        for one in inputs:
            policy.model.generate(
                **one, num_return_sequences=group, do_sample=True, temperature=1.0, top_k=0, top_p=1.0,
                max_new_tokens=length, min_new_tokens=length, eos_token_id=policy.stop_ids[0],
                pad_token_id=policy.pad_id,
            )  # fmt: skip

    apart = disagreement(policy, prompts[0], ours(min(tokens, 32))[0])
    times = by_turns(
        {"ours": lambda: ours(tokens), "stock": lambda: stock(tokens), "ours, one token": lambda: ours(1),
         "stock, one token": lambda: stock(1)}, arguments.rounds, device,
    )  # fmt: skip
    floor = step_bytes(policy, prompts, group, tokens) / bandwidth(device)
    found = {
        "size": arguments.size, "device": str(device), "threads": arguments.threads,
        "prompts": len(prompts), "group": group, "tokens": tokens,
        "prompt_tokens": len(prompts[0].clip_ids + prompts[0].question_ids),
        "seconds": times["ours"], "stock_seconds": times["stock"], "ratio": times["stock"] / times["ours"],
        "step_ms": 1e3 * (times["ours"] - times["ours, one token"]) / (tokens - 1),
        "stock_step_ms": 1e3 * (times["stock"] - times["stock, one token"]) / (tokens - 1),
        "prefill_seconds": times["ours, one token"], "stock_prefill_seconds": times["stock, one token"],
        "floor_step_ms": 1e3 * floor, "log_probs_differ_from_the_loss_by": apart,
    }  # fmt: skip
    for key, value in found.items():
        print(f"{key:34} {value:.4g}" if isinstance(value, float) else f"{key:34} {value}")
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")


def read_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", choices=SIZES, default="starter")
    parser.add_argument("--prompts", type=int, default=1)
    parser.add_argument("--group", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=100, help="new tokens of each completion, 2 or more")
    parser.add_argument("--rounds", type=int, default=3, help="timed calls of each way (the median counts)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--json", type=Path, metavar="FILE")
    return parser.parse_args()


@torch.no_grad()
def disagreement(policy: Policy, prompt: Prompt, samples: list[Sample]) -> float:
    """Largest difference between a sampled token's log-probability and what the loss computes for it."""
    tree = TokenTree()
    _, asked = prompt.add_to(tree)
    nodes = [(0, tree.add(sample.token_ids, asked)) for sample in samples]
    again = tree_log_probs(policy.model, pack([tree], policy.pad_id, policy.video_tokens), nodes)
    pairs = zip(samples, again, strict=True)
    return max(float((sample.log_probs - log_probs.cpu()).abs().max()) for sample, log_probs in pairs)


def step_bytes(policy: Policy, prompts: list[Prompt], group: int, tokens: int) -> float:
    """Bytes that an average step has to read."""
    stack, head = policy.model.model.language_model, policy.model.get_output_embeddings()
    weights = {id(weight): weight for weight in [*stack.layers.parameters(), *head.parameters()]}
    read = sum(weight.numel() * weight.element_size() for weight in weights.values())
    config = policy.model.config.text_config
    size = config.hidden_size // config.num_attention_heads
    token = 2 * config.num_hidden_layers * config.num_key_value_heads * size * head.weight.element_size()
    held = sum(len(prompt.clip_ids + prompt.question_ids) + group * tokens / 2 for prompt in prompts)
    return float(read + token * held)


if __name__ == "__main__":
    main()
