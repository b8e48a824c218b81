"""Result files that a run adds to are locked, so that no other run replaces them meanwhile.

Where a file system has no locks, the first of two runs notices at its next line that another file
has taken the name of its own, and ends with an error.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from ...errors import OutputError
from ...locks import Lock, lock

ANOTHER_RUN = "another run of g4 is writing it"
_INSTEAD = "name a file for each run"


def is_locked(path: Path) -> bool:
    """Whether another run is adding to the file of this name."""
    try:
        with _unlocked(path):
            return False
    except OutputError:
        return True


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """What a file looks like; None if there is none."""

    state: tuple[int, ...] | None

    @classmethod
    def at(cls, path: Path) -> Self:
        try:
            found = path.stat()
        except (OSError, ValueError):
            return cls(state=None)
        return cls(state=(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns))


def publish(written: Path, path: Path, seen: Seen | None) -> None:
    """Give a locked file its name, in place of the one that was ``seen`` (None: of any).

    Raises OutputError if another run adds to the file there or has written it since, and OSError.
    """
    with _unlocked(path) as is_there:
        if is_there and seen is not None and Seen.at(path) != seen:
            raise OutputError(path, "another run has written it meanwhile", _INSTEAD)
        if not is_there:
            try:
                os.link(written, path)
            except FileExistsError as exc:
                raise OutputError(path, ANOTHER_RUN, _INSTEAD) from exc
            except OSError:  # a file system without such links
                pass
            else:
                written.unlink()
                return
        written.replace(path)


@contextmanager
def _unlocked(path: Path) -> Iterator[bool]:
    """Whether there is such a file; if so, no other run gets its lock meanwhile.

    Raises OutputError if one has it.
    """
    while True:
        try:
            # Locks of NFS need a file that is open for writing.
            handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError as exc:
            yield not isinstance(exc, FileNotFoundError)
            return
        try:
            if lock(handle) is Lock.TAKEN:
                raise OutputError(path, ANOTHER_RUN, _INSTEAD)
            if _is_at(handle, path):  # and not one that was replaced meanwhile
                yield True
                return
        finally:
            os.close(handle)


def _is_at(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except FileNotFoundError:
        return False
