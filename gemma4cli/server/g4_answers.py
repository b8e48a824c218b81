"""Prompts of one request that threads hand to the model, as the event loop sees them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from threading import Lock, Thread

from ..events import Event
from ..serving.queued_model import QueuedModel
from ..serving.request import AnswerStream
from ..wire.requests import PromptLimits, read_prompts
from .thread_run import Disconnected, Receive

Happened = int | tuple[int, Event] | Exception
"""The number of prompts, once they are let in; an event of one of them; what ended it all."""


class PromptsRun:
    """Reads the prompts of a body and asks the model; see ``running_prompts``."""

    def __init__(self, model: QueuedModel, body: bytes) -> None:
        self._model = model
        self._body = body
        self._loop = asyncio.get_running_loop()
        self._channel: asyncio.Queue[Happened] = asyncio.Queue()
        self._lock = Lock()
        self._answers: AnswerStream | None = None
        self._is_cancelled = False

    async def accepted(self) -> int:
        """How many prompts were let in. Raises what is wrong with one, and Disconnected."""
        found = await self._next()
        assert isinstance(found, int), "it comes first"
        return found

    async def next(self, seconds: float) -> tuple[int, Event]:
        """The next event, and its prompt's number.

        Raises Disconnected, TimeoutError after ``seconds``, and what went wrong.
        """
        found = await asyncio.wait_for(self._next(), seconds)
        assert not isinstance(found, int), "it comes first"
        return found

    async def _next(self) -> int | tuple[int, Event]:
        found = await self._channel.get()
        if isinstance(found, Exception):
            raise found
        return found

    def cancel(self) -> None:
        """End the work at its next step."""
        with self._lock:
            self._is_cancelled = True
            if self._answers is not None:
                self._answers.close()

    def work(self) -> None:
        """Ask the model. Runs in a thread."""
        try:
            answers = self._begun()
            for each in answers:
                self._tell(each)
        except Exception as error:  # noqa: BLE001 - raised in the event loop
            self._tell(error)

    def _begun(self) -> AnswerStream:
        limits = PromptLimits(
            processor=self._model.processor, vocabulary=self._model.model.tokenizer.rows
        )
        prompts = read_prompts(self._body, limits)
        self._body = b""
        answers = self._model.stream(prompts)
        with self._lock:
            self._answers = answers
            if self._is_cancelled:
                answers.close()
        self._tell(len(prompts))
        return answers

    def _tell(self, happened: Happened) -> None:
        with suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._channel.put_nowait, happened)

    async def watch(self, receive: Receive) -> None:
        """Cancel when the client goes away."""
        while (await receive())["type"] != "http.disconnect":
            continue
        self.cancel()
        self._channel.put_nowait(Disconnected())


@asynccontextmanager
async def running_prompts(
    model: QueuedModel, body: bytes, receive: Receive
) -> AsyncIterator[PromptsRun]:
    """The answers to the prompts of a body; when this ends, or the client leaves, so do they."""
    run = PromptsRun(model, body)
    watch = asyncio.create_task(run.watch(receive))
    Thread(target=run.work, name="request", daemon=True).start()
    try:
        yield run
    finally:
        run.cancel()
        watch.cancel()
