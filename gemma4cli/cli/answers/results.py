"""Where whole answers are written: text or JSON lines to a stream, or a file for each input."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TextIO

from ...errors import Gemma4Error
from ...records import Answer, Given, Record, failure_record
from ..escapes import one_line
from ..output.exit_codes import exit_code_of
from ..output.files import replaced_file
from ..output.results import write_json, write_text


class AnswerResults(Protocol):
    """Takes answers about one input after the other."""

    def answer(self, number: int, answer: Answer) -> None:
        """Write a complete answer."""

    def failed(self, number: int, error: Gemma4Error) -> None:
        """Write that there is no answer, where the format has a place for that."""

    def partial(self, number: int, answer: Answer) -> None:
        """Write an answer that an interrupt cut off, where the format can say so."""


def label(name: Given) -> str:
    """The name of an input for people, on one line."""
    return one_line(" ".join(name) if isinstance(name, tuple) else str(name))


class AnswerText:
    """Text to a stream, after the name of its input if there are several.

    An answer of several lines has its name on a line of its own, and blank lines around it.
    ``partials`` says whether answers that were cut off are written, too.
    """

    def __init__(
        self, stream: TextIO, names: Sequence[Given], *, labeled: bool, partials: bool
    ) -> None:
        self._stream = stream
        self._names = names
        self._labeled = labeled
        self._partials = partials
        self._separated = True

    def answer(self, number: int, answer: Answer) -> None:
        self._write(number, answer.text)

    def failed(self, number: int, error: Gemma4Error) -> None:
        """Nothing: people read it on stderr."""

    def partial(self, number: int, answer: Answer) -> None:
        if self._partials:
            self._write(number, f"{answer.text.rstrip()} [interrupted]")

    def _write(self, number: int, text: str) -> None:
        if not self._labeled:
            write_text(self._stream, text)
            return
        name, text = label(self._names[number]), text.rstrip("\n")
        if "\n" not in text:
            write_text(self._stream, f"{name}: {text}")
            self._separated = False
            return
        before = "" if self._separated else "\n"
        write_text(self._stream, f"{before}{name}:\n{text}\n\n")
        self._separated = True


@dataclass(frozen=True, kw_only=True, slots=True)
class AnswerRecords:
    """A JSON object on a line for each input, also for one that failed.

    ``named`` adds to a record what else it says about its input.
    """

    stream: TextIO
    names: Sequence[Given]
    named: Callable[[int, Record], Record]

    def answer(self, number: int, answer: Answer) -> None:
        write_json(self.stream, self.named(number, answer.record))

    def failed(self, number: int, error: Gemma4Error) -> None:
        record = failure_record(self.names[number], error, exit_code_of(error))
        write_json(self.stream, self.named(number, record))

    def partial(self, number: int, answer: Answer) -> None:
        """Only of a clip in segments: those that are done took long."""
        if "segments" in answer.record:
            self.answer(number, answer)


@dataclass(frozen=True, kw_only=True, slots=True)
class AnswerFiles:
    """A file for each input, of the format "txt", "caption" (one line) or "json".

    ``named`` is that of AnswerRecords.
    """

    paths: Callable[[int], Path]
    format: str
    named: Callable[[int, Record], Record]

    def answer(self, number: int, answer: Answer) -> None:
        with replaced_file(self.paths(number)) as file:
            if self.format == "json":
                write_json(file, self.named(number, answer.record))
            elif self.format == "caption":
                write_text(file, " ".join(answer.text.split()))
            else:
                write_text(file, answer.text)

    def failed(self, number: int, error: Gemma4Error) -> None:
        """No file: one of an earlier run stays."""

    def partial(self, number: int, answer: Answer) -> None:
        """No file: it would be taken for a complete answer."""
