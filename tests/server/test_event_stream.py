"""What a thread tells goes into a stream of server-sent events in order, with few writes."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from gemma4cli.server.event_stream import EventStream
from gemma4cli.server.served import Served
from gemma4cli.server.thread_run import ThreadRun


class Numbers(ThreadRun[int]):
    def run(self) -> None:
        for number in range(1, 4):
            self.tell(number)


def bodies(*, ready: bool) -> list[bytes]:
    """The parts of the body that are sent if all is told before anything is read, or in between."""
    sent: list[bytes] = []

    async def send(message: Any) -> None:
        sent.append(message.get("body", b""))

    async def answer() -> None:
        run = Numbers()
        if ready:
            run.work()
        else:
            asyncio.get_running_loop().call_soon(run.tell, 1)
            asyncio.get_running_loop().call_soon(lambda: asyncio.create_task(later(run)))
        stream = EventStream(cast(Served, None), send)
        async for number in stream.beating(run):
            stream.put({"n": number})
        await stream.done()

    async def later(run: Numbers) -> None:
        for happened in (2, 3, None):
            for _ in range(5):
                await asyncio.sleep(0)
            run.tell(happened)

    asyncio.run(answer())
    return sent


EVENTS = [b'data: {"n": 1}\n\n', b'data: {"n": 2}\n\n', b'data: {"n": 3}\n\n']


def test_what_is_there_already_is_sent_together() -> None:
    assert bodies(ready=True) == [b"".join((*EVENTS, b"data: [DONE]\n\n"))]


def test_what_comes_is_sent_before_the_next_is_waited_for() -> None:
    assert bodies(ready=False) == [*EVENTS, b"data: [DONE]\n\n"]
