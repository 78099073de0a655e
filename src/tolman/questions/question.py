"""One question: a row in the format of SpaceR-151k and Video-R1, with our extra fields."""

from __future__ import annotations

import dataclasses
import json
import re
from dataclasses import dataclass, field
from typing import Any

GridMap = dict[str, list[list[float]]]
_ANSWER = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)


@dataclass(frozen=True)
class Question:
    """A question about a clip.

    problem_type: `multiple choice`, `numerical`, `regression`, `free-form`, `OCR`, … (the published files'
    names). options: lettered strings (`"A. left"`) or None. solution: `<answer>…</answer>`. path: the clip.
    question_type: a VSI-Bench task name (`object_counting`, …) or "". answer_unit: `m`, `cm`, `m²`, `count`
    or "". cognitive_map: the true map, category → [[x, y], …] on the 10×10 grid, or None. evidence: how the
    answer follows. extra: fields of a foreign file that we do not know; kept and written back.
    """

    problem_id: int | str
    problem: str
    data_type: str
    problem_type: str
    options: tuple[str, ...] | None
    solution: str
    path: str
    data_source: str
    scene_id: str = ""
    question_type: str = ""
    answer_unit: str = ""
    cognitive_map: GridMap | None = None
    evidence: dict[str, Any] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def answer(self) -> str:
        """The text inside the solution's answer tag (the whole solution where there is no tag)."""
        match = _ANSWER.search(self.solution)
        return (match.group(1) if match else self.solution).strip()

    def to_row(self) -> dict[str, Any]:
        """A JSON-ready dict: the published fields, ours, then unknown ones."""
        row = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "extra"}
        row["options"] = None if self.options is None else list(self.options)
        return row | self.extra

    def to_json(self) -> str:
        """One JSONL line without the newline."""
        return json.dumps(self.to_row(), ensure_ascii=False)

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> Question:
        """Build from a row of ours, SpaceR's or Video-R1's; unknown fields go to `extra`.

        Raises ValueError naming the missing field.
        """
        known = {f.name for f in dataclasses.fields(cls)} - {"extra"}
        values: dict[str, Any] = {
            "data_type": "video",
            "options": None,
            "data_source": "",
            "path": row.get("video", ""),
        }
        values |= {key: value for key, value in row.items() if key in known}
        if "problem_type" not in values and "solution" in values:
            values["problem_type"] = "multiple choice" if values["options"] else "numerical"
        if not values.get("question_type") and isinstance(row.get("original_question_type"), str):
            values["question_type"] = row["original_question_type"]
        missing = [
            f.name
            for f in dataclasses.fields(cls)
            if f.default is dataclasses.MISSING
            and f.default_factory is dataclasses.MISSING
            and f.name not in values
        ]
        if missing:
            raise ValueError(f"question row lacks {', '.join(missing)}: {json.dumps(row)[:200]}")
        values["options"] = tuple(values["options"]) if values["options"] else None
        values["extra"] = {key: value for key, value in row.items() if key not in known}
        return cls(**values)
