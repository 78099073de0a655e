"""Results of several benchmarks side by side, a line each: Markdown and CSV for people, JSON for programs."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tolman.bench.benchmark import Benchmark, find_benchmark
from tolman.bench.evaluate import Evaluation
from tolman.bench.figures import strict_figures
from tolman.data.files import write_lines

COLUMNS = (
    "benchmark", "rule", "n", "unanswered", "score", "stderr", "strict", "not read", "guessed", "dropped",
    "chance", "best constant", "published",
)  # fmt: skip
"""Scores are percent. score: the benchmark's own average by the rule; strict: by ours. not read: percent of
rows in which the rule read no answer."""


def summary_line(evaluation: Evaluation) -> dict[str, Any]:
    """One line: `COLUMNS`, the published figures, and where they are from."""
    entry = find_benchmark(evaluation.settings["benchmark"])
    figures = evaluation.figures
    strict = strict_figures(evaluation.rows, entry.name)
    values = (
        entry.name, evaluation.settings["rule"], figures.total, figures.unanswered, figures.overall,
        figures.stderr, strict.overall if strict else None, figures.failure_rate, figures.guessed,
        figures.dropped, entry.chance, figures.best_constant, dict(entry.published),
    )  # fmt: skip
    return dict(zip(COLUMNS, values, strict=True)) | {"published_in": entry.published_in}


def published_text(entry: Benchmark) -> str:
    """The figures that a benchmark's file gives, in one line with their source; "" where it gives none."""
    if not entry.published:
        return ""
    return f"published: {_published(entry.published)} (percent; {entry.published_in})"


def cells(line: Mapping[str, Any]) -> list[str]:
    """A line as it is shown: one decimal, a dash where there is no figure."""
    shown = []
    for name in COLUMNS:
        value = line[name]
        if name == "published":
            shown.append(_published(value) or "–")
        elif isinstance(value, float) or value is None:
            shown.append("–" if value is None else f"{value:.1f}")
        else:
            shown.append(str(value))
    return shown


def to_markdown(title: str, lines: Sequence[Mapping[str, Any]]) -> str:
    """A table with its title; below it, where each published figure is from."""
    rows = [COLUMNS, ["---"] + ["---:"] * (len(COLUMNS) - 2) + ["---"], *(cells(line) for line in lines)]
    text = [f"# {title}", "", *(f"| {' | '.join(row)} |" for row in rows), ""]
    text += [
        f"* {line['benchmark']}: published figures are from {line['published_in']}."
        for line in lines
        if line["published_in"]
    ]
    return "\n".join(text).rstrip() + "\n"


def to_csv(lines: Sequence[Mapping[str, Any]]) -> str:
    """The same with all decimals, and nothing where there is no figure."""
    names = [*COLUMNS, "published_in"]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    for line in lines:
        writer.writerow([_published(line[name]) if name == "published" else line[name] for name in names])
    return text.getvalue()


def write_summary(folder: Path, title: str, lines: Sequence[Mapping[str, Any]]) -> None:
    """Write summary.md, summary.csv and summary.json, each whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "summary.md": to_markdown(title, lines),
        "summary.csv": to_csv(lines),
        "summary.json": json.dumps({"title": title, "benchmarks": list(lines)}, indent=1, ensure_ascii=False),
    }
    for name, text in content.items():
        write_lines(folder / name, text.rstrip("\n").split("\n"))


def _published(figures: Mapping[str, float]) -> str:
    return ", ".join(f"{model} {value:g}" for model, value in figures.items())
