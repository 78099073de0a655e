"""The answers of one run on disk: appended as they come, by one process at a time, and taken up again.

Beside `predictions.jsonl` lies `predictions.settings.json`, which says what was asked and how; a run that is
taken up again must be the same. A kill at any moment costs the answers that were not there yet: a line that
it cut in half is cut off.
"""

from __future__ import annotations

import fcntl
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

from tolman.data.files import write_lines


class Predictions:
    """Rows of `path`, by their field `number`, while the file is open and locked.

    settings: plain JSON values. resume: keep what is there, which must have been made with equal settings;
    else earlier rows are moved aside (`predictions.1.jsonl`, …). Raises ValueError where another process
    writes to the file, where settings differ (naming them), and for rows that are no answers of ours.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any], resume: bool) -> None:
        self.path = path
        self.rows: dict[int, dict[str, Any]] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = _locked(path.with_name(f".{path.name}.lock"))
        try:
            if resume:
                self._take_up(settings)
            else:
                _move_aside(path)
            write_lines(settings_file(path), [json.dumps(settings, indent=1, ensure_ascii=False)])
            self._stream = path.open("a", encoding="utf-8", newline="\n")
        except BaseException:
            self._lock.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()
        self._lock.close()

    def add(self, row: Mapping[str, Any]) -> None:
        """Write a row, whole lines at a time; a score that is NaN becomes null. Raises ValueError where its
        question was answered before, and OSError where it cannot be written.
        """
        number = row["number"]
        if number in self.rows:
            raise ValueError(f"{self.path}: question {number} has an answer already")
        plain = dict(row) | ({"score": None} if math.isnan(row["score"]) else {})
        self._stream.write(json.dumps(plain, ensure_ascii=False) + "\n")
        self._stream.flush()
        self.rows[number] = dict(row)

    def _take_up(self, settings: Mapping[str, Any]) -> None:
        """Read what is there, less a last line without its end."""
        if not self.path.is_file() or self.path.stat().st_size == 0:
            return
        _check_same(self.path, settings)
        with self.path.open("r+b") as stream:
            content = stream.read()
            whole = content.rfind(b"\n") + 1
            stream.truncate(whole)
        for row in read_predictions(self.path):
            number = row.get("number")
            if type(number) is not int or number in self.rows:
                raise ValueError(f"{self.path}: rows must have a number, each its own, got {number!r}")
            self.rows[number] = row


def settings_file(path: Path) -> Path:
    """Where the settings of the predictions in `path` lie."""
    return path.with_suffix(".settings.json")


def own_benchmark(place: Path) -> str:
    """The benchmark that a run's settings name, of its folder or its predictions; vsibench where there are no
    settings."""
    file = settings_file(place / "predictions.jsonl" if place.is_dir() else place)
    return str(json.loads(file.read_text(encoding="utf-8"))["benchmark"]) if file.is_file() else "vsibench"


def read_predictions(path: Path) -> list[dict[str, Any]]:
    """The rows of a file of ours as they were before they were written (a score of null is NaN); a last line
    that a kill cut in half is left out.

    Raises ValueError where there is no file, and naming the line that is no object.
    """
    if not path.is_file():
        raise ValueError(f"{path}: no such file of predictions")
    rows = []
    for number, line in enumerate(path.read_bytes().split(b"\n")[:-1], 1):
        try:
            row = json.loads(line)
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: not JSON ({error})") from error
        if not isinstance(row, dict):
            raise ValueError(f"{path}, line {number}: expected an object, got {type(row).__name__}")
        rows.append(row | ({"score": math.nan} if row.get("score", 0) is None else {}))
    return rows


def _check_same(path: Path, settings: Mapping[str, Any]) -> None:
    file = settings_file(path)
    if not file.is_file():
        raise ValueError(f"cannot resume {path}: {file.name} is missing, so nobody knows what was asked")
    before = json.loads(file.read_text(encoding="utf-8"))
    now = json.loads(json.dumps(settings))
    for name in sorted(before.keys() | now.keys()):
        if before.get(name) != now.get(name):
            raise ValueError(
                f"cannot resume {path}: {name} was {before.get(name)!r}, is {now.get(name)!r}; "
                "a run keeps its settings (give another folder to change them)"
            )


def _move_aside(path: Path) -> None:
    """Make room for a fresh file; rows that are there keep theirs under the next free number."""
    if not path.is_file() or path.stat().st_size == 0:
        return
    number = 1
    while path.with_suffix(f".{number}{path.suffix}").exists():
        number += 1
    for file in (path, settings_file(path)):
        if file.is_file():
            file.replace(file.with_name(file.name.replace(path.stem, f"{path.stem}.{number}", 1)))


def _locked(path: Path) -> TextIO:
    """The lock file, open and locked; the lock ends with the process, however it ends."""
    stream = path.open("a+", encoding="utf-8")
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        stream.seek(0)
        holder = stream.read().strip() or "?"
        stream.close()
        raise ValueError(f"{path.parent}: process {holder} writes predictions here; wait for it") from error
    stream.seek(0)
    stream.truncate()
    stream.write(str(os.getpid()))
    stream.flush()
    return stream
