"""The finished pieces of one recording on disk, from which an interrupted run resumes.

A journal is a text file with one JSON object per line: first the job, then the pieces in order.
Each line is synced to disk before the next piece starts. A torn last line, which a power failure
may leave, is cut off. An open journal is locked: another process with the same job works without.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from ..errors import JournalError
from ..transcript import Doubt

VERSION = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class PieceText:
    """The text of one piece; ``start`` and ``end`` are in seconds of the recording.

    Its first ``overlap`` seconds belong to the previous piece as well, that of its ``channel`` if
    channels are kept apart. The field names are the keys in a journal.
    """

    start: float
    end: float
    overlap: float
    text: str
    translation: str | None = None
    doubt: Doubt | None = None
    channel: int | None = None

    def is_of(self, start: float, channel: int | None) -> bool:
        """Whether it is the text of a piece with this start and channel."""
        return self.start == start and self.channel == channel


class Journal:
    """The finished pieces of one job.

    ``job`` is everything that the text depends on: the recording, the model, the options. Its
    digest is the file's name. ``restart`` discards the pieces of an earlier run. Raises
    JournalError if the folder cannot be written or another process has the journal open.
    """

    def __init__(self, folder: Path, job: Mapping[str, object], *, restart: bool = False) -> None:
        header = json.dumps({"version": VERSION, "job": job}, sort_keys=True, ensure_ascii=False)
        self.path = folder / f"{hashlib.sha256(header.encode()).hexdigest()[:32]}.jsonl"
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as exc:
            raise JournalError(self.path, exc.strerror or str(exc)) from exc
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            os.close(self._handle)
            raise JournalError(self.path, "another process is at the same recording") from exc
        self._closed = False
        self._done = [] if restart else self._read(header)
        if not self._done:
            self._truncate(0)
            self._append(header)

    @property
    def done(self) -> Sequence[PieceText]:
        """The pieces that an earlier run finished, in order."""
        return tuple(self._done)

    def add(self, piece: PieceText) -> None:
        """Save a finished piece; it is on disk when this returns."""
        fields = asdict(piece)
        if piece.channel is None:
            del fields["channel"]
        self._append(json.dumps(fields, ensure_ascii=False))

    def keep(self, count: int) -> None:
        """Drop all but the first ``count`` pieces: the rest no longer match the recording."""
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

    def _read(self, header: str) -> list[PieceText]:
        """The pieces on complete lines; anything after them is cut off. Empty for another job."""
        lines = self._content().split(b"\n")[:-1]
        if not lines or lines[0] != header.encode():
            return []
        done: list[PieceText] = []
        length = len(lines[0]) + 1
        for line in lines[1:]:
            piece = _parse(line)
            if piece is None:
                break
            done.append(piece)
            length += len(line) + 1
        self._truncate(length)
        return done

    def _content(self) -> bytes:
        os.lseek(self._handle, 0, os.SEEK_SET)
        content = b""
        while block := os.read(self._handle, 1 << 20):
            content += block
        return content

    def _truncate(self, length: int) -> None:
        os.ftruncate(self._handle, length)
        os.lseek(self._handle, length, os.SEEK_SET)

    def _append(self, line: str) -> None:
        data = line.encode() + b"\n"
        try:
            while data:
                data = data[os.write(self._handle, data) :]
            os.fsync(self._handle)
        except OSError as exc:
            raise JournalError(self.path, exc.strerror or str(exc)) from exc


def _parse(line: bytes) -> PieceText | None:
    """The piece on a line, or None if the line is damaged."""
    try:
        return PieceText(**json.loads(line))
    except (ValueError, TypeError):
        return None
