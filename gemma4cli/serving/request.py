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
        self._events: SimpleQueue[Event | Exception] = SimpleQueue()
        self._cancelled = Flag()

    @property
    def is_cancelled(self) -> bool:
        return self._cancelled.is_set()

    def put(self, event: Event | Exception) -> None:
        """Hand over an event, or the error that ends the answer. Called by the model's thread."""
        self._events.put(event)

    def events(self) -> Iterator[Event]:
        """The events as they come, up to Finished; closing it cancels. Raises the error."""
        try:
            while True:
                event = self._events.get()
                if isinstance(event, Exception):
                    raise event
                yield event
                if isinstance(event, Finished):
                    return
        finally:
            self._cancelled.set()
