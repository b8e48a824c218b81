"""Work that a thread does for a request, as the event loop sees it: what happens, in order."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from threading import Event as Flag
from threading import Thread
from typing import Any, Generic, TypeVar

from ..errors import unexpected

T = TypeVar("T")
R = TypeVar("R", bound="ThreadRun[Any]")

Receive = Callable[[], Awaitable[Any]]


class Disconnected(Exception):
    """The client has gone away."""


class ThreadRun(ABC, Generic[T]):
    """Work of one request; ``T`` is what happens in it. See ``running``."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._happened: deque[T | Exception | None] = deque()
        self._is_waking = False
        self._waiter: asyncio.Future[None] | None = None
        self._cancelled = Flag()

    @abstractmethod
    def run(self) -> None:
        """Do the work and ``tell`` what happens. Runs in a thread."""

    async def next(self, seconds: float | None = None) -> T | None:
        """What happens next, None at the end.

        Raises Disconnected, TimeoutError after ``seconds``, and what went wrong.
        """
        if not self._happened:
            async with asyncio.timeout(seconds):
                await self._wait()
        found = self._happened.popleft()
        if isinstance(found, Exception):
            raise found
        return found

    @property
    def has_more(self) -> bool:
        """Whether ``next`` would not wait."""
        return bool(self._happened)

    async def events(self) -> AsyncIterator[T]:
        """All that happens. Raises as ``next``."""
        while (event := await self.next()) is not None:
            yield event

    @property
    def is_cancelled(self) -> bool:
        return self._cancelled.is_set()

    def cancel(self) -> None:
        """End the work at its next step."""
        self._cancelled.set()

    def tell(self, happened: T | Exception | None) -> None:
        """Hand over what happens. Any thread may call this."""
        self._happened.append(happened)
        if not self._is_waking:  # what was told since the loop was woken, it will see
            self._is_waking = True
            with suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._wake)

    def work(self) -> None:
        """Run in this thread to the end, which is an error or None."""
        try:
            self.run()
            self.tell(None)
        except Exception as error:  # noqa: BLE001 - raised in the event loop
            self.tell(unexpected(error))

    async def watch(self, receive: Receive) -> None:
        """Cancel when the client goes away."""
        while (await receive())["type"] != "http.disconnect":
            continue
        self.cancel()
        self._happened.append(Disconnected())
        self._wake()

    async def _wait(self) -> None:
        while not self._happened:
            self._waiter = self._loop.create_future()
            await self._waiter

    def _wake(self) -> None:
        self._is_waking = False
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


@asynccontextmanager
async def running(run: R, receive: Receive) -> AsyncIterator[R]:
    """The run in its thread; when this ends, or the client leaves, so does the work."""
    watch = asyncio.create_task(run.watch(receive))
    Thread(target=run.work, name="request", daemon=True).start()
    try:
        yield run
    finally:
        run.cancel()
        watch.cancel()
