"""Changes of files below a folder as they happen, by Linux's inotify."""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Self

_KINDS = {0x2: "written", 0x80: "renamed", 0x100: "created", 0x200: "removed"}
_FOLDER = 0x40000000
_HEAD = struct.Struct("iIII")

_libc = ctypes.CDLL(None, use_errno=True)

_PLACES = {
    "state/g4/transcripts": "journal",
    "state/g4/answers": "journal",
    "state/g4/sessions": "session",
    "work": "result",
    "tmp": "temporary file",
    "hub": "download",
}


class Changes:
    """What changes below ``folder``, as texts such as "journal written", for use with ``with``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._folders: dict[int, Path] = {}

    def __enter__(self) -> Self:
        self._fd = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "inotify_init1")
        for _ in self._watch(self._folder):
            pass
        return self

    def __exit__(self, *exception: object) -> None:
        os.close(self._fd)

    def fileno(self) -> int:
        """What to select on: readable if there were changes."""
        return self._fd

    def read(self) -> list[str]:
        """The changes since the last call, in order."""
        try:
            data = os.read(self._fd, 65536)
        except BlockingIOError:
            return []
        found = []
        while data:
            watch, mask, _, size = _HEAD.unpack_from(data)
            name = data[_HEAD.size : _HEAD.size + size].rstrip(b"\0").decode()
            data = data[_HEAD.size + size :]
            if watch not in self._folders or not name:
                continue
            path = self._folders[watch] / name
            kind = next((text for bit, text in _KINDS.items() if mask & bit), None)
            if mask & _FOLDER and kind in ("created", "renamed"):
                found += list(self._watch(path))
            elif kind is not None:
                found += self._named(path, kind)
        return found

    def _watch(self, folder: Path) -> Iterator[str]:
        """Watch a folder and those in it; what is in them by now was created."""
        number = _libc.inotify_add_watch(self._fd, os.fsencode(folder), sum(_KINDS))
        if number < 0:  # removed in the meantime
            return
        self._folders[number] = folder
        for path in sorted(folder.iterdir()):
            if path.is_dir() and not path.is_symlink():
                yield from self._watch(path)
            else:
                yield from self._named(path, "created")

    def _named(self, path: Path, kind: str) -> list[str]:
        relative = path.relative_to(self._folder).as_posix()
        place = next((text for at, text in _PLACES.items() if relative.startswith(f"{at}/")), None)
        return [] if place is None else [f"{place} {kind}"]
