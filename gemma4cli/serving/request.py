"""Prompts that wait for their answers, as their thread and the model's thread see them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from queue import SimpleQueue
from time import monotonic
from typing import TypeAlias

from ..engine.answering import Prompt
from ..engine.constrain import Constraint
from ..events import Event, Finished

Events: TypeAlias = SimpleQueue[tuple[int, Event | Exception] | None]
"""Events with the number of their request; None where nobody waits for more."""


class Request:
    """A prompt, and where the events of its answer go. ``number`` is its place in its stream.

    ``model`` is the place of its model in the queue.

    The model's thread finds out by itself that it ``is_cancelled``: a stream can be dropped where
    no lock may be taken.
    """

    def __init__(
        self,
        model: int,
        prompt: Prompt,
        constraint: Constraint | None,
        number: int,
        events: Events,
    ) -> None:
        self.model = model
        self.prompt = prompt
        self.constraint = constraint
        self.arrived = monotonic()
        self.let_in = 0.0
        self.has_begun = False
        self.is_cancelled = False
        self._number = number
        self._events = events

    def put(self, event: Event | Exception) -> None:
        """Hand over an event, or the error that ends the answer. Called by the model's thread."""
        self._events.put((self._number, event))


class AnswerStream(Iterator[tuple[int, Event]]):
    """The events of requests with their numbers, up to the last one's Finished.

    Raises the first error. Dropping or closing it cancels what has not ended; ``close`` may be
    called while another thread waits for the next event, and that thread is at the end then.
    """

    def __init__(
        self,
        requests: Sequence[Request],
        events: Events,
    ) -> None:
        self._left = dict(enumerate(requests))
        self._events = events

    def __next__(self) -> tuple[int, Event]:
        found = self._next()
        if found is None:
            raise StopIteration
        number, event = found
        if isinstance(event, Exception):
            self.close()
            raise event
        return number, event

    def outcomes(self) -> Iterator[tuple[int, Event | Exception]]:
        """The events and errors: here the error of a request ends that request alone."""
        while (found := self._next()) is not None:
            yield found

    def _next(self) -> tuple[int, Event | Exception] | None:
        if not self._left:
            return None
        found = self._events.get()
        if found is not None and isinstance(found[1], Finished | Exception):
            self._left.pop(found[0], None)
        return found

    def close(self) -> None:
        """Cancel the answers that have not ended."""
        left, self._left = self._left, {}
        for request in left.values():
            request.is_cancelled = True
        self._events.put(None)

    def __del__(self) -> None:
        self.close()


class AnswerEvents(Iterator[Event]):
    """The events of a stream with one request."""

    def __init__(self, stream: AnswerStream) -> None:
        self._stream = stream

    def __next__(self) -> Event:
        _, event = next(self._stream)
        return event

    def close(self) -> None:
        """Cancel the answer, unless it has ended. Any thread may call this."""
        self._stream.close()
