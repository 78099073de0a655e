"""Read the questions of any registered benchmark from its published files."""

from __future__ import annotations

import importlib
import io
import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from tolman.bench.asking import question
from tolman.bench.benchmark import IN_TABLE, Benchmark, find_benchmark
from tolman.bench.pictures import csv_rows, parquet_rows, without_pictures
from tolman.bench.rows import read_rows
from tolman.data.files import read_text
from tolman.questions.question import Question

_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
_OPTION_LINE = re.compile(r"\n\(?([A-Z])[.)][ \t]*([^\n]*)")
_VIDEO_R1 = {"problem", "solution", "problem_type"}
_MANIFEST = {"prompt", "reward_model", "videos"}
_SPATIALSCORE = {"id", "category", "question", "answer", "images"}


def load_questions(benchmark: str, where: str | Path) -> list[Question]:
    """The questions of a benchmark in a file, in the first of its published files that a folder has
    (`question_files`), or in those of a dataset on the Hub, named by its id (`owner/name`).

    Files may be JSON, JSON lines, CSV, TSV, or Parquet where pyarrow is installed. Beside the published
    layout of a benchmark, rows of Video-R1's, of verl's and of SpatialScore's are read as such. Raises
    ValueError for unknown names, for a folder without any of the files, saying what to download, for a
    dataset that cannot be had, and naming file and row for rows that lack a field.
    """
    entry = find_benchmark(benchmark)
    if entry.read is None:
        raise ValueError(f"{entry.title} has rules only: there are no questions of it to read")
    questions: list[Question] = []
    for path in question_files(entry, where):
        for number, row in enumerate(_rows(entry, path)):
            questions.append(question_of(entry, path, number, row))
    return questions


def _from_hub(entry: Benchmark, name: str) -> Path:
    """The folder with the question files of a dataset on the Hub, from its cache where they are there."""
    hub = importlib.import_module("huggingface_hub")
    refused = importlib.import_module("huggingface_hub.errors").HfHubHTTPError
    wanted = [pattern for one in entry.files for pattern in (one, f"**/{one}")]
    try:
        return Path(hub.snapshot_download(name, repo_type="dataset", allow_patterns=wanted))
    except (OSError, ValueError, refused) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(
            f"{name}: neither a file, nor a folder, nor a dataset that the Hub hands out now ({reason})"
        ) from error


def missing_files(entry: Benchmark, where: Path) -> str:
    """What to say to somebody who has none of the files of a benchmark."""
    hub = entry.source.count("/") == 1 and " " not in entry.source
    get = (
        f"hf download {entry.source} --repo-type dataset --local-dir {where}"
        if hub
        else f"see {entry.source}"
    )
    clips = f"; its clips ({entry.clips}) belong beside them" if entry.clips not in ("", IN_TABLE) else ""
    return f"{where}: no question file of {entry.title} here (one of {', '.join(entry.files)}): {get}{clips}"


def question_files(entry: Benchmark, where: str | Path) -> list[Path]:
    """The file, or those of the first of a benchmark's patterns that a folder has, else that is anywhere
    below it, else the only file in it that can be read as a table of rows; of a dataset on the Hub the same,
    in the Hub's cache. Raises ValueError without any.
    """
    folder = Path(where)
    if not folder.exists() and _HUB_ID.fullmatch(str(where)):
        folder = _from_hub(entry, str(where))
    if folder.is_file():
        return [folder]
    if folder.is_dir():
        for search in (folder.glob, folder.rglob):
            for pattern in entry.files:
                found = sorted(file for file in search(pattern) if file.is_file())
                if found:
                    return found
        alone = [file for file in folder.iterdir() if file.is_file() and file.suffix.lower() in _READERS]
        if len(alone) == 1:
            return alone
    raise ValueError(missing_files(entry, folder))


def _rows(entry: Benchmark, path: Path) -> Iterable[Mapping[str, Any]]:
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise ValueError(
            f"{path}: cannot read {path.suffix or 'a file without a suffix'}; {', '.join(_READERS)} can be"
        )
    content = reader(path)
    known = isinstance(content, list) and content and _foreign(content[0]) is not None
    if entry.unpack is not None and not known:
        try:
            return entry.unpack(content)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(
                f"{path}: not laid out as {entry.title} is published ({_told(error)})"
            ) from error
    if not isinstance(content, list):
        raise ValueError(f"{path}: expected a list of rows")
    return content


def question_of(entry: Benchmark, path: Path, number: int, row: Mapping[str, Any]) -> Question:
    """Row `number` (from 0) of a file as a question. Raises ValueError naming both and what is wrong."""
    try:
        if not isinstance(row, Mapping):
            raise TypeError(f"a row must be an object, got {type(row).__name__}")
        foreign = _foreign(row)
        if foreign is not None:
            return foreign(entry, number, row)
        assert entry.read is not None
        return entry.read(number, {"_file": path.stem, "_folder": path.parent.name} | dict(row))
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise ValueError(f"{path}, row {number + 1}: {_told(error)}") from error


def _told(error: Exception) -> str:
    return f"lacks {error.args[0]!r}" if isinstance(error, KeyError) and error.args else str(error)


def _foreign(row: Any) -> Callable[[Benchmark, int, Mapping[str, Any]], Question] | None:
    """The reader of another project's layout, told by its fields."""
    if not isinstance(row, Mapping):
        return None
    if row.keys() >= _MANIFEST:
        return _verl
    if row.keys() >= _VIDEO_R1:
        return lambda entry, number, row: Question.from_row({"problem_id": number} | dict(row))
    return _from_spatialscore if row.keys() == _SPATIALSCORE else None


def _verl(entry: Benchmark, number: int, row: Mapping[str, Any]) -> Question:
    """verl's rows: the options are lines of the prompt, the clip is the first of `videos`."""
    asked, options = split_options(row["prompt"][-1]["content"].replace("\\n", "\n"))
    return question(
        entry.name, row.get("id", row.get("Question_ID", row.get("index", number))), asked,
        row["reward_model"]["ground_truth"], options=options, clip=row["videos"][0],
        kind=row.get("Question_Type", row.get("question_type", "")),
    )  # fmt: skip


def _from_spatialscore(entry: Benchmark, number: int, row: Mapping[str, Any]) -> Question:
    """SpatialScore's rows of other benchmarks: the options are lines of the question."""
    asked, options = split_options(row["question"])
    return question(
        entry.name, row["id"], asked, row["answer"].strip("()"), options=options,
        clip="|".join(row["images"]),
        kind=row["category"], media="images", extra={"qid": row["id"]},
    )  # fmt: skip


def split_options(text: str) -> tuple[str, list[str] | None]:
    """A question and the options that follow it as lines `A. …` or `(A) …`; None without any.

    Lines after the last option are left out.
    """
    matches = list(_OPTION_LINE.finditer(text))
    first = next((k for k, match in enumerate(matches) if match.group(1) == "A"), None)
    if first is None:
        return text, None
    options = []
    for k, match in enumerate(matches[first:]):
        if match.group(1) != chr(65 + k):
            break
        options.append(match.group(2).strip())
    asked = text[: matches[first].start()].strip()
    return asked.removesuffix("Options:").rstrip(), options


def _json(path: Path) -> Any:
    text = read_text(path)
    if text.lstrip().startswith("{") and path.suffix.lower() == ".json":
        try:
            return json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(f"{path}, line {error.lineno}: not JSON ({error.msg})") from error
    return read_rows(path)


def _table(delimiter: str) -> Callable[[Path], list[dict[str, Any]]]:
    return lambda path: [without_pictures(row) for row in csv_rows(io.StringIO(read_text(path)), delimiter)]


def _parquet(path: Path) -> list[dict[str, Any]]:
    return list(parquet_rows(path, pictures=False))


_READERS: dict[str, Callable[[Path], Any]] = {
    ".json": _json,
    ".jsonl": _json,
    ".csv": _table(","),
    ".tsv": _table("\t"),
    ".parquet": _parquet,
}
