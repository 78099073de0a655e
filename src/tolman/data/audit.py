"""Recompute a question file's answers from the scenes, and say where they differ.

Rows are VSI-Bench's (`id, scene_name, question_type, question, options, ground_truth`), ours, or SpaceR's
early ones (`problem_id, problem, solution`, and the scene in the name of the video).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from tolman.data.files import read_text
from tolman.questions.common import ABS_DISTANCE, fold
from tolman.questions.recompute import Recomputed, recompute
from tolman.render.sightings import Sightings
from tolman.scenes import Scene

DISTANCE_ERROR = 0.1
"""Absolute distances agree within this share of the file's answer, or within this many metres."""

_ANSWER = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)
_LETTER = re.compile(r"^\(?([A-H])(?:[.):]|\)?$)")
_NUMBER = re.compile(r"^-?\d+(?:\.(\d+))?$")
_FIELDS = {
    "id": ("id", "problem_id"),
    "scene": ("scene_name", "scene_id"),
    "question_type": ("question_type", "original_question_type"),
    "question": ("question", "problem"),
    "answer": ("ground_truth", "solution"),
}


@dataclass(frozen=True)
class AuditRow:
    """A question with somebody's answer. options: lettered strings or None."""

    id: str
    scene: str
    question_type: str
    question: str
    options: tuple[str, ...] | None
    answer: str


@dataclass(frozen=True)
class Disagreement:
    """A row whose answer is not the one that follows from the scene; `why` shows how ours follows."""

    id: str
    scene: str
    question_type: str
    question: str
    theirs: str
    ours: str
    why: str


@dataclass(frozen=True)
class Uncomputable:
    """A row that cannot be checked, and why."""

    id: str
    scene: str
    question_type: str
    why: str


@dataclass
class TaskAudit:
    """Rows of a task: all, those whose answer can be recomputed, and those of them where it is the same."""

    total: int = 0
    computable: int = 0
    agree: int = 0

    @property
    def rate(self) -> float | None:
        """Share of agreement among the computable; None when there is none."""
        return self.agree / self.computable if self.computable else None

    def to_json(self) -> dict[str, int | float | None]:
        """The three counts and the rate."""
        return {**asdict(self), "rate": self.rate}


@dataclass(frozen=True)
class AuditReport:
    """tasks: counts per task, in the order they first appear; the rows that differ; those not computable."""

    tasks: dict[str, TaskAudit]
    disagreements: list[Disagreement]
    uncomputable: list[Uncomputable]

    @property
    def sum(self) -> TaskAudit:
        """All tasks together."""
        tasks = list(self.tasks.values())
        return TaskAudit(
            *(sum(getattr(task, name) for task in tasks) for name in ("total", "computable", "agree"))
        )

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dict: counts and rates per task, sums, every disagreement, every uncomputable row."""
        return {
            "tasks": {name: task.to_json() for name, task in self.tasks.items()},
            **asdict(self.sum),
            "disagreements": [asdict(row) for row in self.disagreements],
            "uncomputable": [asdict(row) for row in self.uncomputable],
        }


def read_audit_rows(path: str | Path) -> list[AuditRow]:
    """Rows of a JSON array or JSON lines. Raises ValueError naming file, row and field of what is wrong."""
    path = Path(path)
    text = read_text(path)
    try:
        if text.lstrip()[:1] == "[":
            rows = json.loads(text)
        else:
            rows = [json.loads(line) for line in text.split("\n") if line.strip()]
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{path}: neither a JSON array nor JSON lines: {error}") from error
    if not rows:
        raise ValueError(f"{path}: no question in this file")
    return [audit_row(row, f"{path}, row {number}") for number, row in enumerate(rows, start=1)]


def audit_row(row: Any, where: str = "row") -> AuditRow:
    """One row of a known layout; `where` names it in errors. Raises ValueError for missing or bad fields."""
    if not isinstance(row, dict):
        raise ValueError(f"{where}: must be an object, got {type(row).__name__}")
    values: dict[str, str] = {}
    for field, names in _FIELDS.items():
        found = [row[name] for name in names if row.get(name) not in (None, "")]
        if not found and field == "scene" and isinstance(video := row.get("video") or row.get("path"), str):
            found = [PurePosixPath(video).stem]
        if not found or not isinstance(found[0], str | int | float) or isinstance(found[0], bool):
            raise ValueError(f"{where}: lacks {' or '.join(names)} (has {', '.join(sorted(map(str, row)))})")
        values[field] = str(found[0])
    options = row.get("options")
    if options is not None and not (
        isinstance(options, list | tuple) and all(isinstance(o, str) for o in options)
    ):
        raise ValueError(f"{where}: options must be a list of texts or null, got {json.dumps(options)[:80]}")
    match = _ANSWER.search(values["answer"])
    values["answer"] = (match.group(1) if match else values["answer"]).strip()
    return AuditRow(options=tuple(options) if options else None, **values)


def audit(
    scenes: Iterable[Scene],
    questions: Iterable[AuditRow | Mapping[str, Any]],
    sightings: Mapping[str, Sightings] | None = None,
) -> AuditReport:
    """Recompute every answer. A row about an unknown scene counts as not computable.

    Letters and texts must be equal; absolute distances lie within `DISTANCE_ERROR`; other numbers equal the
    unrounded value rounded to the decimals of the file's answer. sightings: scene name → what its clip shows,
    for the appearance order. Raises ValueError for two scenes of one name and for malformed rows.
    """
    by_name: dict[str, Scene] = {}
    for scene in scenes:
        if scene.id in by_name:
            raise ValueError(f"two scenes are named {scene.id!r}; audit needs one scene per name")
        by_name[scene.id] = scene
    report = AuditReport({}, [], [])
    for number, given in enumerate(questions, start=1):
        row = given if isinstance(given, AuditRow) else audit_row(given, f"row {number}")
        task = report.tasks.setdefault(row.question_type, TaskAudit())
        task.total += 1
        ours = _recompute(row, by_name, sightings or {})
        if ours.answer is None:
            report.uncomputable.append(Uncomputable(row.id, row.scene, row.question_type, ours.reason))
            continue
        task.computable += 1
        if agrees(row, ours):
            task.agree += 1
        else:
            report.disagreements.append(
                Disagreement(
                    row.id, row.scene, row.question_type, row.question, row.answer, ours.answer, ours.reason
                )
            )
    return report


def _recompute(row: AuditRow, scenes: Mapping[str, Scene], sightings: Mapping[str, Sightings]) -> Recomputed:
    scene = scenes.get(row.scene)
    if scene is None:
        return Recomputed(None, None, f"no scene named {row.scene!r}")
    return recompute(row.question_type, row.question, row.options, scene, sightings.get(row.scene))


def agrees(row: AuditRow, ours: Recomputed) -> bool:
    """Whether the row's answer is ours by the rules of `audit`; text where a number belongs is not."""
    assert ours.answer is not None
    if re.fullmatch(r"[A-H]", ours.answer):
        match = _LETTER.match(row.answer)
        return match is not None and match.group(1) == ours.answer
    number = _NUMBER.match(row.answer)
    if ours.value is None or not _NUMBER.match(ours.answer):
        return fold(row.answer) == fold(ours.answer)
    if number is None:
        return False
    if row.question_type == ABS_DISTANCE:
        theirs = float(row.answer)
        return abs(ours.value - theirs) <= max(DISTANCE_ERROR, DISTANCE_ERROR * theirs) + 1e-9
    decimals = len(number.group(1) or "")
    return math.isclose(float(f"{ours.value:.{decimals}f}"), float(row.answer), abs_tol=1e-9)


def report_table(report: AuditReport, shown: int = 20) -> str:
    """The report as text: a line per task, the sum, and up to `shown` disagreements."""
    rows = [("task", "total", "computable", "agree", "rate")]
    for name, task in [*report.tasks.items(), ("all", report.sum)]:
        rate = "–" if task.rate is None else f"{100 * task.rate:.1f} %"
        rows.append((name, str(task.total), str(task.computable), str(task.agree), rate))
    widths = [max(len(row[k]) for row in rows) for k in range(5)]
    lines = [_aligned(row, widths) for row in rows]
    lines.insert(1, "-" * len(lines[0]))
    lines.insert(len(lines) - 1, "-" * len(lines[0]))
    if report.disagreements:
        lines += ["", f"disagreements ({len(report.disagreements)}):"]
        lines += [
            f"  {row.scene} {row.id}: {' '.join(row.question.split())} "
            f"theirs {row.theirs}, ours {row.ours} ({row.why})"
            for row in report.disagreements[:shown]
        ]
        if len(report.disagreements) > shown:
            lines.append(f"  … {len(report.disagreements) - shown} more")
    return "\n".join(lines)


def _aligned(row: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(
        [row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))]
    )
