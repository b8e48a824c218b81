"""Sinks for answers: one is streamed, each of several is written whole, as text or JSON lines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TextIO

from ...errors import Gemma4Error
from ...events import Event, Finished, TextDelta
from ...records import VideoRecord, answer_record, failure_record
from ..environment import Environment
from .consume import AnyEvent, Display, Failed, Sink
from .exit_codes import exit_code_of
from .results import write_json, write_text
from .writer import AnswerWriter


class StreamedAnswer:
    """A single answer, streamed; ``finished`` is its last event."""

    def __init__(self, writer: AnswerWriter) -> None:
        self.finished: Finished | None = None
        self._writer = writer

    def take(self, number: int, event: AnyEvent) -> None:
        self._writer.show(event)
        if isinstance(event, Finished):
            self.finished = event

    def failed(self, number: int, error: Gemma4Error) -> None:
        """Raise the error: there is no other input to continue with."""
        raise error

    def interrupted(self) -> None:
        """All text so far is already written."""


class WholeAnswers:
    """Answers about one input after the other, each written when it is complete.

    With ``labeled``, the input's name precedes its answer; ``as_json`` writes one object per input,
    failures included. ``writer`` shows thoughts and notices.
    """

    def __init__(
        self,
        env: Environment,
        writer: AnswerWriter,
        display: Display,
        stream: TextIO,
        names: Sequence[str],
        *,
        model: str,
        labeled: bool,
        as_json: bool,
        debug: bool,
    ) -> None:
        self._env = env
        self._writer = writer
        self._display = display
        self._stream = stream
        self._names = names
        self._model = model
        self._labeled = labeled
        self._as_json = as_json
        self._debug = debug
        self._number = 0
        self._reset()

    def _reset(self) -> None:
        self._text: list[str] = []
        self._video = VideoRecord()

    def take(self, number: int, event: AnyEvent) -> None:
        self._number = number
        self._writer.show(event)
        if isinstance(event, TextDelta):
            self._text.append(event.text)
        elif isinstance(event, Finished):
            self._finished(number, event)
            self._reset()
        elif isinstance(event, Event):
            self._video.add(event)

    def failed(self, number: int, error: Gemma4Error) -> None:
        self._reset()
        self._writer.end_line()
        with self._display.aside():
            self._env.say_error(error, debug=self._debug)
            if self._as_json:
                code = exit_code_of(error)
                write_json(self._stream, failure_record(self._names[number], error, code))

    def interrupted(self) -> None:
        """Write the text so far; an incomplete answer has no JSON record."""
        if self._text and not self._as_json:
            self._write(self._number, "".join(self._text))
        self._reset()

    def _finished(self, number: int, event: Finished) -> None:
        if self._as_json:
            record = answer_record(self._names[number], self._model, event)
            record |= self._video.fields(exit_code_of)
            with self._display.aside():
                write_json(self._stream, record)
        else:
            # For a video in segments, the streamed text has the answers about all of them.
            self._write(number, "".join(self._text) if self._video.segments else event.text)

    def _write(self, number: int, text: str) -> None:
        label = f"{self._names[number]}: " if self._labeled else ""
        with self._display.aside():
            write_text(self._stream, f"{label}{text}")


class InOrder:
    """Passes events on to a sink in the order of their inputs; later inputs wait their turn."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._waiting: dict[int, list[AnyEvent | Failed]] = {}
        self._next = 0

    def take(self, number: int, event: AnyEvent) -> None:
        self._receive(number, event)

    def failed(self, number: int, error: Gemma4Error) -> None:
        self._receive(number, Failed(error))

    def interrupted(self) -> None:
        """Write finished inputs whole, and the text so far of the others."""
        self._sink.interrupted()
        for number, events in sorted(self._waiting.items()):
            for event in events:
                self._pass_on(number, event)
            self._sink.interrupted()

    def _receive(self, number: int, event: AnyEvent | Failed) -> None:
        if number != self._next:
            self._waiting.setdefault(number, []).append(event)
            return
        ended = self._pass_on(number, event)
        while ended:
            self._next += 1
            waiting = self._waiting.pop(self._next, [])
            ended = [self._pass_on(self._next, each) for each in waiting][-1:] == [True]

    def _pass_on(self, number: int, event: AnyEvent | Failed) -> bool:
        """Pass on an event; True if it is the input's last."""
        if isinstance(event, Failed):
            self._sink.failed(number, event.error)
        else:
            self._sink.take(number, event)
        return isinstance(event, Failed | Finished)
