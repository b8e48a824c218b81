"""Work that a thread does for a request, as the event loop sees it: what happens, in order."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
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
        self._channel: asyncio.Queue[T | Exception | None] = asyncio.Queue()
        self._cancelled = Flag()

    @abstractmethod
    def run(self) -> None:
        """Do the work and ``tell`` what happens. Runs in a thread."""

    async def next(self, seconds: float | None = None) -> T | None:
        """What happens next, None at the end.

        Raises Disconnected, TimeoutError after ``seconds``, and what went wrong.
        """
        found = await asyncio.wait_for(self._channel.get(), seconds)
        if isinstance(found, Exception):
            raise found
        return found

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
        with suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._channel.put_nowait, happened)

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
        self._channel.put_nowait(Disconnected())


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
