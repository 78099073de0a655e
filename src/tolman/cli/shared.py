"""What the commands share: arguments, tables for people, JSON for machines, progress on standard error."""

from __future__ import annotations

import argparse
import json
import math
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tolman.bench.evaluate import Evaluation
    from tolman.bench.figures import Figures

Subparsers = Any
FPS = 2.0  # of films
_TABLE_WIDTH = 140


def add_command(
    commands: Subparsers,
    name: str,
    summary: str,
    about: str,
    example: str,
    run: Callable[[argparse.Namespace], None],
) -> argparse.ArgumentParser:
    """A subcommand whose help is a short manual: what it does and writes, then an example."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=textwrap.fill(about, 88),
        epilog=f"example:\n  {example}",
        formatter_class=manual,
    )
    parser.set_defaults(run=run)
    return parser


def manual(prog: str) -> argparse.HelpFormatter:
    """The layout of help texts: as written, with room for the longest option."""
    return argparse.RawDescriptionHelpFormatter(prog, max_help_position=28)


def add_json(parser: argparse.ArgumentParser) -> None:
    """The `--json FILE` option."""
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures to FILE as JSON")


def add_isolate(parser: argparse.ArgumentParser) -> None:
    """The `--isolate` option, what `data.isolate` is in a recipe."""
    parser.add_argument(
        "--isolate",
        action="store_true",
        help="decode clips in processes of their own with limits on memory and time: a file that crashes, "
        "hangs or fills the decoder is a clip that cannot be read",
    )


def add_filming(
    parser: argparse.ArgumentParser,
    frames: int | None,
    size: str | None,
    fps: float | None = FPS,
    workers: str = "",
) -> None:
    """Options of how clips are filmed; None as a default means the policy's own, of fps that videos are shown
    with a number of frames. workers: what else `--workers` is for, which is then None where nobody says it.
    """
    own = "what the model is shown"
    parser.add_argument(
        "--style",
        type=names,
        default=("walk",),
        metavar="STYLE[,…]",
        help="camera: walk (eye level), raised, overhead or survey (the whole room from above); "
        "several are taken in turn (default: walk)",
    )
    rate = f"{FPS:g}" if fps else f"{FPS:g} in films; of videos --frames, however long"
    parser.add_argument("--fps", type=float, default=fps, help=f"frames a second (default: {rate})")
    parser.add_argument(
        "--frames", type=positive, default=frames, help=f"frames per clip (default: {frames or own})"
    )
    parser.add_argument(
        "--size",
        type=frame_size,
        default=frame_size(size) if size else None,
        metavar="HxW",
        help=f"height and width in pixels, 448 or 360x640 (default: {size or own})",
    )
    parser.add_argument(
        "--workers",
        type=positive,
        default=None if workers else 2,
        help=f"processes that film side by side (default: 2){workers}",
    )


def positive(text: str) -> int:
    """An argument that must be a whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, got {text!r}")
    return int(text)


def names(text: str) -> tuple[str, ...]:
    """An argument of several words with commas between."""
    return tuple(text.split(","))


def difficulties(text: str) -> tuple[int, ...]:
    """An argument of difficulties of rooms, with commas between."""
    levels = text.split(",")
    if not all(level in {"0", "1", "2", "3"} for level in levels):
        raise argparse.ArgumentTypeError(
            f"must be 0, 1, 2 or 3, or several with commas between, got {text!r}"
        )
    return tuple(int(level) for level in levels)


def sides(text: str) -> tuple[float, float]:
    """`6,9` as (least, most) metres; the generator says which it can build."""
    try:
        least, most = map(float, text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be two numbers of metres LEAST,MOST, got {text!r}") from None
    return least, most


def frame_size(text: str) -> tuple[int, int]:
    """`448` or `360x640` as (height, width)."""
    parts = text.lower().split("x")
    if len(parts) > 2 or not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise argparse.ArgumentTypeError(f"must be a number of pixels or HEIGHTxWIDTH, got {text!r}")
    return int(parts[0]), int(parts[-1])


def write_json(path: Path | None, value: Mapping[str, Any]) -> None:
    """Write figures for machines, where a file was asked for; what is not finite becomes null."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(_plain(value), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def write_log(folder: Path, rows: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]) -> None:
    """Write scored rows of a run as lmms-eval's log."""
    from datetime import datetime

    from tolman.bench.lmms_log import write_lmms_log

    samples, _ = write_lmms_log(folder, rows, settings, datetime.now())
    say(f"lmms-eval's log in {samples.parent}")


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def print_table(
    title: str, head: Sequence[str], rows: Sequence[Sequence[object]], total: bool = False, words: int = 0
) -> None:
    """A table on standard output: first column text, the others right-aligned; total: a rule above the last
    row; words: how many of the last columns are words, which are broken into lines where they do not fit.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, title_style="bold", pad_edge=False)
    for number, name in enumerate(head):
        wraps = number >= len(head) - words
        table.add_column(Text(name), justify="right" if number and not wraps else "left", no_wrap=not wraps)
    for number, row in enumerate(rows):
        last_before_total = total and number == len(rows) - 2
        table.add_row(*(Text(str(cell)) for cell in row), end_section=last_before_total)
    console = Console()
    if not console.is_terminal:
        console = Console(width=_TABLE_WIDTH)
    console.print(table)


def print_figures(title: str, figures: Figures) -> None:
    """The table of an evaluation: per task and overall."""
    rows: list[list[object]] = []
    for task, line in figures.tasks.items():
        best = f"{percent(line.best_constant)} ({line.best_answer})" if line.best_answer else "–"
        rows.append([task, line.n, percent(line.score), percent(line.stderr), percent(line.chance), best])
    best = percent(figures.best_constant)
    rows.append(["overall", figures.total, percent(figures.overall), percent(figures.stderr), "", best])
    print_table(title, ["task", "n", "score", "stderr", "chance", "best constant"], rows, total=True)
    if figures.unanswered:
        print(f"{figures.unanswered} questions went without an answer (their reasons are in the rows).")
    if figures.ungraded:
        print(f"{figures.ungraded} rows could not be graded and count in no average.")
    if figures.maps is not None:
        print(_maps_line(figures.to_json()["maps"]))


def print_evaluation(title: str, evaluation: Evaluation) -> None:
    """The table, and below it what it is taken over, with the strict rule's figures beside them."""
    from tolman.bench.figures import strict_figures

    benchmark, rule = evaluation.settings["benchmark"], evaluation.settings["rule"]
    print_figures(title, evaluation.figures)
    print_counts(evaluation.figures, None if rule == "strict" else strict_figures(evaluation.rows, benchmark))


def print_counts(figures: Figures, strict: Figures | None) -> None:
    """Both averages and what they are taken over; beside them the strict rule's, where another one scored."""
    print(_counts(figures))
    if strict is not None:
        print(f"Beside it, strict: overall {percent(strict.overall)}; {_counts(strict)}")


def _counts(figures: Figures) -> str:
    """What an overall figure is taken over, in one line."""
    parts = [
        f"micro {percent(figures.micro)}, macro {percent(figures.macro)} over {figures.denominator} of "
        f"{figures.total} rows",
        f"no answer read in {percent(figures.failure_rate)} %",
    ]
    if figures.guessed:
        parts.append(f"{figures.guessed} rows guessed by the published rule, counted with what a guess earns")
    if figures.dropped:
        parts.append(f"{figures.dropped} rows dropped by the published rule")
    return "; ".join(parts)


def _maps_line(maps: Mapping[str, Any]) -> str:
    """The maps drawn on the way to the answers, in a sentence."""
    worth = f"{percent(maps['score'])} ± {percent(maps['stderr'])} (0 the best drawn blind, 100 the truth)"
    share = (
        f"{percent(maps['placed'])} % of all things placed, {percent(maps['sound'])} % of those drawn right"
    )
    return f"maps: {worth}; {share}; {percent(maps['drawn'])} % of answers drew one"


def print_comparison(title: str, figures: Mapping[str, Any]) -> None:
    """The table of an evaluation.json with `before` and `after`: per task and overall."""
    before, after = (figures["evaluations"][name] for name in ("before", "after"))
    moved = figures["difference"] or {"tasks": {}, "overall": None}
    rows = [
        [
            *_compared(task, line["n"], line, after["tasks"][task], moved["tasks"].get(task)),
            percent(line["chance"]),
            percent(line["best_constant"]),
        ]
        for task, line in before["tasks"].items()
    ]
    ends = [{"score": side["overall"], "stderr": side["stderr"]} for side in (before, after)]
    overall = _compared("overall", before["total"], ends[0], ends[1], moved["overall"])
    rows.append([*overall, "", percent(before["best_constant"])])
    print_table(
        title, ["task", "n", "before", "after", "change", "chance", "best constant"], rows, total=True
    )
    for name, side in (("before", before), ("after", after)):
        if side.get("maps"):
            print(f"{name}: {_maps_line(side['maps'])}")


def _compared(
    task: str, n: int, before: Mapping[str, Any], after: Mapping[str, Any], moved: Mapping[str, Any] | None
) -> list[object]:
    change = "–" if moved is None else f"{moved['difference']:+.1f} ± {percent(moved['stderr'])}"
    scores = [f"{percent(side['score'])} ± {percent(side['stderr'])}" for side in (before, after)]
    return [task, n, *scores, change]


def percent(value: float | None) -> str:
    """One decimal, or a dash where there is no figure."""
    return "–" if value is None or math.isnan(value) else f"{value:.1f}"


@contextmanager
def progress_bar(title: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error; call what it gives with (done, total). Quiet where that is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task(title, total=None)

        def show(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        yield show


def quiet_loading() -> None:
    """No progress bars of the model library: loading is quick, and ours say what matters."""
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]


def say(text: str) -> None:
    """A line about where something was written, on standard error so that pipes stay clean."""
    print(text, file=sys.stderr)
