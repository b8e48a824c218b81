"""Names of unfinished files and folders, and the removal of those that killed runs left behind."""

from __future__ import annotations

import os
import platform
import re
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir

from .errors import OutputError

_HOST = re.sub(r"\W", "", platform.node())[:32]
"""In the name, since a folder may be shared by machines whose processes have the same numbers."""


def prefix() -> str:
    """How the name of an unfinished file of this process begins.

    The name of the result is not part of it: that may be as long as the file system allows.
    """
    return f".g4-{_HOST}-{os.getpid()}-"


def remove_leftovers(folder: Path) -> None:
    """Remove what this user's runs on this machine that are no more left unfinished in a folder.

    Not names without a machine and a process, which versions before the first release gave: they
    may belong to a run, or to another program.
    """
    ours = re.compile(rf"\.?g4-{_HOST}-(\d{{1,9}})-\w+")
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            found = ours.fullmatch(entry.name)
            if found and not _is_running(int(found[1])):
                with suppress(OSError):
                    _remove(entry)


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder in ``$TMPDIR`` until the ``with`` statement ends. Raises OutputError."""
    parent = os.environ.get("TMPDIR", "/tmp")
    try:
        parent = gettempdir()
        remove_leftovers(Path(parent))
        made = TemporaryDirectory(prefix=prefix()[1:], ignore_cleanup_errors=True)
    except OSError as exc:
        problem = f"{exc.strerror or exc}; set TMPDIR to a folder with room"
        raise OutputError(Path(parent), problem) from exc
    with made as folder, _descriptors_kept():
        yield Path(folder)


@contextmanager
def _descriptors_kept() -> Iterator[None]:
    """Keep what removing a folder needs, so that it is removed where no file can be opened."""
    with ExitStack() as kept:
        for _ in range(_TO_REMOVE):
            with suppress(OSError):
                kept.enter_context(open(os.devnull, "rb"))
        yield


_TO_REMOVE = 2
"""Descriptors with which the files of a folder are listed and removed."""


def _remove(entry: os.DirEntry[str]) -> None:
    if entry.stat(follow_symlinks=False).st_uid != os.geteuid():
        return
    if entry.is_dir(follow_symlinks=False):
        shutil.rmtree(entry.path)
    else:
        os.unlink(entry.path)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
