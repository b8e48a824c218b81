"""Opens a ``Source`` as a seekable stream of bytes: a file, a pipe, standard input or memory."""

from __future__ import annotations

import io
import stat
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, cast

from ..errors import MediaDecodeError, MediaError, MediaNotFoundError
from ..messages import Source
from .feeds import Feed, FeedReader, LiveSource
from .limits import DISK_STREAM_MB, MEMORY_STREAM_MB, endless, stream_limit
from .near_names import suggestion

STDIN_NAME = "-"
_SPOOL_BYTES = 1 << 20
_HEAD_BYTES = 4 << 20
"""By which a pipe is recognized before all of it is read."""


def settle(source: Source) -> Source:
    """The same source in a form that can be opened any number of times.

    Standard input (named "-", with neither path nor data) and pipes are read into memory, up to
    a limit; sources with regular files, bytes or feeds are returned unchanged. Raises the errors
    of ``open_source``.
    """
    if source.data is not None or isinstance(source, LiveSource):
        return source
    if source.path is None:
        return replace(source, data=_read_stdin(source))
    mode = _mode(source, source.path)
    if stat.S_ISREG(mode):
        return source
    if stat.S_ISDIR(mode):
        raise MediaDecodeError(source.name, "is a folder; name a file in it")
    if stat.S_ISFIFO(mode):
        with _open_path(source, source.path) as pipe:
            return replace(source, path=None, data=_read_all(source, pipe))
    raise MediaDecodeError(source.name, "is a device, not a file")


def feed_of(source: Source) -> Feed | None:
    """Standard input or a pipe, to be read as it comes; None for anything else.

    Opening a pipe waits for its writer. Raises the errors of ``open_source``.
    """
    if source.data is not None or source.address is not None:
        return None
    if source.path is None:
        return Feed(source.name, _stdin(source))
    if stat.S_ISFIFO(_mode(source, source.path)):
        return Feed(source.name, _open_path(source, source.path), closes=True)
    return None


def spool(
    source: Source, feed: Feed, folder: Path, is_wanted: Callable[[BinaryIO], bool]
) -> Source:
    """A pipe of which all is needed, copied to a file in ``folder``, as memory may not hold it.

    ``is_wanted`` judges the first megabytes: what it refuses may have no end. Raises
    MediaDecodeError, also for more than the limit, and MediaError if the disk is full.
    """
    limit = stream_limit(DISK_STREAM_MB)
    head = feed.rest(min(_HEAD_BYTES, limit))
    if not head:
        raise MediaDecodeError(source.name, "is empty or was already read")
    if len(head) == _HEAD_BYTES and not is_wanted(io.BytesIO(head)):
        raise MediaDecodeError(source.name, "not an audio or video file")
    path = folder / "pipe"
    try:
        with path.open("wb") as file:
            file.write(head)
            while block := feed.rest(_SPOOL_BYTES):
                if file.tell() + len(block) > limit:
                    raise endless(source.name, limit)
                file.write(block)
    except OSError as exc:
        reason = f"cannot be kept in {path.parent.parent} ({exc.strerror or exc})"
        raise MediaError(source.name, f"{reason}; set TMPDIR to a folder with room") from exc
    return replace(source, path=path)


def _read_all(source: Source, stream: BinaryIO) -> bytes:
    """What a pipe holds. Raises MediaDecodeError if that is more than the limit."""
    limit = stream_limit(MEMORY_STREAM_MB)
    content = io.BytesIO()  # grows in place, where a list of blocks would be copied at the end
    while block := stream.read(_SPOOL_BYTES):
        content.write(block)
        if content.tell() > limit:
            raise endless(source.name, limit)
    return content.getvalue()


def open_source(source: Source) -> BinaryIO:
    """A seekable binary stream at the source's first byte; the caller closes it.

    That of a ``LiveSource`` is a ``FeedReader``, which goes back only as far as bytes are kept.
    Raises MediaNotFoundError for a missing file, MediaDecodeError for a folder, a device or an
    empty file, MediaError without permission to read, or if standard input is a terminal.
    """
    settled = settle(source)
    if isinstance(settled, LiveSource):
        return cast(BinaryIO, FeedReader(settled.feed))
    stream: BinaryIO
    if settled.data is not None:
        stream, size = io.BytesIO(settled.data), len(settled.data)
    else:
        assert settled.path is not None  # settle() returns a path or data
        stream = _open_path(settled, settled.path)
        size = settled.path.stat().st_size
    if size == 0:
        stream.close()
        raise MediaDecodeError(source.name, "is empty")
    return stream


def require(source: Source) -> None:
    """Check that a file exists, without opening it. Raises the errors of ``open_source``."""
    if source.path is not None:
        _mode(source, source.path)


def _mode(source: Source, path: Path) -> int:
    """The file's mode bits, links followed."""
    try:
        return path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError) as exc:
        raise MediaNotFoundError(source.name, suggestion(path)) from exc
    except OSError as exc:
        raise MediaError(source.name, _reason(exc)) from exc
    except ValueError as exc:  # a NUL in the name
        raise MediaNotFoundError(source.name) from exc


def _open_path(source: Source, path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except FileNotFoundError as exc:
        raise MediaNotFoundError(source.name, suggestion(path)) from exc
    except OSError as exc:
        raise MediaError(source.name, _reason(exc)) from exc


def _reason(exc: OSError) -> str:
    if isinstance(exc, PermissionError):
        return "cannot be read: permission denied"
    return f"cannot be read: {exc.strerror or exc}"


def _read_stdin(source: Source) -> bytes:
    """All bytes of standard input, which can be read only once."""
    data = _read_all(source, _stdin(source))
    if not data:
        raise MediaDecodeError(source.name, "standard input is empty or was already read")
    return data


def _stdin(source: Source) -> BinaryIO:
    """Standard input, if the source is named "-" and input is redirected."""
    if source.name != STDIN_NAME:
        raise MediaNotFoundError(source.name)
    if sys.stdin is None or sys.stdin.closed:
        raise MediaError(source.name, "standard input is closed")
    if sys.stdin.isatty():
        raise MediaError(
            source.name, "standard input is a terminal: pipe a file into g4, or name the file"
        )
    return sys.stdin.buffer
