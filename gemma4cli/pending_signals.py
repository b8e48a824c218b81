"""Signals that have come and are not raised yet, and a thread that does not let them be missed.

Python runs handlers between two steps of its own. A signal that comes within a C function just
before that function waits, for input or a lock, would be noticed when the waiting ends, perhaps
never. The thread interrupts the waiting until the handler has run.
"""

from __future__ import annotations

import os
import select
import signal
import threading
from collections.abc import Callable
from time import monotonic
from types import FrameType
from typing import NoReturn

from .callbacks import is_in_callback

_PEACE = 2.0
"""Seconds after an interrupt in which there is no other: what it ends can clean up."""

_SOON, _LATER = 0.005, 0.1
"""Seconds between attempts: the first ones, and those that follow."""

_NUDGE = signal.SIGURG
"""Interrupts waiting and does nothing else; nobody sends it, and the system ignores it."""

_IMPORTING = "<frozen importlib._bootstrap>"

_STARTING = threading.Thread.start.__code__


class PendingSignals:
    """Raises each signal at a moment when nothing would lose it, by ``stop`` with its number.

    Not in a callback, in an import, while a thread is started, or while what the one before has
    ended cleans up. To be made
    and used in the main thread; ``close`` when done, which drops signals that wait.
    """

    def __init__(self, stop: Callable[[int], NoReturn]) -> None:
        self._stop = stop
        self._numbers: list[int] = []
        self._peace_until = 0.0
        self._main = threading.get_ident()
        self._closed = threading.Event()
        # The system's handler writes a byte for each signal; some are there while one waits.
        self._read, self._write = os.pipe()
        for end in (self._read, self._write):
            os.set_blocking(end, False)
        self._before = signal.signal(_NUDGE, self.handle)
        self._fd_before = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        self._thread = threading.Thread(target=self._nudge, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop watching."""
        signal.set_wakeup_fd(self._fd_before)
        self._closed.set()
        self._wake()
        self._thread.join()
        signal.signal(_NUDGE, self._before)
        os.close(self._read)
        os.close(self._write)

    def handle(self, number: int, frame: FrameType | None) -> None:
        """The handler of the signals."""
        self._drain()
        if number != _NUDGE:
            self._numbers.append(number)
        if not self._numbers:
            return
        if monotonic() < self._peace_until or is_in_callback(frame) or _is_half_done(frame):
            self._wake()
            return
        self._peace_until = monotonic() + _PEACE
        due = self._numbers.pop(0)
        if self._numbers:
            self._wake()
        self._stop(due)

    def add(self, number: int) -> None:
        """A signal whose exception was lost: raise it again, soon."""
        self._numbers.insert(0, number)
        self._peace_until = 0.0
        self._wake()

    def answered(self) -> None:
        """What the last signal has ended is over, and the program continues.

        Further ones of Ctrl-C meant the same; others are raised.
        """
        self._numbers = [number for number in self._numbers if number != signal.SIGINT]
        self._peace_until = 0.0
        self.handle(_NUDGE, None)

    def watch(self) -> None:
        """Notice signals again after somebody else's loop of events did."""
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)

    def _wake(self) -> None:
        try:
            os.write(self._write, b"\0")
        except BlockingIOError:  # full, so there is something to read
            return

    def _drain(self) -> None:
        try:
            while os.read(self._read, 4096):
                continue
        except BlockingIOError:
            return

    def _nudge(self) -> None:
        while not self._closed.is_set():
            select.select([self._read], [], [])
            pause = _SOON
            while not self._closed.wait(pause) and select.select([self._read], [], [], 0)[0]:
                signal.pthread_kill(self._main, _NUDGE)
                pause = min(2 * pause, _LATER)


def _is_half_done(frame: FrameType | None) -> bool:
    """Whether something would be left that what cleans up cannot handle.

    A module that is half imported, or a thread that runs and of which nobody knows.
    """
    while frame is not None:
        if frame.f_code is _STARTING or frame.f_code.co_filename == _IMPORTING:
            return True
        frame = frame.f_back
    return False
