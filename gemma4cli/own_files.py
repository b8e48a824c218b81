"""Files and folders that are g4's own: private, and written whole or not at all."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkstemp
from typing import BinaryIO

from .leftovers import prefix


def private_folder(folder: Path) -> None:
    """Create a folder that only its owner can enter, and those above it likewise.

    One that exists stays as it is. Raises OSError.
    """
    if not folder.is_dir():
        if not os.path.lexists(folder.parent):
            private_folder(folder.parent)
        folder.mkdir(exist_ok=True, mode=0o700)


def close_to_others(folder: Path) -> None:
    """Let only its owner enter a folder. A link, and what it leads to, stays as it is.

    Raises OSError.
    """
    found = folder.lstat()
    is_open = stat.S_ISDIR(found.st_mode) and found.st_mode & 0o077
    if is_open and found.st_uid == os.geteuid():
        folder.chmod(stat.S_IMODE(found.st_mode) & 0o700)


def shared_mode() -> int:
    """The mode of a new file that others may read as far as the umask allows."""
    umask = os.umask(0)
    os.umask(umask)
    return 0o666 & ~umask


@contextmanager
def whole_file(path: Path, *, mode: int = 0o600) -> Iterator[BinaryIO]:
    """A file that gets its name when it is complete and on disk. Raises OSError.

    Whatever is raised within leaves the file of that name as it was.
    """
    handle, name = mkstemp(dir=path.parent, prefix=prefix())
    try:
        with open(handle, "w+b") as file:
            yield file
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
