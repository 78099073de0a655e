"""Every file of rows that a peer's own code scored: our rule of that name gives the same, row by row."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from tolman.bench.rows import read_rows
from tolman.bench.score import score_rows

CLOSE = 1e-9


def same(ours: Any, theirs: Any) -> bool:
    """Equal, to rounding for floats; True is not 1."""
    if isinstance(ours, float) and isinstance(theirs, int | float) and not isinstance(theirs, bool):
        return abs(ours - theirs) < CLOSE
    return bool(ours == theirs) and isinstance(ours, bool) == isinstance(theirs, bool)


def differing(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows whose score or answer is not the peer's; those without a `peer_score` are ones it guesses or fails
    at.
    """
    reads = any(row.get("peer_extracted") is not None for row in rows)
    return [
        row
        for row in rows
        if row.get("peer_score") is not None
        and (
            math.isnan(row["score"])
            or abs(row["score"] - row["peer_score"]) > CLOSE
            or (reads and "peer_extracted" in row and not same(row["extracted"], row["peer_extracted"]))
        )
    ]


def fixtures(folder: Path) -> list[Path]:
    """`BENCHMARK__RULE.jsonl`; files of SpaceR's rewards are no benchmark's."""
    return [path for path in sorted(folder.glob("*__*.jsonl")) if not path.name.startswith("spacer_")]


def test_every_row_and_average_of_every_peer(shared_data: Path) -> None:
    found = fixtures(shared_data / "scorers")
    assert len(found) > 70
    wrong: dict[str, Any] = {}
    for path in found:
        benchmark, rule = path.stem.split("__", 1)
        scored = score_rows(read_rows(path), benchmark, rule)
        rows = differing(scored.rows)
        if rows:
            wrong[path.stem] = rows[:3]
        theirs = json.loads(path.with_suffix(".aggregate.json").read_text()).get("aggregate")
        figures = {"overall": theirs} if isinstance(theirs, int | float) else theirs or {}
        for name, value in figures.items():
            if isinstance(value, int | float) and not same(scored.aggregate.get(name), float(value)):
                wrong[f"{path.stem}: {name}"] = (scored.aggregate.get(name), value)
    assert wrong == {}


def test_almost_every_row_is_compared(shared_data: Path) -> None:
    """Rows without a peer's score are those it draws at random for, stops at, or leaves out."""
    compared = 0
    for path in fixtures(shared_data / "scorers"):
        benchmark, rule = path.stem.split("__", 1)
        rows = score_rows(read_rows(path), benchmark, rule).rows
        lacking = [row for row in rows if row.get("peer_score") is None]
        compared += len(rows) - len(lacking)
        assert len(lacking) < len(rows), path.stem
        told = [row for row in lacking if row["guessed"] or row["dropped"] or math.isnan(row["score"])]
        assert len(lacking) - len(told) <= 18, path.stem  # empty answers, at which the peer's code stops
        assert all(
            not row["prediction"] or not str(row["prediction"]).strip() for row in lacking if row not in told
        )
    assert compared > 24_000


def test_the_rows_given_to_a_rule_stay_as_they_are(shared_data: Path) -> None:
    path = shared_data / "scorers" / "sparbench__vlmevalkit.jsonl"
    rows = read_rows(path)
    score_rows(rows, "sparbench", "vlmevalkit")
    assert rows == read_rows(path)
