"""The only consumer of events: results to a sink, progress to a display, errors to exit codes."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import typer

from ...errors import Gemma4Error, LoadError, OutputError, unexpected
from ...events import Event, LoadProgress
from ...records import Answer
from ...transcript import TranscriptEvent
from .exit_codes import ExitCode, exit_code_of


@dataclass(frozen=True, slots=True)
class Failed:
    """An input has no result, or an incomplete one; the other inputs continue."""

    error: Gemma4Error


@dataclass(frozen=True, slots=True)
class Known:
    """An input has its answer from an earlier run; None if that is written already."""

    answer: Answer | None


AnyEvent = Event | TranscriptEvent | Known
Numbered = tuple[int, AnyEvent | Failed]
"""An input's number and its event."""


class Sink(Protocol):
    """Takes the results of the inputs."""

    def take(self, number: int, event: AnyEvent) -> None:
        """Write what an event adds to the results."""

    def failed(self, number: int, error: Gemma4Error) -> None:
        """Report that an input has no result."""

    def interrupted(self) -> None:
        """Write the partial results of unfinished inputs."""


class Display(AbstractContextManager[Any], Protocol):
    """Shows the progress of a run while it is entered."""

    def update(self, number: int, event: AnyEvent | LoadProgress | Failed) -> None:
        """Show the progress in an event."""

    def aside(self) -> AbstractContextManager[None]:
        """Hide the progress while something else is written to the terminal."""


def consume(events: Iterator[Numbered], sink: Sink, display: Display) -> list[ExitCode]:
    """Consume events; returns the exit codes of the inputs that failed.

    An interrupt is raised again after the sink has written partial results. However it ends, the
    run that produces the events is closed when this returns.
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
    count: int,
    answer: Callable[[int], Iterator[Event]],
    *,
    keep_going: bool,
    skip: AbstractSet[int] = frozenset(),
) -> Iterator[Numbered]:
    """The events of one input after the other, but those in ``skip``.

    With ``keep_going``, an error ends only its input. A LoadError always ends the run, since it
    would be the same for every input.
    """
    for number in range(count):
        if number in skip:
            continue
        try:
            for event in answer(number):
                yield number, event
        except (LoadError, OutputError):
            raise
        except Exception as error:  # one odd input does not end the others
            if not keep_going:
                raise
            yield number, Failed(unexpected(error))


def exit_if_failed(codes: Sequence[ExitCode], count: int) -> None:
    """Exit if inputs failed: with their code if all ``count`` have the same, else with 5."""
    if codes:
        same = len(codes) >= count and len(set(codes)) == 1
        raise typer.Exit(codes[0] if same else ExitCode.SOME_FAILED)
