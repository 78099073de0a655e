"""What a run folder holds, read as it is: every file is optional, and what is missing is None or empty."""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Row = dict[str, Any]


@dataclass(frozen=True)
class RunFiles:
    """The files of one run folder that a report shows.

    evaluation: `evaluation.json` or None. before, after: prediction rows. recipe_text, recipe: recipe.toml as
    text and as a table. clips: the folder the clips' paths are relative to, None where the recipe names none.
    """

    path: Path
    evaluation: Row | None
    before: list[Row]
    after: list[Row]
    metrics: list[Row]
    rollouts: list[str]
    skipped: list[Row]
    recipe_text: str
    recipe: Row
    clips: Path | None

    @property
    def name(self) -> str:
        """The run's name: the recipe's, else the folder's."""
        return str(self.recipe.get("run", {}).get("name") or self.path.resolve().name)


def read_run(folder: str | Path) -> RunFiles:
    """Read a run folder. Raises ValueError where it is none, or where a file in it cannot be understood."""
    path = Path(folder)
    if not path.is_dir():
        raise ValueError(f"{path}: no such folder; give the folder of a run, such as runs/quickstart")
    recipe_text = _text(path / "recipe.toml")
    try:
        recipe = tomllib.loads(recipe_text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path / 'recipe.toml'}: not TOML ({error})") from error
    evaluation = _text(path / "evaluation.json")
    found = RunFiles(
        path=path,
        evaluation=_parse(path / "evaluation.json", evaluation, 1) if evaluation else None,
        before=_rows(path / "predictions_before.jsonl"),
        after=_rows(path / "predictions_after.jsonl") or _rows(path / "predictions.jsonl"),
        metrics=_rows(path / "metrics.jsonl"),
        rollouts=_lines(path / "rollouts.jsonl"),
        skipped=_rows(path / "skipped.jsonl"),
        recipe_text=recipe_text,
        recipe=recipe,
        clips=_clip_root(recipe, path),
    )
    if not (found.evaluation or found.metrics or found.rollouts or found.after):
        raise ValueError(
            f"{path}: nothing to report; expected evaluation.json, metrics.jsonl, rollouts.jsonl or "
            "predictions.jsonl"
        )
    return found


def parse_row(path: Path, line: str, number: int) -> Row:
    """One line of a .jsonl of the run as an object. Raises ValueError naming file and line."""
    return _parse(path, line, number)


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def _lines(path: Path) -> list[str]:
    """Whole lines; one that a kill cut in half (no newline at its end) is left out."""
    text = _text(path)
    return [line for line in text[: text.rfind("\n") + 1].split("\n") if line.strip()]


def _rows(path: Path) -> list[Row]:
    return [_parse(path, line, number) for number, line in enumerate(_lines(path), 1)]


def _parse(path: Path, text: str, line: int) -> Row:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}, line {line}: not JSON ({error.msg})") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path}, line {line}: expected an object, got {type(value).__name__}")
    return value


def _clip_root(recipe: Row, folder: Path) -> Path | None:
    """Where the recipe's clips lie: data.clips, else the folder of data.path; relative names are also tried
    there.
    """
    data = recipe.get("data", {})
    named = data.get("clips") or data.get("path")
    if not isinstance(named, str) or not named:
        return None
    for base in (Path(), folder):
        place = base / named
        if place.exists():
            return place if place.is_dir() else place.parent
    return Path(named)
