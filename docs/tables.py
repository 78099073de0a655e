"""Write the measured tables of README.md, docs/starter.md and docs/speed.md from the figures in docs/results.

`python docs/tables.py` rewrites the files, `--check` only says whether they are up to date. The figures are
what `tolman … --json FILE` and the scripts in perf wrote.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

DOCS = Path(__file__).resolve().parent
RESULTS = DOCS / "results"
MAPS = {"maps: things placed": "placed", "maps: drawn things right": "sound"}
PAGES = (DOCS.parent / "README.md", DOCS / "starter.md", DOCS / "speed.md")


def load(name: str) -> Any:
    """The figures of one file."""
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table; every column but the first to the right."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def number(value: float | None, digits: int = 1) -> str:
    """Rounded, or a dash."""
    return "–" if value is None else f"{value:.{digits}f}"


def pair(value: float, error: float | None) -> str:
    """A score and its standard error."""
    return f"{number(value)} ± {number(error)}"


def change(found: dict[str, Any] | None) -> str:
    """A difference and its standard error."""
    return "–" if found is None else f"{found['difference']:+.1f} ± {number(found['stderr'])}"


def seeds() -> str:
    """Overall before, after and change of every quickstart seed."""
    rows = []
    files = sorted(RESULTS.glob("quickstart-seed*.json"))
    if not files:
        raise FileNotFoundError(RESULTS / "quickstart-seed0.json")
    for file in files:
        run = load(file.stem)
        before, after = run["evaluations"]["before"], run["evaluations"]["after"]
        rows.append(
            [
                f"seed {file.stem.removeprefix('quickstart-seed')}",
                str(before["total"]),
                pair(before["overall"], before["stderr"]),
                pair(after["overall"], after["stderr"]),
                change(run["difference"]["overall"]),
                number(before["best_constant"]),
            ]
        )
    changes = [load(file.stem)["difference"]["overall"]["difference"] for file in files]
    rows.append(["mean of the seeds", "", "", "", mean_change(changes), ""])
    return table(["quickstart", "questions", "before", "after", "change", "best constant"], rows)


def mean_change(changes: list[float]) -> str:
    """The mean over seeds and its standard error, from their spread."""
    error = stdev(changes) / len(changes) ** 0.5 if len(changes) > 1 else None
    return f"{fmean(changes):+.1f} ± {number(error)}"


def seeds_by_task() -> str:
    """Changes of every task and of the maps, mean over the quickstart's seeds."""
    runs = [load(file.stem) for file in sorted(RESULTS.glob("quickstart-seed*.json"))]
    if not runs:
        raise FileNotFoundError(RESULTS / "quickstart-seed0.json")
    columns = {}
    for task in runs[0]["difference"]["tasks"]:
        columns[task] = mean_change([run["difference"]["tasks"][task]["difference"] for run in runs])
    for name, key in MAPS.items():
        before, after = (
            [run["evaluations"][side]["maps"][key] for run in runs] for side in ("before", "after")
        )
        columns[name] = mean_change([now - was for was, now in zip(before, after, strict=True)])
    return table(["over the seeds", "change"], [[name, said] for name, said in columns.items()])


def tasks(before: dict[str, Any], after: dict[str, Any], changes: dict[str, Any]) -> str:
    """Per task before and after."""
    rows = []
    for task, line in before["tasks"].items():
        now = after["tasks"][task]
        rows.append(
            [
                task, str(line["n"]), pair(line["score"], line["stderr"]), pair(now["score"], now["stderr"]),
                change(changes["tasks"].get(task)), number(line["chance"]), number(line["best_constant"]),
            ]
        )  # fmt: skip
    rows.append(
        [
            "overall", str(before["total"]), pair(before["overall"], before["stderr"]),
            pair(after["overall"], after["stderr"]), change(changes["overall"]), "",
            number(before["best_constant"]),
        ]
    )  # fmt: skip
    if before.get("maps"):
        for name, key in MAPS.items():
            sides = [number(side["maps"][key]) for side in (before, after)]
            rows.append([name, str(before["maps"]["n"]), *sides, "", "", ""])
    return table(["task", "n", "before", "after", "change", "chance", "best constant"], rows)


def quickstart() -> str:
    """The tasks of seed 0."""
    run = load("quickstart-seed0")
    return tasks(run["evaluations"]["before"], run["evaluations"]["after"], run["difference"])


def scans() -> str:
    """Official questions over re-filmed ARKitScenes layouts."""
    run = load("arkitscenes")
    return tasks(run["evaluations"]["before"], run["evaluations"]["after"], run["difference"])


def audit() -> str:
    """VSI-Bench's official answers recomputed."""
    found = load("audit-arkitscenes")
    rows = [
        [task, str(line["total"]), str(line["computable"]), str(line["agree"])]
        for task, line in found["tasks"].items()
    ]
    rows.append(["all", str(found["total"]), str(found["computable"]), str(found["agree"])])
    return table(["task", "official questions", "computable", "agree"], rows)


def watching() -> str:
    """The starter with its clip, with none and with another room's."""
    runs = {name: load(f"starter-{name}") for name in ("true", "none", "other")}
    names = list(runs["true"]["tasks"])
    rows = [
        [task, *(pair(run["tasks"][task]["score"], run["tasks"][task]["stderr"]) for run in runs.values()),
         number(runs["true"]["tasks"][task]["chance"]), number(runs["true"]["tasks"][task]["best_constant"])]
        for task in names
    ]  # fmt: skip
    overall = [pair(run["overall"], run["stderr"]) for run in runs.values()]
    rows.append(["overall", *overall, "", number(runs["true"]["best_constant"])])
    for name, key in MAPS.items():
        rows.append([name, *(number(run["maps"][key]) for run in runs.values()), "", ""])
    return table(["task", "its clip", "no clip", "another room's clip", "chance", "best constant"], rows)


def speed() -> str:
    """Repeated and shared, side by side, by the scripts in perf."""
    rows = []
    for size in ("starter", "smol"):
        for what, found, naive, ours, floor in timings(size):
            seconds = [f"{found[key]:.3g}" for key in (naive, ours, floor)]
            rows.append([f"{what}, {size}", *seconds, f"{found[naive] / found[ours]:.1f}"])
    return table(["seconds of", "repeated", "shared", "at least", "times faster"], rows)


def timings(size: str) -> Iterator[tuple[str, dict[str, float], str, str, str]]:
    """What was timed, its figures, and the names in them of both ways and of the floor."""
    for tower in ("frozen", "trained"):
        found = load(f"speed-loss-{size}")[tower]
        taken = {name: way["seconds"] for name, way in found["ways"].items()}
        taken["floor"] = found["floor_seconds"]
        yield f"loss and gradients, {tower} tower", taken, "naive", "tree", "floor"
        yield f"the same, logits of all tokens, {tower} tower", taken, "published", "tree", "floor"
    for prompts, words in ((1, "one prompt"), (4, "four prompts")):
        found = load(f"speed-rollout-{prompts}-{size}")
        floor = found["tokens"] * found["floor_step_ms"] / 1000
        yield f"8 completions of {words}", found | {"floor": floor}, "stock_seconds", "seconds", "floor"
    for name, words in (("sft", "step of SFT"), ("rl", "step of RL")):
        step = load(f"speed-step-{size}")[name]
        words = f"{words}, {step['samples']} samples"
        yield words, step, "naive_step_seconds", "step_seconds", "floor_seconds"
    found = load(f"speed-evaluate-{size}")
    yield f"{found['questions']} questions of a clip", found, "stock_seconds", "seconds", "floor_seconds"


TABLES: dict[str, Callable[[], str]] = {
    "seeds": seeds, "seeds_by_task": seeds_by_task, "quickstart": quickstart,
    "scans": scans, "audit": audit, "watching": watching, "speed": speed,
}  # fmt: skip


def filled(text: str) -> str:
    """The page with every table between `<!-- table:NAME -->` and `<!-- end -->` written anew."""

    def write(match: re.Match[str]) -> str:
        name = match.group(1)
        try:
            content = TABLES[name]()
        except FileNotFoundError:
            content = "*Not measured yet.*"
        return f"<!-- table:{name} -->\n{content}\n<!-- end -->"

    return re.sub(r"<!-- table:(\w+) -->.*?<!-- end -->", write, text, flags=re.DOTALL)


def main() -> int:
    """Rewrite the pages, or say which are out of date."""
    stale = [page for page in PAGES if filled(page.read_text("utf-8")) != page.read_text("utf-8")]
    for page in stale:
        if "--check" in sys.argv:
            print(f"{page.name} is out of date: run python docs/tables.py")
        else:
            page.write_text(filled(page.read_text("utf-8")), encoding="utf-8")
    return int(bool(stale) and "--check" in sys.argv)


if __name__ == "__main__":
    sys.exit(main())
