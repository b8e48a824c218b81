"""Copies of a conversation's media, in a folder beside its file."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
from pathlib import Path
from tempfile import mkstemp

from ..bounded import read_bounded
from ..leftovers import prefix
from ..messages import Source
from .saved_files import MEDIA

_REFERENCE = re.compile(rf'"{MEDIA}/([0-9a-f]{{32}}(?:\.[a-z0-9]{{1,8}})?)"')


class MediaFolder:
    """Copies of media, named by their content. Each source is copied once.

    ``mine`` are the names of copies that this conversation may remove.
    """

    def __init__(self, folder: Path) -> None:
        self.mine: set[str] = set()
        self._folder = folder
        # By identity: the file of an equal source may have changed since.
        self._known: dict[int, tuple[Source, str]] = {}
        self._used: set[str] = set()

    def copy(self, source: Source) -> str:
        """Copy a source if it is new; the copy's path, relative to the parent of this folder."""
        known = self._known.get(id(source))
        if known is None:
            known = self._known[id(source)] = (source, self._write_copy(source))
        self._used.add(known[1])
        return f"{self._folder.name}/{known[1]}"

    def drop_unused(self) -> None:
        """Remove those of ``mine`` that were not asked for since the last call.

        Nothing is removed where the folder, or that of the conversation, is a link: others may use
        what lies there.
        """
        unused = self.mine - self._used
        self._used.clear()
        if self._folder.is_symlink() or self._folder.parent.is_symlink():
            return
        for name in unused:
            if _is_copy(self._folder / name):
                (self._folder / name).unlink()
        self.mine -= unused

    def _write_copy(self, source: Source) -> str:
        if source.path is not None and source.path.parent == self._folder:
            return source.path.name
        self._folder.mkdir(exist_ok=True, mode=0o700)
        handle, name = mkstemp(dir=self._folder, prefix=prefix())
        written = Path(name)
        try:
            with open(handle, "w+b") as file:
                if source.data is not None:
                    file.write(source.data)
                else:
                    assert source.path is not None, "standard input was read when it was opened"
                    with source.path.open("rb") as original:
                        shutil.copyfileobj(original, file, 1 << 20)
                file.flush()
                os.fsync(file.fileno())
                file.seek(0)
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            suffix = re.search(r"\.[a-z0-9]{1,8}$", source.name.lower())
            copy = f"{digest[:32]}{suffix[0] if suffix else ''}"
            is_new = not os.path.lexists(self._folder / copy)
            written.replace(self._folder / copy)
        except BaseException:
            written.unlink(missing_ok=True)
            raise
        if is_new:
            self.mine.add(copy)
        return copy


def copies_in(path: Path) -> set[str]:
    """The names of the copies that a conversation file refers to, also one that is damaged."""
    try:
        content = read_bounded(path, regular=True)
    except OSError:
        return set()
    return set(_REFERENCE.findall(content.decode("utf-8", "replace")))


def _is_copy(path: Path) -> bool:
    """Whether g4 wrote a file in a media folder: its name is that of its content."""
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            return False
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return False
    return path.name.startswith(digest[:32])
