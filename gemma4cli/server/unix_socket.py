"""A socket in the file system, which only its owner can connect to."""

from __future__ import annotations

import errno
import os
import socket
import stat
from contextlib import suppress

from ..errors import OptionError


def bound_unix_socket(path: str, backlog: int) -> socket.socket:
    """A socket at ``path``, which is removed when it is closed. Raises OptionError.

    What another server left there, which did not end by itself, is replaced.
    """
    if not path:
        raise OptionError("--host unix: names no socket: write unix:/PATH")
    bound = _UnixSocket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        try:
            bound.bind_privately(path)
        except OSError as exc:
            if exc.errno != errno.EADDRINUSE or not _is_abandoned(path):
                raise
            os.unlink(path)
            bound.bind_privately(path)
        bound.listen(backlog)
    except OSError as exc:
        bound.close()
        hint = "; choose another" if exc.errno == errno.EADDRINUSE else ""
        raise OptionError(f"cannot listen on {path}: {exc.strerror or exc}{hint}") from exc
    return bound


def _is_abandoned(path: str) -> bool:
    """Whether there is a socket on which nobody listens."""
    if not stat.S_ISSOCK(os.lstat(path).st_mode):
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
        return other.connect_ex(path) == errno.ECONNREFUSED


class _UnixSocket(socket.socket):
    """Its file goes when it is closed, unless another one is there by then."""

    _file: tuple[str, int] | None = None

    def bind_privately(self, path: str) -> None:
        before = os.umask(0o177)
        try:
            self.bind(path)
        finally:
            os.umask(before)
        self._file = path, os.lstat(path).st_ino

    def close(self) -> None:
        if self._file is not None:
            path, number = self._file
            self._file = None
            with suppress(OSError):
                if os.lstat(path).st_ino == number:
                    os.unlink(path)
        super().close()
