"""Several evaluations in one `tolman eval`: a suite of benchmarks, or a benchmark shown in five ways."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tolman.cli.shared import percent, print_evaluation, print_table, say, write_json

if TYPE_CHECKING:
    from tolman.bench.audit import Audit
    from tolman.bench.backends.backend import Backend
    from tolman.bench.benchmark import Benchmark
    from tolman.bench.evaluate import Evaluation
    from tolman.bench.suites import Part
    from tolman.bench.workers import Workers


def run_suite(
    arguments: argparse.Namespace,
    backend: Backend | Workers,
    parts: Sequence[Part],
    ask: Callable[[Part, Path], Evaluation],
) -> None:
    """Ask one benchmark after the other, each in a folder of its own; the summary is written after each."""
    from tolman.bench.evaluate import write_evaluations
    from tolman.bench.summary import summary_line, write_summary

    title = f"{backend.name} on {arguments.benchmark}, {arguments.rule} rule"
    lines: list[dict[str, Any]] = []
    for part in parts:
        name = part.entry.name
        evaluation = ask(part, arguments.out / name)
        write_evaluations(arguments.out / name / "evaluation.json", {backend.name: evaluation})
        print_evaluation(f"{backend.name} on {name}, {arguments.rule} rule", evaluation)
        lines.append(summary_line(evaluation))
        write_summary(arguments.out, title, lines)
    print_summary(title, lines)
    write_json(arguments.json, {"title": title, "benchmarks": lines})
    say(f"summary.md, summary.csv, summary.json and a folder for each benchmark in {arguments.out}")


def print_summary(title: str, lines: Sequence[dict[str, Any]]) -> None:
    """The table of a suite, and below it what is published."""
    from tolman.bench.benchmark import find_benchmark
    from tolman.bench.summary import COLUMNS, cells, published_text

    print_table(title, COLUMNS[:-1], [cells(line)[:-1] for line in lines])
    for line in lines:
        told = published_text(find_benchmark(line["benchmark"]))
        if told:
            print(f"{line['benchmark']} {told}")


def run_audit(
    arguments: argparse.Namespace, model: str, entry: Benchmark, ask: Callable[[str, Path], Evaluation]
) -> None:
    """Ask with the clip and with it taken away in four ways; print and write what that says."""
    from tolman.bench.audit import audit
    from tolman.bench.evaluate import write_evaluations
    from tolman.bench.frames import CLIP_SOURCES

    found = {source: ask(source, arguments.out / source) for source in CLIP_SOURCES}
    result = audit(
        {source: evaluation.rows for source, evaluation in found.items()}, entry.name, arguments.seed
    )
    print_audit(f"{model} on {entry.name}, {arguments.rule} rule: what needs the video", result)
    write_evaluations(arguments.out / "evaluation.json", found)
    write_json(arguments.out / "audit.json", result.to_json())
    write_json(arguments.json, result.to_json())
    say(f"audit.json, evaluation.json and predictions of each kind in {arguments.out}")


def print_audit(title: str, audit: Audit) -> None:
    """The tables of an audit: each way of showing, then the categories by task."""
    from tolman.bench.audit import CATEGORIES

    rows: list[list[object]] = []
    for source, figures in audit.views.items():
        change = audit.changes.get(source)
        moved = ["", "", ""]
        if change is not None and change.difference is not None:
            moved = [
                f"{change.difference:+.1f}",
                f"{change.low:+.1f} … {change.high:+.1f}",
                f"{change.p:.3g}",
            ]
        rows.append([source, figures.denominator, percent(figures.overall), percent(figures.stderr), *moved])
    print_table(title, ["shown", "n", "overall", "stderr", "against true", "95 %", "p"], rows)
    lines = [
        [task, *(percent(shares[name]) for name in CATEGORIES)] for task, shares in audit.categories.items()
    ]
    lines = [*lines[1:], lines[0]]
    print_table(f"percent of {audit.n} questions", ["task", *CATEGORIES], lines, total=True)
