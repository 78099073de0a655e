"""Asking 18 questions about a clip, as VSI-Bench does: one pass of the clip for all, against one for each.

    python perf/evaluate.py [--size starter|smol|3b|7b] [--clips 1] [--questions 18] [--tokens 32]
                            [--rounds 3] [--threads 2] [--device auto] [--json FILE]

Ours is `tolman.bench.evaluate.evaluate` on files. The other side does what evaluators do: for every question
read the clip, encode it and call transformers' `generate`; it scores nothing. Both answer greedily and stop
at the same tokens. (transformers 5 puts text after a clip at other positions, so its answers may be others;
ours are checked against ours to one question at a time.) The floor, for the shared side: the bytes of the
weights, read once for each token of the longest answers, at the bandwidth that a copy reaches here.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sizes import SIZES, bandwidth, by_turns, make_policy, pick_device, stock_inputs
from tolman.bench.backends.in_process import InProcess
from tolman.bench.evaluate import evaluate
from tolman.policy.policy import Policy
from tolman.policy.prompt import build_prompt, encode_clip
from tolman.questions.question import Question
from tolman.video.clip import read_clip
from tolman.video.encode import write_clip

THINGS = "chair table sofa bed lamp door shelf stool window".split(" ")  # noqa: SIM905
ASKED = (
    "How many {}s are in this room?",
    "Counting all of them, how many {}s can be seen by the wall?",
)


def main() -> None:
    """Check, measure, print."""
    arguments = read_arguments()
    torch.set_num_threads(arguments.threads)
    device = pick_device(arguments.device)
    policy = make_policy(arguments.size, device)
    with tempfile.TemporaryDirectory() as folder:
        questions = write_questions(policy, Path(folder), arguments.clips, arguments.questions)

        def ours(batch: int = 32) -> list[dict[str, Any]]:
            tokens = arguments.tokens
            return evaluate(
                InProcess(policy), questions, folder, template="map", max_new_tokens=tokens, batch=batch
            ).rows

        def stock() -> None:
            for asked in questions:
                one_by_one(policy, asked, Path(folder), arguments.tokens)

        together, alone = ours(), ours(batch=1)
        times = by_turns({"ours": ours, "stock": stock}, arguments.rounds, device)
    count, lengths = arguments.questions, [row["tokens"] for row in together]
    longest = sum(max(lengths[k : k + count]) for k in range(0, len(questions), count))
    found = {
        "size": arguments.size, "device": str(device), "threads": arguments.threads,
        "clips": arguments.clips, "questions": len(questions), "tokens": sum(lengths),
        "seconds": times["ours"], "stock_seconds": times["stock"], "ratio": times["stock"] / times["ours"],
        "floor_seconds": longest * weight_bytes(policy) / bandwidth(device),
        "answers_as_alone": sum(a["raw"] == b["raw"] for a, b in zip(together, alone, strict=True)),
    }  # fmt: skip
    for key, value in found.items():
        print(f"{key:16} {value:.4g}" if isinstance(value, float) else f"{key:16} {value}")
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")


def read_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", choices=SIZES, default="starter")
    parser.add_argument("--clips", type=int, default=1)
    parser.add_argument("--questions", type=int, default=18, help="for each clip, 32 at most")
    parser.add_argument("--tokens", type=int, default=32, help="most new tokens of an answer")
    parser.add_argument("--rounds", type=int, default=3, help="timed runs of each way (the median counts)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--json", type=Path, metavar="FILE")
    return parser.parse_args()


def write_questions(policy: Policy, folder: Path, clips: int, count: int) -> list[Question]:
    """Clips of random blocks, and questions of several lengths about each."""
    rng = np.random.default_rng(0)
    questions = []
    for clip in range(clips):
        blocks = rng.integers(0, 255, (policy.frames, 12, 16, 3), dtype=np.uint8)
        write_clip(folder / f"{clip}.mp4", blocks.repeat(28, 1).repeat(28, 2), fps=2)
        for k in range(count):
            words = ASKED[k // len(THINGS) % len(ASKED)].format(THINGS[k % len(THINGS)])
            row = {"problem_id": f"{clip}-{k}", "problem": words, "problem_type": "numerical"}
            row |= {"solution": "<answer>2</answer>", "path": f"{clip}.mp4", "scene_id": str(clip)}
            questions.append(Question.from_row(row | {"question_type": "object_counting"}))
    return questions


def one_by_one(policy: Policy, question: Question, folder: Path, tokens: int) -> str:
    """The answer to one question, with its own pass of its clip."""
    clip = read_clip(folder / question.path, frames=policy.frames)
    prompt = build_prompt(policy, question, encode_clip(policy, clip.rgb_THWC, clip.times_T), "map")
    inputs = stock_inputs(policy, prompt)
    ids = policy.model.generate(
        **inputs, do_sample=False, max_new_tokens=tokens, eos_token_id=list(policy.stop_ids),
        pad_token_id=policy.pad_id,
    )  # fmt: skip
    text: str = policy.tokenizer.decode(ids[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    return text


def weight_bytes(policy: Policy) -> int:
    """Bytes of the weights that one step reads."""
    stack, head = policy.model.model.language_model, policy.model.get_output_embeddings()
    weights = {id(weight): weight for weight in [*stack.layers.parameters(), *head.parameters()]}
    return sum(weight.numel() * weight.element_size() for weight in weights.values())


if __name__ == "__main__":
    main()
