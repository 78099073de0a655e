"""docs/evidence.md from the runs of `evidence.py`: what they scored, how sure that is, what is missing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from evidence_figure import Line, forest
from evidence_plan import BASE, SETS, Pair, Plan, answers_of, asked_of
from tolman.bench.benchmark import find_benchmark, row_shares
from tolman.bench.figures import cluster_of, figures_of
from tolman.bench.maps import map_figures
from tolman.bench.predictions import read_predictions
from tolman.bench.score import counted
from tolman.bench.seeds import Interval, seeded_mean
from tolman.data.rows import read_questions

Row = dict[str, Any]
NAMES = {"rooms": "held-out rooms", "layouts": "real layouts"}
SHOWN = {
    "true": "its clip", "shuffled": "shuffled frames", "other": "another's clip", "none": "no clip",
    "one": "one frame",
}  # fmt: skip


class Valued(NamedTuple):
    """A row with the number that is averaged, and the seed of the policy that gave it."""

    row: Row
    value: float
    seed: int


@dataclass(frozen=True)
class Found:
    """rows[arm, set, clip][seed]: the answers of a finished evaluation. Unfinished ones are not there."""

    plan: Plan
    rows: dict[tuple[str, str, str], dict[int, list[Row]]]

    def score(self, arm: str, which: str, clip: str = "true") -> Interval | None:
        """An arm's overall score in percent."""
        by_seed = self.rows[arm, which, clip]
        values = [Valued(row, row["score"], seed) for seed in by_seed for row in counted(by_seed[seed])]
        return interval(values, fixed=(arm, which) == (BASE, "layouts"))

    def change(self, first: tuple[str, str], second: tuple[str, str], which: str) -> Interval | None:
        """Score of `second` minus that of `first`, both (arm, clip), question by question, in percent."""
        before, after = (self.rows[arm, which, clip] for arm, clip in (first, second))
        values = []
        for seed in [seed for seed in before if seed in after]:
            known = {row["id"]: row for row in counted(before[seed])}
            values += [
                Valued(row, row["score"] - known[row["id"]]["score"], seed)
                for row in counted(after[seed])
                if row["id"] in known
            ]
        return interval(values, fixed={(first[0], which), (second[0], which)} == {(BASE, "layouts")})

    def answers(self, pair: Pair) -> list[Interval | None]:
        """The difference that a pair of arms asks for, for each test set."""
        return [self.change((pair.first, "true"), (pair.second, "true"), which) for which in SETS]

    def best_constant(self, which: str) -> float | None:
        """What always giving each task's best answer would score, knowing the truths; mean of seeds."""
        known = [figures_of(rows).best_constant for rows in self.rows[BASE, which, "true"].values()]
        found = [value for value in known if value is not None]
        return sum(found) / len(found) if found else None

    def maps(self, arm: str, which: str, figure: str) -> Interval | None:
        """A figure of `MapFigures`, `drawn` or `score`, of the maps drawn with the true clip."""
        values = []
        for seed, rows in self.rows[arm, which, "true"].items():
            for row in rows:
                alone = map_figures([row], [0])
                if alone is not None:
                    values.append(Valued(row, getattr(alone, figure) / 100, seed))
        return interval(values, fixed=(arm, which) == (BASE, "layouts"), macro=False)


def collect(plan: Plan, out: Path) -> Found:
    """Read every finished evaluation of the plan."""
    rows: dict[tuple[str, str, str], dict[int, list[Row]]] = {}
    for arm in plan.arms:
        for which in SETS:
            for clip in plan.clips:
                rows[arm.name, which, clip] = {}
                for seed in plan.seeds:
                    file, asked = answers_of(out, arm.name, seed, which, clip), asked_of(out, seed, which)
                    if not (file.is_file() and asked.is_file()):
                        continue
                    answers = read_predictions(file)
                    if len(answers) == len(read_questions(asked)):
                        rows[arm.name, which, clip][seed] = answers
    return Found(plan, rows)


def interval(values: Sequence[Valued], fixed: bool, macro: bool = True) -> Interval | None:
    """Mean in percent over tasks (macro) or rows, clustered by seed and clip; None without any row.

    fixed: no seed changes the policy, so that only its clips are a sample.
    """
    if not values:
        return None
    if fixed:
        values = [value for value in values if value.seed == values[0].seed]
    clips = [cluster_of(value.row, k) for k, value in enumerate(values)]
    seeds: Sequence[Any] = clips if fixed else [value.seed for value in values]
    kinds = [str(value.row["question_type"]) if macro else "" for value in values]
    shares = row_shares(find_benchmark("vsibench"), kinds, macro)
    return seeded_mean([value.value for value in values], seeds, clips, kinds, shares).percent()


def page(found: Found, figure: str) -> str:
    """The whole page; `figure` is the name of the picture beside it."""
    pairs = [_pairs(found), f"![Each difference with its 95 % interval]({figure})"]
    parts = [_head(found.plan, found), "## The questions", *pairs]
    parts += ["## Which way of training is best", *_scores(found)]
    parts += ["## Does the policy watch its clip", *_watching(found)]
    parts += ["## Maps", *_maps(found), "## What is missing", _missing(found)]
    return "\n\n".join(parts) + "\n"


def _head(plan: Plan, found: Found) -> str:
    cells = [seed in seeds for seeds in found.rows.values() for seed in plan.seeds]
    steps = {arm.recipe.run.steps for arm in plan.arms if arm.recipe is not None}
    batch = {(arm.recipe.batch.clips, arm.recipe.batch.questions_per_clip) for arm in plan.arms if arm.recipe}
    budget = f"{'/'.join(map(str, sorted(steps)))} steps of " + "/".join(
        f"{clips} clips with {asked} questions" for clips, asked in sorted(batch)
    )
    arms = "\n".join(f"* `{arm.name}`: {arm.says}." for arm in plan.arms)
    return f"""# Evidence

Written by `python checks/evidence.py write` from the runs of `python checks/evidence.py run`;
checks/evidence.toml is the experiment. {sum(cells)} of {len(cells)} evaluations are there; what is missing
is listed at the end, and nothing stands in for it.

The shipped starter, trained in {len(plan.arms) - 1} ways on {plan.rooms.training} procedural rooms: {budget},
the same ones in the same order. Measured on {plan.rooms.held_out} rooms held out (others for every seed), and
on up to {plan.layouts.questions} of VSI-Bench's official questions about re-filmed real layouts (the same for
every seed, docs/real-layouts.md), by the official rule. All of it for {len(plan.seeds)} seeds.

{arms}

Brackets are 95 % intervals, [?] where there is a single seed. Questions about one clip share it and questions
of one seed share a policy, so errors are clustered by both (`tolman.bench.seeds`), with Student's t for the
few seeds. Differences are taken question by question, in percent points; **bold** where the interval leaves
out 0. Each has its own 95 %: of twenty that are truly 0, one is expected to be bold. The best constant
answers, one for each task, are chosen knowing the truths."""


def _scores(found: Found) -> list[str]:
    parts = []
    for which in SETS:
        lines = []
        for arm in found.plan.arms:
            seeds = (
                "–"
                if (arm.name, which) == (BASE, "layouts")
                else str(len(found.rows[arm.name, which, "true"]))
            )
            change = None
            if arm.name != BASE:
                change = found.change((BASE, "true"), (arm.name, "true"), which)
            lines.append([f"`{arm.name}`", seeds, said(found.score(arm.name, which)), moved(change)])
        best = found.best_constant(which)
        if best is not None:
            lines.append(["best constant answers", "", f"{best:.1f}", ""])
        parts.append(table(NAMES[which].capitalize(), ["arm", "seeds", "score", "against base"], lines))
    return parts


def figure(found: Found) -> str:
    """The answers to the plan's questions as an SVG. Raises ValueError where nothing was measured."""
    lines = [Line(pair.asks, found.answers(pair)) for pair in found.plan.pairs]
    return forest(lines, [NAMES[which] for which in SETS])


def _pairs(found: Found) -> str:
    lines = []
    for pair in found.plan.pairs:
        changes = found.answers(pair)
        lines.append([pair.asks, f"`{pair.second}` − `{pair.first}`", *map(moved, changes), answer(changes)])
    return table("", ["", "difference", *(NAMES[which] for which in SETS), "answer"], lines)


def answer(changes: Sequence[Interval | None]) -> str:
    """What the differences say together."""
    sides = {change.side for change in changes if change is not None}
    if not sides:
        return "not measured"
    if sides == {0}:
        return "cannot be told"
    if {1, -1} <= sides:
        return "on one set yes, on the other the opposite"
    return "yes" if 1 in sides else "no, it is worse"


def _watching(found: Found) -> list[str]:
    parts = []
    for which in SETS:
        head = ["arm", *(SHOWN[clip] for clip in found.plan.clips)]
        others = [clip for clip in found.plan.clips if clip != "true"]
        lines = []
        for arm in found.plan.arms:
            scores = [said(found.score(arm.name, which, clip)) for clip in found.plan.clips]
            gains = [moved(found.change((arm.name, clip), (arm.name, "true"), which)) for clip in others]
            lines.append([f"`{arm.name}`", *scores, *gains])
        head += [f"its clip − {SHOWN[clip]}" for clip in others]
        parts.append(table(NAMES[which].capitalize(), head, lines))
    return parts


def _maps(found: Found) -> list[str]:
    parts = [
        "Drawn: answers with a map that can be read, in percent. Score: 0 is the best map drawn blind, 100\n"
        "the truth; an answer without a map counts 0."
    ]
    for which in SETS:
        lines = [
            [f"`{arm.name}`", *(said(found.maps(arm.name, which, figure)) for figure in ("drawn", "score"))]
            for arm in found.plan.arms
        ]
        parts.append(table(NAMES[which].capitalize(), ["arm", "drawn", "score"], lines))
    return parts


def _missing(found: Found) -> str:
    seeds: dict[str, list[int]] = {}
    for arm in found.plan.arms:
        for which in SETS:
            for seed in found.plan.seeds:
                clips = [clip for clip in found.plan.clips if seed not in found.rows[arm.name, which, clip]]
                if clips:
                    what = f"`{arm.name}` on {NAMES[which]}, clip {', '.join(clips)}"
                    seeds.setdefault(what, []).append(seed)
    lines = [f"* {what}: seeds {', '.join(map(str, some))}" for what, some in seeds.items()]
    return "\n".join(lines) or "Nothing."


def said(found: Interval | None) -> str:
    """A mean and its interval; a dash for what was not measured."""
    if found is None:
        return "–"
    ends = "?" if math.isnan(found.low) else f"{found.low:.1f}, {found.high:.1f}"
    return f"{found.mean:.1f} [{ends}]"


def moved(found: Interval | None) -> str:
    """A difference and its interval."""
    if found is None:
        return "–"
    ends = "?" if math.isnan(found.low) else f"{found.low:+.1f}, {found.high:+.1f}"
    text = f"{found.mean:+.1f} [{ends}]"
    return f"**{text}**" if found.side else text


def table(title: str, head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table under a line with its title."""
    rows = [head, ["---", *["---:"] * (len(head) - 1)], *lines]
    text = "\n".join("| " + " | ".join(row) + " |" for row in rows)
    return f"{title}:\n\n{text}" if title else text
