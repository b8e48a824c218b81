"""A prompt that waits for its answer, as its thread and the model's thread see it."""

from __future__ import annotations

from collections.abc import Iterator
from queue import SimpleQueue
from threading import Event as Flag

from ..engine.answering import Prompt
from ..events import Event, Finished


class Request:
    """A prompt, and the events of its answer, which come from the model's thread."""

    def __init__(self, prompt: Prompt) -> None:
        self.prompt = prompt
        self._events: SimpleQueue[Event | Exception | None] = SimpleQueue()
        self._cancelled = Flag()

    @property
    def is_cancelled(self) -> bool:
        return self._cancelled.is_set()

    def put(self, event: Event | Exception) -> None:
        """Hand over an event, or the error that ends the answer. Called by the model's thread."""
        self._events.put(event)

    def cancel(self) -> None:
        """Nobody wants the answer any more: end ``events``. Called by any thread."""
        self._cancelled.set()
        self._events.put(None)

    def take(self) -> Event | None:
        """The next event, None after ``cancel``. Raises the error that ended the answer."""
        event = self._events.get()
        if isinstance(event, Exception):
            raise event
        return event

    def events(self) -> AnswerEvents:
        return AnswerEvents(self)


class AnswerEvents(Iterator[Event]):
    """The events of an answer as they come, up to Finished. Raises the error that ends it.

    ``close`` cancels; unlike that of a generator it may be called while another thread waits for
    the next event, which is then the end.
    """

    def __init__(self, request: Request) -> None:
        self._request = request
        self._is_over = False

    def __next__(self) -> Event:
        if self._is_over or self._request.is_cancelled:
            raise StopIteration
        self._is_over = True  # unless there is more
        event = self._request.take()
        if event is None:
            raise StopIteration
        self._is_over = isinstance(event, Finished)
        return event

    def close(self) -> None:
        """Cancel what is not finished."""
        self._request.cancel()

    def __del__(self) -> None:
        self.close()
