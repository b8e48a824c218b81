"""What another thread makes while the consumer, the slow model, is busy."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing
from queue import SimpleQueue
from threading import Semaphore, Thread
from typing import Generic, Self, TypeVar

Item = TypeVar("Item")


class Ahead(Generic[Item]):
    """An iterator over what ``items`` makes in a thread, for use in a ``with`` statement.

    The thread makes at most ``most`` items more than were taken; None sets no limit. It starts
    when the iterator is first asked for something: within the ``with`` statement, so that whatever
    interrupts this thread ends that one. Leaving the statement sets ``left``, which ``items``
    should heed, calls ``stop``, which ends its waiting, and joins the thread. What ``items`` raises
    is raised after the items before it.
    """

    def __init__(
        self,
        items: Callable[[], Generator[Item, None, None]],
        stop: Callable[[], None],
        *,
        most: int | None = None,
    ) -> None:
        self.left = False
        self._items = items
        self._stop = stop
        self._room = None if most is None else Semaphore(most)
        self._ready: SimpleQueue[tuple[Item] | None] = SimpleQueue()
        self._error: Exception | None = None
        self._thread = Thread(target=self._run, name="ahead")

    @property
    def is_waiting(self) -> bool:
        """Whether the next item, or the end, is not there yet."""
        self._start()
        return self._ready.empty()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.left = True
        self._stop()
        if self._room is not None:
            self._room.release()
        if self._thread.ident is not None:
            self._thread.join()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Item:
        self._start()
        ready = self._ready.get()
        if ready is None:
            # The end stays the end, however often it is asked for.
            self._ready.put(None)
            if self._error is not None:
                raise self._error
            raise StopIteration
        if self._room is not None:
            self._room.release()
        return ready[0]

    def _start(self) -> None:
        if self._thread.ident is None:
            self._thread.start()

    def _run(self) -> None:
        try:
            with closing(self._items()) as items:
                for item in items:
                    if self._room is not None:
                        self._room.acquire()
                    if self.left:
                        return
                    self._ready.put((item,))
        except Exception as error:  # noqa: BLE001 - raised where the items are taken
            self._error = error
        finally:
            self._ready.put(None)
