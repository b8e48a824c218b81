"""Server-sent events: objects as JSON, comments while nothing happens, errors in mid-stream."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar

from starlette.types import Send

from .errors import Failure, failure_of
from .served import Served
from .thread_run import Disconnected, ThreadRun

T = TypeVar("T")

_BEAT_SECONDS = 10.0
"""Proxies end connections on which nothing comes, after half a minute or more."""

_HEADERS = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
)
_DONE = b"data: [DONE]\n\n"


class EventStream:
    """The body of a response. Entering it sends the head; an error inside it becomes an event.

    Objects leave together when nothing more of the run is there yet: see ``next``.
    """

    def __init__(self, served: Served, send: Send) -> None:
        self._served = served
        self._send = send
        self._ready: list[bytes] = []

    async def __aenter__(self) -> Self:
        await self._send(
            {"type": "http.response.start", "status": 200, "headers": [*_HEADERS]},
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        if not isinstance(error, Exception) or isinstance(error, Disconnected):
            return False
        self._served.report(error)
        await self.fail(failure_of(error))
        return True

    def put(self, data: Mapping[str, Any]) -> None:
        """Send an object, at the latest when the run is waited for or the stream ends."""
        self._ready.append(self.framed(data))

    def framed(self, data: Mapping[str, Any]) -> bytes:
        """An object as an event."""
        return f"data: {json.dumps(data, ensure_ascii=False)}\n\n".encode()

    async def fail(self, failure: Failure) -> None:
        """Send an error as the end of the stream."""
        self.put(failure.body)
        await self.done()

    async def done(self) -> None:
        """Send the end of the stream, as the completions have it."""
        await self.write(_DONE, more=False)

    async def end(self) -> None:
        """End the stream without another event."""
        await self.write(b"", more=False)

    async def beating(self, run: ThreadRun[T]) -> AsyncIterator[T]:
        """What happens in a run, with comments on the stream while nothing does."""
        while (event := await self.next(run)) is not None:
            yield event

    async def next(self, run: ThreadRun[T]) -> T | None:
        """What happens next in a run, with comments on the stream until then.

        What was put before is sent first, unless the next is there already.
        """
        if self._ready and not run.has_more:
            await self.write(b"")
        while True:
            try:
                return await run.next(_BEAT_SECONDS)
            except TimeoutError:
                await self.write(b": still at work\n\n")

    async def write(self, content: bytes, *, more: bool = True) -> None:
        """Send a part of the body."""
        body = b"".join((*self._ready, content))
        self._ready.clear()
        await self._send({"type": "http.response.body", "body": body, "more_body": more})
