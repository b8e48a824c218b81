"""A file of JSON objects, one on each line, to which a job adds what it has finished.

First the job, then the finished items in order, each with a checksum ("sum") of the rest of its
line. Version 1 had none; its files are read, and added to as they are. Each line is synced to disk
before the next item starts. A torn last line, which a power failure may leave, is cut off. An open
file is locked: another process with the same job works without. Where the file system has no locks,
both add lines.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import zlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Self

from .checked_json import JsonError, parse
from .errors import JournalError
from .locks import Lock, lock
from .own_files import private_folder

VERSION = 2
_WITHOUT_SUMS = 1
_SUM = "sum"
_BLOCK = 1 << 20
_SUM_BYTES = len(b', "sum": "01234567"}')


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """The line of an item: its bytes in the file are ``begin`` to ``end``, without a line feed.

    ``is_sound`` says that it is as it was written: its checksum fits.
    """

    begin: int
    data: bytes
    is_sound: bool

    @property
    def end(self) -> int:
        return self.begin + len(self.data)

    def content(self) -> Mapping[str, object]:
        """The item's object, without its checksum. Raises JsonError and TypeError."""
        found = parse(self.data.decode("utf-8", "surrogateescape"))
        if not isinstance(found, dict):
            raise TypeError("an item is an object")
        if self.is_sound:
            del found[_SUM]
        return found


class JournalFile(ABC):
    """The file of one job; ``take`` gets each line of an earlier run.

    ``job`` is everything that the items depend on, and names the file. ``restart`` discards the
    items of an earlier run. Raises JournalError if the folder cannot be written or another process
    has the file open.
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
        """What was wrong with the file that was here, and where it is; None if it was whole."""
        self._sums = True
        if restart or not self._read(job):
            self._begin(_header(VERSION, job))

    @abstractmethod
    def take(self, line: Line) -> None:
        """Note an item of an earlier run. Raises JsonError or TypeError if the line is none."""

    @abstractmethod
    def clear(self) -> None:
        """Drop what ``take`` has noted: the file is damaged."""

    @property
    def closed(self) -> bool:
        """Whether ``close`` was called."""
        return self._closed

    def write(self, item: Mapping[str, object]) -> None:
        """Add the object of a finished item; it is on disk when this returns."""
        self._append(json.dumps(with_sum(item) if self._sums else item))

    def line_at(self, begin: int, end: int) -> Line:
        """A line that ``take`` got. Raises JournalError if it cannot be read."""
        try:
            data = os.pread(self._handle, end - begin, begin)
        except OSError as exc:
            raise JournalError(self.path, exc.strerror or str(exc)) from exc
        return _line(begin, data, with_sums=self._sums)

    def cut(self, count: int) -> None:
        """Cut off all but the first ``count`` items."""
        with self._reader() as file:
            length = sum(len(file.readline()) for _ in range(count + 1))
        self._truncate(length)

    def forget(self) -> None:
        """Remove the file; removing it twice is harmless."""
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

    def _read(self, job: Mapping[str, object]) -> bool:
        """Take the items on complete lines; returns whether there are any.

        A torn last line is cut off. A file with a complete line that is none of this job is
        damaged: it is put aside, and no item of it is used.
        """
        headers = [_encoded(_header(version, job)) + b"\n" for version in (_WITHOUT_SUMS, VERSION)]
        with self._reader() as file:
            header = file.readline()
            if not header.endswith(b"\n"):
                return False
            if header not in headers:
                return self._put_aside("its first line is of another job")
            with_sums = header == headers[-1]
            begin, number = len(header), 1
            for data in file:
                if not data.endswith(b"\n"):
                    break
                number += 1
                try:
                    self.take(_line(begin, data[:-1], with_sums=with_sums))
                except (JsonError, TypeError) as exc:
                    return self._put_aside(f"line {number}: {exc}")
                begin += len(data)
        self._truncate(begin)
        self._sums = with_sums or number == 1
        return number > 1

    def _put_aside(self, problem: str) -> bool:
        """Keep a copy of what was found under another name; the file begins anew."""
        self.clear()
        aside = self.path.with_suffix(".damaged")
        try:
            handle = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with self._reader() as found, open(handle, "wb") as file:
                shutil.copyfileobj(found, file)
        except OSError as exc:
            raise JournalError(self.path, f"it is damaged: {exc.strerror or exc}") from exc
        self.damage = (
            f"the progress of an earlier run is damaged ({problem}); it is put aside as {aside}, "
            "and this run starts over"
        )
        return False

    def _reader(self) -> BinaryIO:
        """The file from its start, beside the handle that adds lines."""
        os.lseek(self._handle, 0, os.SEEK_SET)
        return open(self._handle, "rb", buffering=_BLOCK, closefd=False)

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


def _line(begin: int, data: bytes, *, with_sums: bool) -> Line:
    """Raises JsonError if the checksum is of another object."""
    if with_sums and not _has_its_sum(data):
        line = Line(begin=begin, data=data, is_sound=False)
        found = line.content()
        content = {key: value for key, value in found.items() if key != _SUM}
        if with_sum(content) != found:
            raise JsonError("its checksum does not fit")
    return Line(begin=begin, data=data, is_sound=with_sums)


def _has_its_sum(data: bytes) -> bool:
    """Whether it is an item's line in ASCII, as it is written; earlier, texts were in UTF-8."""
    rest = zlib.crc32(b"}", zlib.crc32(data[:-_SUM_BYTES]))
    return data.isascii() and data.endswith(b', "sum": "%08x"}' % rest)


def _header(version: int, job: Mapping[str, object]) -> str:
    return json.dumps({"version": version, "job": job}, sort_keys=True, ensure_ascii=False)


def _encoded(text: str) -> bytes:
    """UTF-8; names of files keep the bytes that are not."""
    return text.encode("utf-8", "surrogateescape")
