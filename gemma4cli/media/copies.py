"""What came through a pipe so far, in a file, for as long as it may be needed again."""

from __future__ import annotations

from pathlib import Path

from .limits import DISK_STREAM_MB, stream_limit


class Copy:
    """A growing file that is given up if it exceeds the limit of pipes, or the disk is full."""

    def __init__(self, path: Path, begin: bytes) -> None:
        self.path = path
        self.is_whole = True
        self._left = stream_limit(DISK_STREAM_MB)
        self._file = path.open("wb", buffering=0)
        self.add(begin)

    def add(self, data: bytes) -> None:
        if not self.is_whole:
            return
        self._left -= len(data)
        try:
            written = self._file.write(data) if self._left >= 0 else 0
        except OSError:
            written = 0
        if written != len(data):
            self.drop()

    def drop(self) -> None:
        """Remove the file."""
        if self.is_whole:
            self.is_whole = False
            self._file.close()
            self.path.unlink(missing_ok=True)

    def finish(self) -> None:
        """Close the file, which stays."""
        self._file.close()
