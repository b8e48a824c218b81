"""An answer that a thread computes, as the event loop sees it: what happens, in order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from threading import Event as Flag
from threading import Thread
from typing import Any

from ..conversations.chat import Chat
from ..errors import unexpected
from ..events import Event
from ..messages import Message
from ..options import GenerateOptions
from ..serving.request import AnswerEvents
from .media_urls import fetching
from .served import Served

Receive = Callable[[], Awaitable[Any]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """What the model is to answer."""

    messages: Sequence[Message]
    options: GenerateOptions
    tools: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Accepted:
    """The prompt was let into the queue; what was wrong with it would have been found before."""

    prompt_tokens: int


class Disconnected(Exception):
    """The client has gone away."""


class AnswerRun:
    """Opens a question's media and asks the model, in a thread; see ``running``."""

    def __init__(self, served: Served, question: Question) -> None:
        """Raises ClosingError, and RequestError while the model is being loaded."""
        self._served = served
        self._model = served.model
        self._question = question
        self._loop = asyncio.get_running_loop()
        self._channel: asyncio.Queue[Accepted | Event | Exception | None] = asyncio.Queue()
        self._cancelled = Flag()
        self._events: AnswerEvents | None = None

    async def next(self, seconds: float | None = None) -> Accepted | Event | None:
        """What happens next, None at the end.

        Raises Disconnected, TimeoutError after ``seconds``, and what went wrong.
        """
        found = await asyncio.wait_for(self._channel.get(), seconds)
        if isinstance(found, Exception):
            raise found
        return found

    async def events(self) -> AsyncIterator[Accepted | Event]:
        """All that happens. Raises as ``next``."""
        while (event := await self.next()) is not None:
            yield event

    def cancel(self) -> None:
        """End the work at its next step."""
        self._cancelled.set()
        if self._events is not None:
            self._events.close()

    def work(self) -> None:
        """Answer. Runs in a thread."""
        try:
            self._answer()
            self._tell(None)
        except Exception as error:  # noqa: BLE001 - raised in the event loop
            self._tell(unexpected(error))

    def _answer(self) -> None:
        question = self._question
        chat = Chat(self._model, media=self._served.options.media, tools=question.tools)
        with self._served.opening, fetching(question.messages) as messages:
            if self._cancelled.is_set():
                return
            for _ in chat.load(messages):
                if self._cancelled.is_set():
                    return
            inputs = chat.prompt(question.options)
        self._events = self._model.generate(inputs, question.options)
        if self._cancelled.is_set():
            self._events.close()
        self._tell(Accepted(prompt_tokens=len(inputs.ids)))
        for event in self._events:
            self._tell(event)

    def _tell(self, happened: Accepted | Event | Exception | None) -> None:
        with suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._channel.put_nowait, happened)

    async def watch(self, receive: Receive) -> None:
        """Cancel when the client goes away."""
        while (await receive())["type"] != "http.disconnect":
            continue
        self.cancel()
        self._channel.put_nowait(Disconnected())


@asynccontextmanager
async def running(served: Served, question: Question, receive: Receive) -> AsyncIterator[AnswerRun]:
    """The answer to a question; when this ends, or the client leaves, so does the work on it."""
    run = AnswerRun(served, question)
    watch = asyncio.create_task(run.watch(receive))
    Thread(target=run.work, name="request", daemon=True).start()
    try:
        yield run
    finally:
        run.cancel()
        watch.cancel()
