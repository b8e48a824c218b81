"""The one consumer of events: results to a sink, progress to a display, errors to exit codes."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import typer

from ...errors import Gemma4Error, LoadError
from ...events import Event, LoadProgress
from ...transcript import TranscriptEvent
from .exit_codes import ExitCode, exit_code_of


@dataclass(frozen=True, slots=True)
class Failed:
    """An input has no result, or no whole one; the other inputs go on."""

    error: Gemma4Error


AnyEvent = Event | TranscriptEvent
Numbered = tuple[int, AnyEvent | Failed]
"""An input's number, and what happened to it."""


class Sink(Protocol):
    """Takes the results of the inputs."""

    def take(self, number: int, event: AnyEvent) -> None:
        """Write what an event adds to the results."""

    def failed(self, number: int, error: Gemma4Error) -> None:
        """Say that an input has no result."""

    def interrupted(self) -> None:
        """Write what there is of the inputs that are not finished."""


class Display(AbstractContextManager[Any], Protocol):
    """Shows how far a run has come, as long as it is entered."""

    def update(self, number: int, event: AnyEvent | LoadProgress | Failed) -> None:
        """Show what an event says about progress."""

    def aside(self) -> AbstractContextManager[None]:
        """Hide the progress while something else is written to the terminal."""


def consume(events: Iterator[Numbered], sink: Sink, display: Display) -> list[ExitCode]:
    """Take events to their end; returns the exit codes of the inputs that failed.

    An interrupt is raised again after the sink has written what there is. Whatever ends the events,
    the run that makes them is cancelled when this returns.
    """
    codes: list[ExitCode] = []
    try:
        for number, event in events:
            display.update(number, event)
            if isinstance(event, Failed):
                codes.append(exit_code_of(event.error))
                sink.failed(number, event.error)
            else:
                sink.take(number, event)
    except KeyboardInterrupt:
        sink.interrupted()
        raise
    finally:
        if isinstance(events, Generator):
            events.close()
    return codes


def numbered(events: Iterator[Event]) -> Iterator[Numbered]:
    """The events of a single input."""
    for event in events:
        yield 0, event


def one_by_one(
    count: int, answer: Callable[[int], Iterator[Event]], *, keep_going: bool
) -> Iterator[Numbered]:
    """The events of input after input; with ``keep_going`` an error ends only its own input."""
    for number in range(count):
        try:
            for event in answer(number):
                yield number, event
        except LoadError:
            raise
        except Gemma4Error as error:
            if not keep_going:
                raise
            yield number, Failed(error)


def exit_if_failed(codes: Sequence[ExitCode], *, several: bool) -> None:
    """End the program if inputs failed: with 5 of several, else with the error's own code."""
    if codes:
        raise typer.Exit(ExitCode.SOME_FAILED if several else codes[0])
