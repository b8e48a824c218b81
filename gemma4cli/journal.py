"""What a job has finished, on disk, from which an interrupted run resumes."""

from __future__ import annotations

import os
import time
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Generic, TypeVar

from .errors import JournalError
from .journal_file import JournalFile, Line

_STALE_SECONDS = 30 * 24 * 3600
"""The age at which a journal is removed: a run interrupted a month ago is not resumed."""

Item = TypeVar("Item")


class JobJournal(JournalFile, Generic[Item]):
    """The finished items of one job; ``line`` and ``parse`` say how an item is written."""

    def __init__(self, folder: Path, job: Mapping[str, object], *, restart: bool = False) -> None:
        self._done: list[Item] = []
        super().__init__(folder, job, restart=restart)

    @abstractmethod
    def line(self, item: Item) -> Mapping[str, object]:
        """The JSON object of an item."""

    @abstractmethod
    def parse(self, line: Mapping[str, object]) -> Item:
        """The item of a JSON object. Raises JsonError or TypeError if it is none."""

    @property
    def done(self) -> Sequence[Item]:
        """The items that an earlier run finished, in order."""
        return tuple(self._done)

    def add(self, item: Item) -> None:
        """Save a finished item; it is on disk when this returns."""
        self.write(self.line(item))

    def keep(self, count: int) -> None:
        """Drop all but the first ``count`` items: the rest are no longer true."""
        self.cut(count)
        del self._done[count:]

    def take(self, line: Line) -> None:
        self._done.append(self.parse(line.content()))

    def clear(self) -> None:
        self._done.clear()


def not_kept(error: JournalError) -> str:
    """What it means to a person that something cannot be kept."""
    return f"{error}; an interrupted run will start over"


def file_facts(file: Path) -> Mapping[str, object]:
    """What tells a file from another, and from itself after a change. Raises OSError."""
    status = file.stat()
    return facts_of(os.path.realpath(file), status.st_size, status.st_mtime_ns)


def facts_of(real: str, size: int, changed: int) -> Mapping[str, object]:
    """``file_facts`` of a real path, bytes and nanoseconds of the last change that are known."""
    return {"file": real, "bytes": size, "changed": changed}


def remove_stale(folder: Path) -> None:
    """Remove the journals of runs that were interrupted long ago."""
    if not os.path.isdir(folder):  # glob raises where a name is too long or may not be looked up
        return
    for path in (*folder.glob("*.jsonl"), *folder.glob("*.damaged")):
        try:
            if time.time() - path.stat().st_mtime > _STALE_SECONDS:
                path.unlink()
        except OSError:
            # Another process removed it first, or it belongs to another user.
            continue
