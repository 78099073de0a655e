"""The error of a clip that cannot be read or written."""

from __future__ import annotations

from pathlib import Path


class ClipError(ValueError):
    """A clip that cannot be read or written: `path` and `reason` (one line, no path in it)."""

    def __init__(self, path: str | Path, reason: str) -> None:
        super().__init__(f"clip {path}: {reason}")
        self.path = str(path)
        self.reason = reason

    def __reduce__(self) -> tuple[type[ClipError], tuple[str, str]]:
        """Pickle by both arguments, so that the error crosses process boundaries."""
        return type(self), (self.path, self.reason)
