"""What a benchmark is: where its questions are, how they are asked, and how answers are scored."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from tolman.bench import benchmarks
from tolman.bench.verdict import Row, Verdict
from tolman.questions.question import Question
from tolman.reward.judge import Judge as Model

Judge = Callable[[Row], Verdict]
Aggregate = Callable[[Sequence[Row]], Mapping[str, float]]
IN_TABLE = "in the table"
"""What `Benchmark.clips` says where images lie in the question files themselves (`tolman.bench.pictures`)."""
KINDS = ("choice", "letters", "yes or no", "numeric", "span", "boxes", "motion", "text")


@dataclass(frozen=True)
class Rule:
    """How a benchmark reads and averages answers.

    judge: row with question_type, ground_truth, options, prediction → Verdict. aggregate: scored rows that
    count → figures as the peer prints them, `overall` first, in percent. about: one line for people. asks: of
    a rule that asks a model, which `judge` cannot do by itself: the model → what judges with it.
    """

    judge: Judge
    aggregate: Aggregate
    about: str = ""
    asks: Callable[[Model], Judge] | None = None


@dataclass(frozen=True)
class Benchmark:
    """One benchmark.

    name: as on the command line. source: where the published files are (a Hub id, else an address). files:
    names of its question files (with wildcards), of which the first that is there is read. folder: where they
    belong, in a folder of many benchmarks; its name where empty. clips: what else to download, or `IN_TABLE`.
    unpack: content of a file that is no list of rows → rows. read: a published row → Question (the row's
    position first, for files without ids). prompt: the words a question is put in. frames: how the authors
    sample; sampling: the same as fields of `tolman.bench.frames.Sampling`, what clips are shown with unless
    somebody says otherwise (empty: the model's own). rules: name → Rule; official: the name of the authors'
    own, or of the rule they point at. kind: what an answer is, one of `KINDS`, by row. macro: whether the
    overall figure is the mean over tasks, not over rows. chance: percent, None where guessing is not defined.
    published: model → percent, with its source in `published_in`.
    """

    name: str
    title: str
    citation: str
    licence: str
    rules: Mapping[str, Rule]
    kind: Callable[[Row], str]
    official: str = "official"
    source: str = ""
    files: tuple[str, ...] = ()
    clips: str = ""
    folder: str = ""
    unpack: Callable[[Any], Iterable[Mapping[str, Any]]] | None = None
    read: Callable[[int, Mapping[str, Any]], Question] | None = None
    prompt: Callable[[Question], str] | None = None
    frames: str = ""
    sampling: Mapping[str, Any] = field(default_factory=dict)
    max_new_tokens: int = 16
    macro: bool = False
    task_of: Callable[[str], str] = field(default=str)
    tasks: tuple[str, ...] = ()
    shares: Callable[[Sequence[str]], npt.NDArray[np.float64]] | None = None
    chance: float | None = None
    published: Mapping[str, float] = field(default_factory=dict)
    published_in: str = ""


@cache
def registry() -> dict[str, Benchmark]:
    """Every benchmark by name, in alphabetical order: each module of `tolman.bench.benchmarks` has one or
    more in its `BENCHMARKS`.
    """
    found: dict[str, Benchmark] = {}
    for module in pkgutil.iter_modules(benchmarks.__path__):
        for entry in importlib.import_module(f"{benchmarks.__name__}.{module.name}").BENCHMARKS:
            assert entry.name not in found, f"two benchmarks are called {entry.name}"
            found[entry.name] = entry
    return dict(sorted(found.items()))


def plain_name(name: str) -> str:
    """Names are the same with hyphens and underscores, in any case."""
    return name.strip().lower().replace("-", "_")


def find_benchmark(name: str) -> Benchmark:
    """The benchmark of that name. Raises ValueError listing what exists."""
    known = registry()
    if plain_name(name) not in known:
        raise ValueError(f"no benchmark {name!r}; there are: {', '.join(known)}")
    return known[plain_name(name)]


def rule_names(benchmark: Benchmark) -> list[str]:
    """The names a benchmark's rules go by: `official` for the authors' own or the one they point at, then
    `strict`, which all have, then the others.
    """
    first = (["official"] if benchmark.official in benchmark.rules else []) + ["strict"]
    return first + sorted(set(benchmark.rules) - set(first))


def row_shares(benchmark: Benchmark, question_types: Sequence[str], macro: bool) -> npt.NDArray[np.float64]:
    """(N,) what each row counts in an overall figure (sums to 1): the mean over tasks (macro) or over rows.

    Raises ValueError where there is no row.
    """
    if not question_types:
        raise ValueError("no rows: there is nothing to average")
    if not macro:
        return np.full(len(question_types), 1 / len(question_types))
    if benchmark.shares is not None:
        return benchmark.shares(question_types)
    tasks = [benchmark.task_of(kind) for kind in question_types]
    counts = {task: tasks.count(task) for task in set(tasks)}
    return np.array([1 / len(counts) / counts[task] for task in tasks])
