"""What a job has finished, on disk, from which an interrupted run resumes.

A journal is a text file with one JSON object per line: first the job, then the finished items in
order, each with a checksum ("sum") of the rest of its line. Version 1 had none; its journals are
read, and added to as they are. Each line is synced to disk before the next item starts. A torn last
line, which a power failure may leave, is cut off. An open journal is locked: another process with
the same job works without. Where the file system has no locks, both add lines.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
import zlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Generic, Self, TypeVar

from .checked_json import JsonError, parse
from .errors import JournalError
from .locks import Lock, lock
from .own_files import private_folder

VERSION = 2
_WITHOUT_SUMS = 1
_SUM = "sum"
_STALE_SECONDS = 30 * 24 * 3600
"""The age at which a journal is removed: a run interrupted a month ago is not resumed."""

Item = TypeVar("Item")


class JobJournal(ABC, Generic[Item]):
    """The finished items of one job; ``line`` and ``parse`` say how an item is written.

    ``job`` is everything that the items depend on, and names the file. ``restart`` discards the
    items of an earlier run. Raises JournalError if the folder cannot be written or another process
    has the journal open.
    """

    def __init__(self, folder: Path, job: Mapping[str, object], *, restart: bool = False) -> None:
        self.path = folder / journal_name(job)
        try:
            private_folder(folder)
            self._handle = os.open(
                self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600
            )
        except OSError as exc:
            raise JournalError(self.path, exc.strerror or str(exc)) from exc
        if lock(self._handle) is Lock.TAKEN:
            os.close(self._handle)
            raise JournalError(self.path, "another process is at the same work")
        self._closed = False
        self.damage: str | None = None
        """What was wrong with the journal that was here, and where it is; None if it was whole."""
        self._sums = True
        self._done = [] if restart else self._read(job)
        if not self._done:
            self._begin(_header(VERSION, job))

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

    @property
    def closed(self) -> bool:
        """Whether ``close`` was called."""
        return self._closed

    def add(self, item: Item) -> None:
        """Save a finished item; it is on disk when this returns."""
        line = self.line(item)
        self._append(_json(with_sum(line) if self._sums else line))

    def keep(self, count: int) -> None:
        """Drop all but the first ``count`` items: the rest are no longer true."""
        lines = self._content().split(b"\n")[: count + 1]
        self._truncate(sum(len(line) + 1 for line in lines))
        del self._done[count:]

    def forget(self) -> None:
        """Remove the journal; removing it twice is harmless."""
        self.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the file and release its lock; closing twice is harmless."""
        if not self._closed:
            self._closed = True
            os.close(self._handle)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _read(self, job: Mapping[str, object]) -> list[Item]:
        """The items on complete lines; a torn last line is cut off.

        A journal with a complete line that is none of this job is damaged: it is put aside, and no
        item of it is used.
        """
        lines = self._content().split(b"\n")[:-1]
        if not lines:
            return []
        headers = [_encoded(_header(version, job)) for version in (_WITHOUT_SUMS, VERSION)]
        if lines[0] not in headers:
            return self._put_aside("its first line is of another job")
        with_sums = lines[0] == headers[-1]
        done: list[Item] = []
        length = len(lines[0]) + 1
        for number, line in enumerate(lines[1:], start=2):
            try:
                content = parse(line.decode("utf-8", "surrogateescape"))
                if not isinstance(content, dict):
                    raise TypeError("an item is an object")
                done.append(self.parse(_without_sum(content) if with_sums else content))
            except (JsonError, TypeError) as exc:
                return self._put_aside(f"line {number}: {exc}")
            length += len(line) + 1
        self._truncate(length)
        self._sums = with_sums or not done
        return done

    def _put_aside(self, problem: str) -> list[Item]:
        """Keep a copy of what was found under another name; the journal begins anew."""
        aside = self.path.with_suffix(".damaged")
        try:
            handle = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with open(handle, "wb") as file:
                file.write(self._content())
        except OSError as exc:
            raise JournalError(self.path, f"it is damaged: {exc.strerror or exc}") from exc
        self.damage = (
            f"the progress of an earlier run is damaged ({problem}); it is put aside as {aside}, "
            "and this run starts over"
        )
        return []

    def _content(self) -> bytes:
        os.lseek(self._handle, 0, os.SEEK_SET)
        return b"".join(iter(lambda: os.read(self._handle, 1 << 20), b""))

    def _truncate(self, length: int) -> None:
        os.ftruncate(self._handle, length)
        os.lseek(self._handle, length, os.SEEK_SET)

    def _begin(self, header: str) -> None:
        try:
            self._truncate(0)
            self._append(header)
        except JournalError:
            self.forget()
            self.close()
            raise

    def _append(self, line: str) -> None:
        data = _encoded(line) + b"\n"
        begin = os.lseek(self._handle, 0, os.SEEK_END)
        try:
            while data:
                data = data[os.write(self._handle, data) :]
            os.fsync(self._handle)
        except OSError as exc:
            with suppress(OSError):  # a part of a line on a full disk
                self._truncate(begin)
            raise JournalError(self.path, exc.strerror or str(exc)) from exc


def journal_name(job: Mapping[str, object]) -> str:
    """The name of a job's journal, which is the same in all versions."""
    return f"{hashlib.sha256(_encoded(_header(_WITHOUT_SUMS, job))).hexdigest()[:32]}.jsonl"


def with_sum(line: Mapping[str, object]) -> Mapping[str, object]:
    """An item's object with its checksum."""
    return {**line, _SUM: f"{zlib.crc32(json.dumps(line).encode()):08x}"}


def _without_sum(line: Mapping[str, object]) -> Mapping[str, object]:
    """An item's object without its checksum. Raises JsonError if that is of another object."""
    content = {key: value for key, value in line.items() if key != _SUM}
    if with_sum(content) != line:
        raise JsonError("its checksum does not fit")
    return content


def _header(version: int, job: Mapping[str, object]) -> str:
    return json.dumps({"version": version, "job": job}, sort_keys=True, ensure_ascii=False)


def _json(line: Mapping[str, object]) -> str:
    return json.dumps(line, ensure_ascii=False)


def _encoded(text: str) -> bytes:
    """UTF-8; names of files keep the bytes that are not."""
    return text.encode("utf-8", "surrogateescape")


def not_kept(error: JournalError) -> str:
    """What it means to a person that something cannot be kept."""
    return f"{error}; an interrupted run will start over"


def file_facts(file: Path) -> Mapping[str, object]:
    """What tells a file from another, and from itself after a change. Raises OSError."""
    status = file.stat()
    return facts_of(str(file), status.st_size, status.st_mtime_ns)


def facts_of(file: str, size: int, changed: int) -> Mapping[str, object]:
    """``file_facts`` of a file whose bytes and nanoseconds of the last change are known."""
    return {"file": os.path.realpath(file), "bytes": size, "changed": changed}


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
