"""Files of results. A failed or interrupted write leaves the file of that name as it was."""

from __future__ import annotations

import errno
import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile, mkstemp
from typing import Any, TextIO

from ...errors import OptionError, OutputError

_TEMPORARY = ".g4-"
"""Prefix of unfinished files. The name of the result is not part of theirs: it may be as long as
the file system allows."""

_STREAMS = ("/dev/stdout", "/dev/stderr", "/dev/fd/", "/proc/self/fd/")


@contextmanager
def replaced_file(path: Path) -> Iterator[TextIO]:
    """A file that gets its name when it is complete; its folder is created.

    After an interrupt the file stays, with what was written until then. Pipes and devices are
    written to directly. Raises OutputError.
    """
    with _opened(path) as file:
        try:
            yield file
        except KeyboardInterrupt:
            file.finish(even_empty=False)
            raise
        file.finish()


@contextmanager
def growing_file(path: Path, begin: str = "") -> Iterator[TextIO]:
    """A file that holds everything written so far after each ``flush``; its folder is created.

    It replaces a file of that name at the first flush; ``begin`` is its first content. Raises
    OutputError.
    """
    with _opened(path) as file:
        file.write(begin)
        file.grows = True
        yield file
        file.finish()


@contextmanager
def replaced_path(path: Path) -> Iterator[Path]:
    """The path of a file to write, which gets the name ``path`` if nothing is raised.

    Its folder is created. A pipe or a device is itself that path. Raises OutputError.
    """
    with _opened(path) as file:
        try:
            yield file.written or path
        except OSError as exc:
            raise OutputError(path, exc.strerror or str(exc)) from exc
        file.finish()


class _ResultFile(io.TextIOWrapper):
    """Text in UTF-8 under a temporary name (None: none is needed) until ``finish``.

    With ``grows``, the first flush of any text gives it its name.
    """

    def __init__(self, handle: int, path: Path, written: Path | None) -> None:
        raw = _Reporting(handle, path)
        super().__init__(
            io.BufferedWriter(raw), encoding="utf-8", errors="backslashreplace", newline=""
        )
        self.grows = False
        self._path = path
        self.written = written

    def flush(self) -> None:
        super().flush()
        if self.grows and self.written is not None and self._size():
            self._publish()

    def finish(self, *, even_empty: bool = True) -> None:
        """Put the content on disk and give the file its name."""
        super().flush()
        if self.written is None:
            self._sync()
        elif even_empty or self._size():
            self._publish()

    def _size(self) -> int:
        # tell() would flush, and so call this again.
        return os.fstat(self.fileno()).st_size

    def _sync(self) -> None:
        try:
            os.fsync(self.fileno())
        except OSError as exc:
            if exc.errno not in (errno.EINVAL, errno.ENOTSUP):  # a pipe, a terminal
                raise OutputError(self._path, exc.strerror or str(exc)) from exc

    def discard(self) -> None:
        """Close the file, and remove it if it has no name yet."""
        self.grows = False
        with suppress(OutputError):
            self.close()
        if self.written is not None:
            self.written.unlink(missing_ok=True)

    def _publish(self) -> None:
        assert self.written is not None, "it has its name already"
        self._sync()
        try:
            _take_rights(self.fileno(), self._path)
            self.written.replace(self._path)
        except OSError as exc:
            raise OutputError(self._path, exc.strerror or str(exc)) from exc
        self.written = None


class _Reporting(io.FileIO):
    """Unbuffered bytes; an error of the disk names the file that was asked for."""

    def __init__(self, handle: int, path: Path) -> None:
        super().__init__(handle, "w")
        self._result = path

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            raise
        except OSError as exc:
            raise OutputError(self._result, exc.strerror or str(exc)) from exc


@contextmanager
def _opened(path: Path) -> Iterator[_ResultFile]:
    try:
        if is_direct(path):
            handle, written = os.open(path, os.O_WRONLY | os.O_APPEND), None
        else:
            path = Path(os.path.realpath(path))  # replace the target of a link, not the link
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, name = mkstemp(dir=path.parent, prefix=_TEMPORARY)
            written = Path(name)
    except OSError as exc:
        raise OutputError(path, exc.strerror or str(exc)) from exc
    file = _ResultFile(handle, path, written)
    try:
        yield file
    finally:
        file.discard()


def is_direct(path: Path) -> bool:
    """Whether a path is written to directly: a pipe or a device must not be replaced.

    /dev/stdout and /dev/fd/3 are that even where they lead to a file.
    """
    if os.path.abspath(path).startswith(_STREAMS):
        return os.path.exists(path)
    return os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path)


def _take_rights(handle: int, path: Path) -> None:
    """Give an open file the mode and owner of the file that it replaces, or those of a new one."""
    try:
        old = path.stat()
    except FileNotFoundError:
        umask = os.umask(0)
        os.umask(umask)
        os.fchmod(handle, 0o666 & ~umask)
        return
    with suppress(OSError):  # only root may give files away
        os.fchown(handle, old.st_uid, old.st_gid)
    os.fchmod(handle, stat.S_IMODE(old.st_mode))


def check_writable(path: Path) -> None:
    """Raise OptionError if a file of this name cannot be written; its folders need not exist."""
    try:
        if os.path.isdir(path):
            raise OptionError(f"{path}: is a folder; name a file in it")
        if is_direct(path):
            if not os.access(path, os.W_OK):
                raise OptionError(f"{path}: cannot be written (Permission denied)")
            return
        if os.path.exists(path) and not os.access(path, os.W_OK):
            raise OptionError(f"{path}: is read-only; make it writable, or name another file")
        path = Path(os.path.realpath(path))
        if path.is_symlink():
            raise OptionError(f"{path}: is a link that leads nowhere")
    except (OSError, RuntimeError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else None
        raise OptionError(f"{path}: cannot be written ({reason or exc})") from exc
    check_folder(path.parent)


def check_folder(folder: Path) -> None:
    """Raise OptionError if no file can be created in a folder, which need not exist yet."""
    existing = _existing(folder)
    if not existing.is_dir():
        what = "is a file, not a folder" if existing == folder else "cannot be created"
        why = "" if existing == folder else f" ({existing} is a file)"
        raise OptionError(f"{folder}: {what}{why}")
    try:
        with TemporaryFile(dir=existing, prefix=_TEMPORARY):
            return
    except OSError as exc:
        raise OptionError(f"{existing}: cannot be written to ({exc.strerror})") from exc


def _existing(folder: Path) -> Path:
    """The folder, or else the nearest one above it that exists."""
    while not os.path.lexists(folder) and folder != folder.parent:
        folder = folder.parent
    return folder
