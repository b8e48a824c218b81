"""A door for a few threads at a time, in the order in which they come."""

from __future__ import annotations

from collections import deque
from threading import Lock


class InTurn:
    """At most ``most`` threads are within it; see also ``threading.Semaphore``.

    That one lets a thread that comes in the right moment pass those that wait, which then wait
    behind all others.
    """

    def __init__(self, most: int) -> None:
        self._free = most
        self._waiting: deque[Lock] = deque()
        self._lock = Lock()

    @property
    def waiting(self) -> int:
        """Threads that wait to come in."""
        return len(self._waiting)

    def __enter__(self) -> None:
        with self._lock:
            if self._free:
                self._free -= 1
                return
            mine = Lock()
            mine.acquire()
            self._waiting.append(mine)
        mine.acquire()

    def __exit__(self, *exception: object) -> None:
        with self._lock:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._free += 1
