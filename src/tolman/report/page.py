"""One self-contained page about a run, made only of the files in its folder."""

from __future__ import annotations

import os
from pathlib import Path

from tolman.report import sections
from tolman.report.clips import clips
from tolman.report.folder import RunFiles, read_run
from tolman.report.html import Html, join, page, tag


def write_report(run_folder: str | Path, isolate: bool = False) -> Path:
    """Write `report.html` into a run folder and return its path.

    Reads evaluation.json, predictions_before.jsonl, predictions_after.jsonl (or predictions.jsonl),
    metrics.jsonl, rollouts.jsonl, skipped.jsonl, recipe.toml, each where it exists, and the clips the
    predictions name. Computes no metric. isolate: decode those clips in a worker process with limits on
    memory and time. Raises ValueError for a folder with nothing to show and for a file that is not what it
    should be.
    """
    run = read_run(run_folder)
    target = run.path / "report.html"
    staging = run.path / f".report.html.{os.getpid()}.incomplete"
    staging.write_text(render(run, isolate), encoding="utf-8")
    staging.replace(target)
    return target


def render(run: RunFiles, isolate: bool = False) -> str:
    """The page as text. isolate: as in `write_report`."""
    parts = [
        header(run),
        sections.results(run),
        sections.curves(run),
        clips(run, isolate),
        sections.rollouts(run),
        sections.skipped(run),
        sections.recipe(run),
        tag("footer", "Written by tolman report from the files of this run folder; nothing here is fetched."),
    ]
    return page(f"{run.name} · Tolman", join(parts))


def header(run: RunFiles) -> Html:
    """The run's name and one line on what it was."""
    recipe = run.recipe
    facts = []
    if "model" in recipe:
        facts.append(f"model {recipe['model'].get('path', '?')}")
    if "objective" in recipe:
        facts.append(f"objective {recipe['objective'].get('name', '?')}")
    if run.metrics:
        facts.append(f"{run.metrics[-1].get('step', len(run.metrics))} steps")
    if recipe.get("rewards"):
        facts.append("rewards " + ", ".join(str(part.get("name", "?")) for part in recipe["rewards"]))
    return join([tag("h1", run.name), tag("p", " · ".join(facts), class_="lead") if facts else Html("")])
