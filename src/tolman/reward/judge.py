"""Judges: models that are asked about a completion. What comes back from one is as little trusted as the
completion itself."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections import OrderedDict
from pathlib import Path
from typing import NamedTuple, Protocol

MAX_REPLY = 20_000  # characters; a verdict is a word, its reasons a paragraph


class Reply(NamedTuple):
    """What a judge says; None with the reason where it could not be asked or did not answer."""

    text: str | None
    reason: str


class Judge(Protocol):
    """Answers a prompt. It never raises for what happens to it: that is a Reply without text."""

    def __call__(self, prompt: str) -> Reply:
        """The judge's reply, at most MAX_REPLY characters."""
        ...


class CachedJudge:
    """A judge that is asked each prompt once; what it could not answer is asked again.

    judge: the one to ask. name: of the model and its settings; part of the key, so that judges may share a
    folder. folder: where replies are kept, one JSON file each, for other processes and later runs; None keeps
    them in memory only. size: replies kept in memory, the oldest forgotten first. A file that is not such a
    reply is as good as none. Raises ValueError for a size below 1 and a folder that cannot be made.
    """

    def __init__(
        self, judge: Judge, name: str, folder: str | Path | None = None, size: int = 100_000
    ) -> None:
        if size < 1:
            raise ValueError(f"size must be at least 1, got {size}")
        self._judge, self._name, self._size = judge, name, size
        self._folder = None if folder is None else Path(folder)
        self._memory: OrderedDict[str, str] = OrderedDict()
        if self._folder is not None:
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise ValueError(f"{folder}: no folder for a judge's replies: {error}") from error

    def __call__(self, prompt: str) -> Reply:
        """The reply in memory, on disk, or from the judge."""
        key = hashlib.sha256(json.dumps([self._name, prompt]).encode()).hexdigest()
        text = self._memory.get(key) or self._read(key)
        if text is not None:
            self._remember(key, text)
            return Reply(text, "")
        reply = self._judge(prompt)
        if reply.text is not None:
            self._remember(key, reply.text)
            self._write(key, reply.text)
        return reply

    def _remember(self, key: str, text: str) -> None:
        self._memory[key] = text
        if len(self._memory) > self._size:
            self._memory.popitem(last=False)

    def _read(self, key: str) -> str | None:
        if self._folder is None:
            return None
        try:
            with open(self._folder / f"{key}.json", "rb") as file:
                value = json.loads(file.read(8 * MAX_REPLY))
        except (OSError, ValueError, RecursionError):
            return None
        text = value.get("reply") if isinstance(value, dict) else None
        return text if isinstance(text, str) and len(text) <= MAX_REPLY else None

    def _write(self, key: str, text: str) -> None:
        """Keep a reply, whole or not at all. Raises OSError where the folder cannot be written."""
        if self._folder is None:
            return
        with tempfile.NamedTemporaryFile("w", dir=self._folder, delete=False, encoding="ascii") as file:
            json.dump({"judge": self._name, "reply": text}, file)
        os.replace(file.name, self._folder / f"{key}.json")
