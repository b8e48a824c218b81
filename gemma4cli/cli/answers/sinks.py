"""Sinks for answers: one is streamed, each of several is written when it is complete."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ...errors import Gemma4Error, MediaError
from ...events import Event, Finished, TextDelta
from ...records import Answer, Given, VideoRecord, answer_record, interrupted_record
from ..environment import Environment
from ..output.consume import AnyEvent, Display, Failed, Known, Sink
from ..output.delivery import Delivery
from ..output.exit_codes import exit_code_of
from .results import AnswerResults, label
from .writer import AnswerWriter


class StreamedAnswer:
    """A single answer, streamed; ``finished`` is its last event."""

    def __init__(self, writer: AnswerWriter) -> None:
        self.finished: Finished | None = None
        self.started = False
        self._writer = writer

    def take(self, number: int, event: AnyEvent) -> None:
        self._writer.show(event)
        if isinstance(event, TextDelta):
            self.started = True
        elif isinstance(event, Finished):
            self.finished = event

    def failed(self, number: int, error: Gemma4Error) -> None:
        """Raise the error: there is no other input to continue with."""
        raise error

    def interrupted(self) -> None:
        """All text so far is already written."""


class WholeAnswers:
    """Answers about one input after the other, each written to ``results`` when it is complete.

    ``keep`` gets each new answer first. ``writer`` shows thoughts and notices. ``done`` counts the
    answers; ``has_partial`` says that a record of an interrupted one was written. ``unwritten`` are
    the exit codes of answers whose files cannot have their names; others are written all the same.
    """

    def __init__(
        self,
        env: Environment,
        writer: AnswerWriter,
        display: Display,
        results: AnswerResults,
        names: Sequence[Given],
        *,
        model: str,
        keep: Callable[[int, Answer], None],
        debug: bool,
    ) -> None:
        self.done = 0
        self.has_partial = False
        self._delivery = Delivery(env, display.aside, debug=debug)
        self.unwritten = self._delivery.unwritten
        self._env = env
        self._writer = writer
        self._display = display
        self._results = results
        self._names = names
        self._model = model
        self._keep = keep
        self._debug = debug
        self._number = 0
        self._reset()

    def _reset(self) -> None:
        self._text: list[str] = []
        self._video = VideoRecord()

    def take(self, number: int, event: AnyEvent) -> None:
        self._number = number
        if isinstance(event, Known):
            self._write(number, event.answer)
            return
        self._writer.show(event, label(self._names[number]) if len(self._names) > 1 else "")
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
        # A MediaError names its source itself.
        several = len(self._names) > 1 and not isinstance(error, MediaError)
        with self._display.aside():
            about = label(self._names[number]) if several else ""
            self._env.say_error(error, about=about, debug=self._debug)
            self._results.failed(number, error)

    def interrupted(self) -> None:
        """Write the text so far, marked as such."""
        text = "".join(self._text)
        if text or self._video.segments:
            record = interrupted_record(self._names[self._number], self._model, text)
            record |= self._video.fields(exit_code_of)
            self.has_partial = "segments" in record
            with self._display.aside():
                self._results.partial(self._number, Answer(text=text, record=record))
        self._reset()

    def _finished(self, number: int, event: Finished) -> None:
        record = answer_record(self._names[number], self._model, event)
        record |= self._video.fields(exit_code_of)
        # For a video in segments, the streamed text has the answers about all of them.
        text = "".join(self._text) if self._video.segments else event.text
        answer = Answer(text=text, record=record)
        self._keep(number, answer)
        self._write(number, answer)

    def _write(self, number: int, answer: Answer | None) -> None:
        if answer is None or self._delivery.succeeds(lambda: self._results.answer(number, answer)):
            self.done += 1


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
        return isinstance(event, Failed | Finished | Known)
