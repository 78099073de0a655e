"""Text files that appear whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write lines (UTF-8, `\\n` ended) under a temporary name beside `path`, then rename.

    Raises ValueError naming `path` where it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", encoding="utf-8", newline="\n") as stream:
            stream.writelines(f"{line}\n" for line in lines)
        temporary.replace(path)
    except OSError as error:
        raise ValueError(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:
        if temporary.is_file():
            temporary.unlink()


def read_text(path: Path) -> str:
    """The file's text as UTF-8 (a byte order mark is dropped).

    Raises ValueError naming `path` for a file that is missing, a folder, unreadable or not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text (byte {error.start}): {error.reason}") from error
