"""The parts of a report: each takes a run's files and returns markup, or nothing where there is nothing to
show.
"""

from __future__ import annotations

import math
from typing import Any

from tolman.report.curves import line_chart
from tolman.report.folder import Row, RunFiles, parse_row
from tolman.report.html import Html, join, shortened, table, tag

_FIRST = ("reward", "total", "loss", "kl", "length", "accuracy", "score")
_SHOWN = {
    "none": "shown no clip",
    "one": "shown one frame",
    "shuffled": "shown shuffled frames",
    "other": "shown another scene's clip",
}
_AXIS = ("step", "time", "seconds", "elapsed")
_TASK_NAMES = {
    "object_counting": "Object counting",
    "object_abs_distance": "Absolute distance",
    "object_size_estimation": "Object size",
    "room_size_estimation": "Room size",
    "object_rel_distance": "Relative distance",
    "object_rel_direction": "Relative direction",
    "route_planning": "Route planning",
    "obj_appearance_order": "Appearance order",
}
EXAMPLES = 10


def task_name(task: str) -> str:
    """A task's name for people."""
    return _TASK_NAMES.get(task, task.replace("_", " "))


def results(run: RunFiles) -> Html:
    """The table of `evaluation.json`: one column per evaluation, and chance and best constant to hold against
    it.
    """
    evaluations: dict[str, Row] = (run.evaluation or {}).get("evaluations", {})
    if not evaluations:
        return Html("")
    last = list(evaluations.values())[-1]
    gain = (run.evaluation or {}).get("difference") if len(evaluations) > 1 else None
    head = ["", tag("span", "n"), *evaluations, *(["difference"] if gain else []), "chance", "best constant"]
    tasks = list(dict.fromkeys(task for each in evaluations.values() for task in each["tasks"]))
    rows: list[list[Any]] = []
    for task in tasks:
        lines = [each["tasks"].get(task) for each in evaluations.values()]
        known = next(line for line in reversed(lines) if line is not None)
        best = join([figure(known["best_constant"]), " ", tag("small", known["best_answer"])])
        gained = [difference(gain["tasks"].get(task))] if gain else []
        rows.append([task_name(task), known["n"], *map(score, lines), *gained, figure(known["chance"]), best])
    overall = [score({"score": each["overall"], "stderr": each["stderr"]}) for each in evaluations.values()]
    gained = [difference(gain["overall"])] if gain else []
    rows.append(["Overall", last["total"], *overall, *gained, "", figure(last["best_constant"])])
    notes = [_evaluation_note(name, each) for name, each in evaluations.items()]
    return join(
        [
            tag("h2", "Results"),
            tag("p", *notes, class_="note"),
            table(head, rows, "results"),
            counts(evaluations),
            tag(
                "p",
                "Percent, with the standard error clustered by clip. Chance is a uniform guess among the "
                "options (none for numbers); the best constant is the one answer that would score best if it "
                "were always given, chosen with the truth in hand. Overall is the mean over tasks. ",
                "The difference is that of the same questions, with its 95 % interval." if gain else "",
                class_="note",
            ),
        ]
    )


def counts(evaluations: dict[str, Row]) -> Html:
    """What each overall figure is taken over, by the rule that scored and by the strict one."""
    lines = []
    for name, each in evaluations.items():
        ways = {each.get("rule", "?"): each, "strict": each.get("strict")}
        for rule, found in ways.items():
            if found is not None and "micro" in found:
                lines.append([f"{name}, {rule}", *_counted(found)])
    if not lines:
        return Html("")
    head = ["scored by", "overall", "macro", "micro", "counted", "of", "not read, %", "guessed", "dropped"]
    return table(head, lines, "counts")


def _counted(found: Row) -> list[object]:
    shares = [figure(found[name]) for name in ("overall", "macro", "micro")]
    told = [found[name] for name in ("denominator", "total", "guessed", "dropped")]
    return [*shares, *told[:2], figure(found["failure_rate"]), *told[2:]]


def _evaluation_note(name: str, each: Row) -> str:
    words = [f"{name}: {each.get('model', '?')}, {each['total']} questions"]
    if each.get("clip_source", "true") != "true":
        words.append(_SHOWN[each["clip_source"]])
    if each.get("unanswered"):
        words.append(f"{each['unanswered']} without an answer")
    if each.get("ungraded"):
        words.append(f"{each['ungraded']} not gradable")
    rule = f"{each.get('benchmark', '?')} / {each.get('rule', '?')} rule"
    return f"{', '.join(words)} ({rule}). "


def score(line: Row | None) -> Html:
    """`12.3 ± 1.4`, or a dash."""
    if line is None:
        return tag("span", "–")
    error = line.get("stderr")
    return join([figure(line["score"]), tag("small", f" ± {error:.1f}") if error is not None else ""])


def figure(value: float | None) -> str:
    """A percentage with one decimal, or a dash."""
    return "–" if value is None or math.isnan(value) else f"{value:.1f}"


def difference(found: Row | None) -> Html:
    """A signed difference with its interval, coloured where the interval leaves zero out."""
    if found is None:
        return tag("span", "–")
    sure = "good" if found["low"] > 0 else "bad" if found["high"] < 0 else "even"
    interval = tag("small", f" [{found['low']:+.1f}, {found['high']:+.1f}]")
    return join([tag("span", f"{found['difference']:+.1f}", class_=sure), interval])


def curves(run: RunFiles) -> Html:
    """One small chart per number that metrics.jsonl holds, rewards and losses first."""
    names = dict.fromkeys(
        key for row in run.metrics for key, value in row.items() if _is_number(value) and key not in _AXIS
    )
    if not names:
        return Html("")

    def rank(name: str) -> tuple[int, str]:
        return next((k for k, word in enumerate(_FIRST) if word in name), len(_FIRST)), name

    charts = []
    for name in sorted(names, key=rank):
        rows = [(number, row) for number, row in enumerate(run.metrics, 1) if _is_number(row.get(name))]
        steps = [float(row.get("step", number)) for number, row in rows]
        charts.append(line_chart(steps, [float(row[name]) for _, row in rows], name))
    note = tag("p", f"{len(run.metrics)} steps; thin: as measured, thick: running mean.", class_="note")
    return join([tag("h2", "Training"), note, tag("div", *charts, class_="charts")])


def rollouts(run: RunFiles) -> Html:
    """Completions from the run, evenly spread over it, with every reward and its reason."""
    if not run.rollouts:
        return Html("")
    shown = spread(len(run.rollouts), EXAMPLES)
    file = run.path / "rollouts.jsonl"
    cards = [_rollout(parse_row(file, run.rollouts[k], k + 1)) for k in shown]
    note = tag(
        "p", f"{len(shown)} of {len(run.rollouts)} completions, evenly spread over the run.", class_="note"
    )
    return join([tag("h2", "Rollouts"), note, *cards])


def _rollout(row: Row) -> Html:
    where = [
        f"step {row.get('step', '?')}",
        f"question {row.get('problem_id', '?')}",
        row.get("question_type") or "",
    ]
    reward = row.get("reward")
    total = f"reward {reward:.3g}" if _is_number(reward) else "not gradable"
    title = tag("h3", " · ".join(part for part in where if part), tag("span", total, class_="value"))
    truth = tag("p", f"Truth: {row['solution']}", class_="note") if "solution" in row else ""
    written = shortened(str(row.get("completion", "")), where=" in rollouts.jsonl")
    parts = [
        [
            name,
            f"{graded['value']:.3g}" if _is_number(graded.get("value")) else "not gradable",
            graded.get("reason", ""),
        ]
        for name, graded in row.get("rewards", {}).items()
    ]
    graded = table(["reward", "value", "reason"], parts, "reasons") if parts else ""
    return tag("div", title, truth, written, graded, class_="card")


def skipped(run: RunFiles) -> Html:
    """Clips that could not be read, with the reason."""
    if not run.skipped:
        return Html("")
    rows = [[row.get("path", "?"), row.get("step", ""), row.get("reason", "?")] for row in run.skipped[:50]]
    rest = len(run.skipped) - len(rows)
    more = [tag("p", f"… {rest} more in skipped.jsonl", class_="note")] if rest > 0 else []
    return join([tag("h2", "Skipped clips"), table(["clip", "step", "reason"], rows, "reasons"), *more])


def recipe(run: RunFiles) -> Html:
    """The resolved recipe as it was run."""
    if not run.recipe_text:
        return Html("")
    return join([tag("h2", "Recipe"), shortened(run.recipe_text, 20_000, " in recipe.toml")])


def spread(total: int, most: int) -> list[int]:
    """Up to `most` indices evenly spread over range(total), ends included."""
    if total <= most:
        return list(range(total))
    return sorted({round(k * (total - 1) / (most - 1)) for k in range(most)})


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
