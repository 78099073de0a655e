"""`tolman score`: score a file of predictions."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tolman.cli.shared import (
    Subparsers,
    add_command,
    add_json,
    print_counts,
    print_figures,
    print_table,
    say,
    write_json,
    write_log,
)

if TYPE_CHECKING:
    from tolman.bench.score import Scored
    from tolman.reward.judge import CachedJudge


def register(commands: Subparsers) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "score",
        "score a file of predictions",
        "Score predictions by a benchmark's rule, and by our strict rule beside it. FILE (JSON lines or a "
        "JSON array) has per row id, question_type, ground_truth, options and prediction, and what else the "
        "benchmark looks at. --rows gets every row with its score and the answer that was read; --json the "
        "figures in percent: overall, micro and macro averages, denominator, failures to read, guesses, "
        "dropped rows, and under `aggregate` the figures as the peer prints them. Rows that carry "
        "peer_score (and peer_extracted) are compared with it: the JSON then counts how many agree.",
        "tolman score predictions.jsonl --benchmark sparbench --rule vlmevalkit --rows scored.jsonl",
        run,
    )
    parser.add_argument(
        "file", type=Path, metavar="FILE", nargs="?", help="predictions, or a folder of tolman eval"
    )
    parser.add_argument(
        "--benchmark", help="benchmark (default: the one that tolman eval asked, else vsibench)"
    )
    parser.add_argument(
        "--rule",
        default="official",
        help="official, strict (ours, which reads with care) or a peer's; hyphens are underscores "
        "(default: %(default)s)",
    )
    parser.add_argument("--rows", type=Path, metavar="FILE", help="write the scored rows to FILE")
    parser.add_argument("--list", action="store_true", help="list benchmarks and their rules, and do no more")
    parser.add_argument(
        "--log",
        choices=["lmms-eval"],
        help="of a folder of tolman eval: also write its answers as lmms-eval's samples and results, into it",
    )
    asked = parser.add_argument_group("of rules that ask a model (OpenEQA's)")
    asked.add_argument(
        "--judge",
        metavar="URL",
        help="the OpenAI-compatible server it is behind, as http://localhost:8000/v1",
    )
    asked.add_argument("--judge-model", metavar="NAME", help="the name that the server knows it by")
    asked.add_argument(
        "--judge-key", default="", metavar="NAME", help="environment variable with the server's key"
    )
    add_json(parser)


def run(arguments: argparse.Namespace) -> None:
    """Read, score, print, write."""
    from tolman.bench.figures import figures_of, strict_figures
    from tolman.bench.predictions import own_benchmark, read_predictions, settings_file
    from tolman.bench.rows import read_rows, scored_row, write_rows
    from tolman.bench.score import score_rows

    if arguments.list:
        _list()
        return
    if arguments.file is None:
        raise ValueError("name a FILE of predictions (or --list the benchmarks)")
    folder = arguments.file.is_dir()
    if arguments.log is not None and not folder:
        raise ValueError("--log needs a folder of tolman eval, which says what was asked and how")
    rows = read_predictions(arguments.file / "predictions.jsonl") if folder else read_rows(arguments.file)
    benchmark = arguments.benchmark or own_benchmark(arguments.file)
    scored = score_rows(rows, benchmark, arguments.rule, _model(arguments))
    figures = figures_of(scored.rows, benchmark)
    names = {"benchmark": benchmark, "rule": scored.rule}
    print_figures(f"{arguments.file.name} by the {scored.rule} rule of {benchmark}", figures)
    strict = None if scored.rule == "strict" else strict_figures(rows, benchmark)
    print_counts(figures, strict)
    agreement = agreeing(scored)
    if agreement is not None:
        print(f"{agreement[0]} of {agreement[1]} rows agree with the peer's.")
    if arguments.rows is not None:
        write_rows(arguments.rows, (scored_row(row) for row in scored.rows))
        say(f"scored rows in {arguments.rows}")
    if arguments.log is not None:
        asked = json.loads(settings_file(arguments.file / "predictions.jsonl").read_text(encoding="utf-8"))
        write_log(arguments.file, scored.rows, asked | names)
    more: dict[str, Any] = {} if agreement is None else {"agree": agreement[0], "compared": agreement[1]}
    more |= {} if strict is None else {"strict": strict.to_json()}
    write_json(arguments.json, names | figures.to_json() | more | {"aggregate": scored.aggregate})


def _model(arguments: argparse.Namespace) -> CachedJudge | None:
    """The model that a rule asks; its replies are kept beside the predictions, so that nothing is asked
    twice.
    """
    if arguments.judge is None:
        return None
    if arguments.judge_model is None:
        raise ValueError("--judge needs --judge-model NAME, the name that the server knows the model by")
    from tolman.reward.judge import CachedJudge
    from tolman.reward.judge_server import ServerJudge

    judge = ServerJudge(
        arguments.judge,
        arguments.judge_model,
        seconds=60.0,
        attempts=8,
        max_tokens=32,
        key_variable=arguments.judge_key,
    )
    folder = arguments.file if arguments.file.is_dir() else arguments.file.parent
    return CachedJudge(judge, judge.name, folder / "judge")


def agreeing(scored: Scored) -> tuple[int, int] | None:
    """Of the rows whose `peer_score` is given: how many have ours (and our answer, where `peer_extracted` is
    given), and how many there are; None where no row has one. Rows that a peer guesses or fails at have none.
    """
    known = [row for row in scored.rows if row.get("peer_score") is not None]
    if not known:
        return None
    reads = any(row.get("peer_extracted") is not None for row in known)
    return sum(_agrees(row, reads) for row in known), len(known)


def _agrees(row: Mapping[str, Any], reads: bool) -> bool:
    same = not reads or row.get("peer_extracted", row["extracted"]) == row["extracted"]
    return bool(same and abs(row["score"] - row["peer_score"]) < 1e-9)


def _list() -> None:
    from tolman.bench.benchmark import registry, rule_names

    lines = [[name, entry.title, " ".join(rule_names(entry))] for name, entry in registry().items()]
    print_table("benchmarks", ["--benchmark", "title", "--rule"], lines, words=2)
