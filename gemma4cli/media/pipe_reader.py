"""Reads a pipe as it comes, until another thread stops that."""

from __future__ import annotations

import os
from typing import BinaryIO

from ..errors import MediaError

_BLOCK = 1 << 16


class PipeReader:
    """Blocks of a pipe as they come, until another thread stops that."""

    def __init__(self, name: str, stream: BinaryIO, *, closes: bool) -> None:
        self.stopped = False
        self._closes = closes
        self._name = name
        self._stream = stream
        self._woken, self._wake = os.pipe()
        self._handle = _handle_of(stream)

    def read(self) -> bytes:
        """The next bytes; none at the end. Raises MediaError."""
        try:
            while not self.stopped:
                if self._handle is None:
                    return self._stream.read(_BLOCK)
                self._poll(self._handle, None)
                if not self.stopped:
                    try:
                        return os.read(self._handle, _BLOCK)
                    except BlockingIOError:  # another reader was faster
                        continue
        except OSError as exc:
            raise MediaError(self._name, f"cannot be read: {exc.strerror or exc}") from exc
        return b""

    @property
    def is_ready(self) -> bool:
        """Whether reading, or the end, needs no waiting."""
        return self._handle is None or self._poll(self._handle, 0)

    def stop(self) -> None:
        self.stopped = True
        os.write(self._wake, b"\0")

    def close(self) -> None:
        os.close(self._woken)
        os.close(self._wake)
        if self._closes:
            self._stream.close()

    def _poll(self, handle: int, milliseconds: int | None) -> bool:
        import select

        poll = select.poll()
        for each in (handle, self._woken):
            poll.register(each, select.POLLIN)
        return bool(poll.poll(milliseconds))


def _handle_of(stream: BinaryIO) -> int | None:
    """The number of the open file; None for a stream in memory."""
    try:
        return stream.fileno()
    except (OSError, AttributeError):
        return None
