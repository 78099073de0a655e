"""`tolman model new`: a fresh policy of the starter's shape."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tolman.cli.shared import Subparsers, add_command, positive, quiet_loading, say

if TYPE_CHECKING:
    from tolman.questions.question import Question

_ASKED_IN = ("map", "direct")


def register(commands: Subparsers) -> None:
    """Add the command."""
    model = commands.add_parser(
        "model", help="make a fresh small policy", description="Policies of the starter's shape."
    )
    inner = model.add_subparsers(title="commands", metavar="COMMAND", required=True)
    parser = add_command(
        inner,
        "new",
        "make an untrained policy",
        "Learn a tokenizer from the prompts and gold completions of QUESTIONS, give a small policy of "
        "Qwen2.5-VL's shape random weights, and write both to DIR. Train it with "
        "recipes/starter-see.toml, then recipes/starter.toml: that is how the shipped starter was made.",
        "tolman model new runs/starter-new --questions data/starter/questions.jsonl",
        run,
    )
    parser.add_argument("out", type=Path, metavar="DIR", help="folder of the policy")
    parser.add_argument(
        "--questions", type=Path, required=True, metavar="QUESTIONS", help="rows to learn from"
    )
    parser.add_argument(
        "--vocabulary", type=positive, default=2048, help="most tokens (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the weights (default: %(default)s)")


def run(arguments: argparse.Namespace) -> None:
    """Make and write the policy."""
    from tolman.data.rows import read_questions

    if arguments.out.exists():
        raise ValueError(f"{arguments.out} exists; give another folder")
    questions = read_questions(arguments.questions)
    quiet_loading()
    from tolman.policy.load import save_policy
    from tolman.policy.starter import make_starter
    from tolman.policy.tokenizer import train_tokenizer

    policy = make_starter(train_tokenizer(texts(questions), arguments.vocabulary), arguments.seed)
    save_policy(policy, arguments.out)
    parameters = sum(weights.numel() for weights in policy.model.parameters())
    say(f"{parameters / 1e6:.2f} million parameters, {len(policy.tokenizer)} tokens in {arguments.out}")


def texts(questions: list[Question]) -> Iterator[str]:
    """What a policy will read and write about these questions."""
    from tolman.data.gold import gold_completion
    from tolman.policy.templates import question_text

    for question in questions:
        yield "user\n"
        yield "assistant\n"
        for template in _ASKED_IN:
            yield question_text(question, template)
        yield gold_completion(question)
