"""Benchmarks whose images lie in the table of their questions (Parquet, or TSV with base64).

Reading the questions leaves the images where they are; `unpack_images` writes them beside the table, once, as
files that everything else can read.
"""

from __future__ import annotations

import base64
import binascii
import csv
import importlib
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tolman.data.rows import clip_path
from tolman.questions.question import Question

_COLUMN = re.compile(r"(?:images?|img)(?:_\d+)?")
_KINDS = {b"\xff\xd8\xff": "jpg", b"\x89PNG": "png", b"RIFF": "webp", b"BM": "bmp", b"GIF8": "gif"}
_REFERENCE = 64  # a shorter text names the row whose image it is (VLMEvalKit's tables)
_TABLES = (".parquet", ".tsv", ".csv")


def without_pictures(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row less its columns of images (`image`, `images`, `image_1`, …)."""
    return {name: value for name, value in row.items() if not _COLUMN.fullmatch(str(name))}


def csv_rows(lines: Iterable[str], delimiter: str) -> Iterator[dict[str, Any]]:
    """Rows of a table with a head, however long their cells."""
    csv.field_size_limit(sys.maxsize)
    return iter(csv.DictReader(lines, delimiter=delimiter))


def parquet_rows(path: Path, pictures: bool) -> Iterator[dict[str, Any]]:
    """Rows of a Parquet file, a few at a time; pictures: with their columns of images.

    Raises ValueError where pyarrow is missing or cannot read the file.
    """
    try:
        parquet: Any = importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise ValueError(
            f"{path}: reading Parquet needs pyarrow (pip install 'tolman[parquet]', or pyarrow alone)"
        ) from error
    try:
        with parquet.ParquetFile(path) as file:
            names = [name for name in file.schema_arrow.names if pictures or not _COLUMN.fullmatch(name)]
            for part in file.iter_batches(batch_size=16 if pictures else 4096, columns=names):
                yield from part.to_pylist()
    except (OSError, ValueError) as error:  # pyarrow's own errors are both
        raise ValueError(f"{path}: not a Parquet file that can be read: {error}") from error


def unpack_images(
    files: Iterable[Path], question_of: Callable[[Path, int, Mapping[str, Any]], Question], root: Path
) -> int:
    """Write the images of tables to `root`, each question's into the folder that its path names, as 01.jpg,
    02.png, …; returns how many questions had theirs written now.

    Folders that are there are left as they are: each appears whole. Files that are no tables are passed over.
    Raises ValueError for a cell that is no image, two questions of one path, and a path outside `root`.
    """
    done: set[str] = set()
    written = 0
    for file in files:
        if file.suffix.lower() not in _TABLES:
            continue
        known: dict[str, list[bytes]] = {}
        for number, row in enumerate(_table(file)):
            question = question_of(file, number, row)
            found = _pictures(row, known, f"{file}, row {number + 1}")
            if not found:
                continue
            if question.path in done:
                raise ValueError(
                    f"{file}, row {number + 1}: a second question with images at {question.path}"
                )
            done.add(question.path)
            written += _write(clip_path(question, root), found)
    return written


def _table(file: Path) -> Iterator[dict[str, Any]]:
    if file.suffix.lower() == ".parquet":
        yield from parquet_rows(file, pictures=True)
        return
    with file.open(encoding="utf-8-sig", newline="") as lines:
        yield from csv_rows(lines, "\t" if file.suffix.lower() == ".tsv" else ",")


def _pictures(row: Mapping[str, Any], known: dict[str, list[bytes]], where: str) -> list[bytes]:
    """The files in a row's columns of images, in the order of columns. known: those of earlier rows by their
    `index`, for rows that name another's.
    """
    found: list[bytes] = []
    for name, value in row.items():
        if not _COLUMN.fullmatch(str(name)):
            continue
        for cell in _cells(value):
            if isinstance(cell, str) and len(cell) <= _REFERENCE:
                if cell not in known:
                    raise ValueError(f"{where}: names the image of row {cell!r}, which is none before it")
                found += known[cell]
            else:
                found.append(_content(cell, where))
    if found and "index" in row:
        known[str(row["index"])] = found
    return found


def _cells(value: Any) -> list[Any]:
    if isinstance(value, str) and value.startswith("["):
        value = [part.strip(" '\"") for part in value[1:-1].split(",")]
    return [cell for cell in (value if isinstance(value, list) else [value]) if cell not in (None, "")]


def _content(cell: Any, where: str) -> bytes:
    """The bytes of an image file: as they are, in Hugging Face's {bytes, path}, or in base64."""
    if isinstance(cell, Mapping):
        cell = cell.get("bytes")
    if isinstance(cell, str):
        try:
            cell = base64.b64decode(cell, validate=True)
        except binascii.Error as error:
            raise ValueError(f"{where}: an image that is not base64 ({error})") from error
    if not isinstance(cell, bytes) or _kind(cell) is None:
        raise ValueError(f"{where}: a cell that is no image ({', '.join(_KINDS.values())} can be read)")
    return cell


def _kind(content: bytes) -> str | None:
    return next((kind for start, kind in _KINDS.items() if content.startswith(start)), None)


def _write(folder: Path, found: list[bytes]) -> bool:
    """Whether the folder had to be written; it appears whole."""
    if folder.is_dir():
        return False
    part = folder.with_name(f".{folder.name}.part")
    try:
        if part.exists():
            shutil.rmtree(part)
        part.mkdir(parents=True)
        for number, content in enumerate(found, 1):
            (part / f"{number:02d}.{_kind(content)}").write_bytes(content)
        part.replace(folder)
    except OSError as error:
        raise ValueError(f"{folder}: cannot be written: {error.strerror or error}") from error
    return True
