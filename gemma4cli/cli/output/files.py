"""Files of results. A failed or interrupted write leaves the file of that name as it was."""

from __future__ import annotations

import errno
import io
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import mkstemp
from typing import Any, TextIO

from ...errors import OutputError
from ...leftovers import prefix
from ...locks import lock
from ...own_files import shared_mode
from .claims import Seen, publish

_STREAMS = {"/dev/stdout": 1, "/dev/stderr": 2}
_DESCRIPTOR = re.compile(r"(?:/dev|/proc/self)/fd/(\d{1,9})")


@contextmanager
def replaced_file(path: Path, *, keeps_partial: bool = False) -> Iterator[TextIO]:
    """A file that gets its name when it is complete; its folder is created.

    With ``keeps_partial`` it gets its name after an interrupt, too, if anything was written. Pipes
    and devices are written to directly. Raises OutputError.
    """
    with _opened(path) as file:
        try:
            yield file
        except KeyboardInterrupt:
            if keeps_partial:
                file.finish(even_empty=False)
            raise
        file.finish()


@contextmanager
def growing_file(
    path: Path, begin: Iterable[str] = (), seen: Seen | None = None
) -> Iterator[TextIO]:
    """A file that holds everything written so far after each ``flush``; its folder is created.

    It replaces a file of that name at the first flush, the one that was ``seen`` if that is given;
    ``begin`` are its first lines. Raises OutputError, also at the first flush if another run adds
    to a file of that name or has written it since, and at a later one after another program has
    replaced or removed the file.
    """
    with _opened(path) as file:
        file.writelines(begin)
        file.grows, file.seen = True, seen
        lock(file.fileno())
        yield file
        file.finish(even_empty=False)


@contextmanager
def replaced_path(path: Path) -> Iterator[Path]:
    """The path of a file to write, which gets the name ``path`` if nothing is raised.

    Its folder is created. A pipe or a device is itself that path. Raises OutputError.
    """
    with _opened(path) as file:
        try:
            yield file.written or path
        except OSError as exc:
            raise file.error(exc) from exc
        file.finish()


class _ResultFile(io.TextIOWrapper):
    """Text in UTF-8 under a temporary name (None: none is needed) until ``finish``.

    With ``grows``, the first flush of any text gives it its name.
    """

    def __init__(self, handle: int, path: Path, written: Path | None) -> None:
        raw = _Reporting(handle, self.error)
        super().__init__(
            io.BufferedWriter(raw), encoding="utf-8", errors="backslashreplace", newline=""
        )
        self.grows = False
        self.seen: Seen | None = None
        self._path = path
        self._is_direct = written is None
        self.written = written

    def error(self, exc: OSError) -> OutputError:
        """The error for a failed write, with what has become of a file that was there."""
        unchanged = self.written is not None and os.path.exists(self._path)
        return _error(self._path, exc, "the file there is unchanged" if unchanged else "")

    def flush(self) -> None:
        super().flush()
        if not self.grows:
            return
        if self.written is None:
            self._require_name()
        elif self._size():
            self._publish()

    def finish(self, *, even_empty: bool = True) -> None:
        """Put the content on disk and give the file its name."""
        super().flush()
        if self.written is None:
            self._sync()
        elif even_empty or self._size():
            self._publish()

    def _require_name(self) -> None:
        """Raise OutputError if the file that was published is under its name no more."""
        if self._is_direct:
            return
        try:
            has_name = os.path.samestat(os.stat(self._path), os.fstat(self.fileno()))
        except FileNotFoundError:
            has_name = False
        if not has_name:
            raise OutputError(self._path, "another program has replaced or removed it meanwhile")

    def _size(self) -> int:
        # tell() would flush, and so call this again.
        return os.fstat(self.fileno()).st_size

    def _sync(self) -> None:
        try:
            os.fsync(self.fileno())
        except OSError as exc:
            if exc.errno not in (errno.EINVAL, errno.ENOTSUP):  # a pipe, a terminal
                raise self.error(exc) from exc

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
            if self.grows:
                publish(self.written, self._path, self.seen)
            else:
                self.written.replace(self._path)
        except OSError as exc:
            raise self.error(exc) from exc
        self.written = None


class _Reporting(io.FileIO):
    """Unbuffered bytes; ``error`` makes an error that names the file that was asked for."""

    def __init__(self, handle: int, error: Callable[[OSError], OutputError]) -> None:
        super().__init__(handle, "w")
        self._error = error

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            raise
        except OSError as exc:
            raise self._error(exc) from exc


@contextmanager
def _opened(path: Path) -> Iterator[_ResultFile]:
    try:
        if (stream := _stream_of(path)) is not None:
            # Opened by name, it would have a position of its own, and overwrite other output.
            handle, written = os.dup(stream), None
        elif is_direct(path):
            handle, written = os.open(path, os.O_WRONLY), None
        else:
            path = Path(os.path.realpath(path))  # replace the target of a link, not the link
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, name = mkstemp(dir=path.parent, prefix=prefix())
            written = Path(name)
    except OSError as exc:
        raise _error(path, exc) from exc
    file = _ResultFile(handle, path, written)
    try:
        yield file
    finally:
        file.discard()


_OF_A_NAME = frozenset({
    errno.EINVAL, errno.EILSEQ, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENOENT,
    errno.ENOTDIR,
})  # fmt: skip
"""What file systems say of a name that they do not take: of "a:b" on SMB and exFAT, for example."""


def _error(path: Path, exc: OSError, kept: str = "") -> OutputError:
    may = exc.errno in _OF_A_NAME
    return OutputError(path, exc.strerror or str(exc), kept, others_may=may)


def is_direct(path: Path) -> bool:
    """Whether a path is written to directly: a pipe or a device must not be replaced.

    /dev/stdout and /dev/fd/3 are that even where they lead to a file.
    """
    if _stream_of(path) is not None:
        return True
    return os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path)


def _stream_of(path: Path) -> int | None:
    """The number of the open file that a path such as /dev/fd/3 stands for."""
    found = _DESCRIPTOR.fullmatch(str(path))
    return int(found[1]) if found else _STREAMS.get(str(path))


def _take_rights(handle: int, path: Path) -> None:
    """Give an open file the mode and owner of the file that it replaces, or those of a new one."""
    try:
        old = path.stat()
    except FileNotFoundError:
        os.fchmod(handle, shared_mode())
        return
    with suppress(OSError):  # only root may give files away
        os.fchown(handle, old.st_uid, old.st_gid)
    os.fchmod(handle, stat.S_IMODE(old.st_mode))
