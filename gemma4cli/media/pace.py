"""How long a download may take, and the thread that ends one that takes longer."""

from __future__ import annotations

import os
import socket
import threading
from dataclasses import dataclass
from types import TracebackType
from typing import Self


@dataclass(frozen=True, kw_only=True, slots=True)
class Pace:
    """``patience``: seconds without an answer, or in which fewer than ``least`` bytes arrive.

    ``total``: seconds for the whole download.
    """

    patience: float = 30.0
    least: int = 16_384
    total: float = 600.0


class Watch:
    """Ends the connections of a download that is too slow.

    The time limit of a socket begins again with each byte; these hold for all of them, headers
    included. ``received`` counts bytes; ``why`` says why the download was ``ended``.
    """

    def __init__(self, pace: Pace) -> None:
        self.pace = pace
        self.received = 0
        self.why: str | None = None
        self._sockets: list[socket.socket] = []
        self._lock = threading.Lock()
        self.ended = threading.Event()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._done.set()
        self._thread.join()
        for each in self._sockets:
            each.close()

    def add(self, connection: socket.socket) -> None:
        """Watch a connection, by a second handle since TLS takes the first one over."""
        with self._lock:
            self._sockets.append(socket.socket(fileno=os.dup(connection.fileno())))
            if self.why is not None:
                self._shut_down()

    def _run(self) -> None:
        before, left = 0, self.pace.total
        while left > 0:
            step = min(self.pace.patience, left)
            if self._done.wait(step):
                return
            left -= step
            if step == self.pace.patience and self.received < before + self.pace.least:
                self._end(self._slow())
                return
            before = self.received
        self._end(
            f"the download is not complete after {self.pace.total:g} seconds: download it first, "
            "or set G4_URL_TIMEOUT to more seconds"
        )

    def _slow(self) -> str:
        seconds = f"{self.pace.patience:g} seconds"
        if not self.received:
            return f"cannot be downloaded: the server sent nothing of the file in {seconds}"
        return f"cannot be downloaded: fewer than {self.pace.least:,} bytes came in {seconds}"

    def _end(self, why: str) -> None:
        with self._lock:
            self.why = why
            self._shut_down()
        self.ended.set()

    def _shut_down(self) -> None:
        for each in self._sockets:
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:  # the other side has closed it
                continue
