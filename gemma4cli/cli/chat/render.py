"""Answers of a conversation: Markdown where a terminal shows it, plain text everywhere else.

Rich, which lays out Markdown, is imported only then.
"""

from __future__ import annotations

import os
import sys
import termios
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from ...events import Event, Finished
from ..output.render import Renderer
from ..output.terminal import has_colour, printable

if TYPE_CHECKING:
    from ...markdown.stream import MarkdownStream
    from ..output.pictures import Pictures

_FALLBACK = (80, 24)


def size_of(stream: TextIO) -> tuple[int, int]:
    """Columns and rows, at present, of the terminal that ``stream`` goes to."""
    try:
        columns, rows = os.get_terminal_size(stream.fileno())
    except (OSError, ValueError):
        return _FALLBACK
    return (columns, rows) if columns and rows else _FALLBACK


def markdown_for(stream: TextIO) -> MarkdownStream:
    """Markdown in the width of the terminal that ``stream`` goes to."""
    from ...markdown.stream import MarkdownStream, Size

    def size() -> Size:
        columns, rows = size_of(stream)
        return Size(columns=columns, rows=rows)

    return MarkdownStream(size)


class AnswerRenderer(Renderer):
    """Shows one answer. ``hide_thoughts`` leaves a spinner in their place."""

    def __init__(
        self,
        answer: TextIO,
        *,
        quiet: bool,
        hide_thoughts: bool = False,
        pictures: Pictures | None = None,
    ) -> None:
        super().__init__(answer, quiet=quiet, pictures=pictures)
        self._stream = answer
        self._hide_thoughts = hide_thoughts
        self._separates = False
        self._markdown = markdown_for(answer) if has_colour(answer) else None

    def end_line(self) -> None:
        """Show what is held back of the answer, and end its line."""
        if self._markdown is not None:
            self._write(self._markdown.finish())
            self._last = "\n"
        super().end_line()

    def _text(self, text: str) -> None:
        if self._separates and not self._hide_thoughts:
            # Thoughts and answer are told apart where there is no colour, too.
            self._end_thought()
            sys.stderr.write("\n")
            sys.stderr.flush()
        self._separates = False
        if self._markdown is None:
            super()._text(text)
            return
        self._end_thought()
        self._stop_status()
        self._write(self._markdown.feed(printable(text, self._stream)))

    def _thought(self, text: str) -> None:
        if self._hide_thoughts:
            self._progress("thinking")
            return
        self._separates = self._stream.isatty() and not self._quiet
        super()._thought(text)

    def _write(self, text: str) -> None:
        if text:
            self._stream.write(text)
            self._stream.flush()


def show_answer(renderer: Renderer, events: Iterator[Event]) -> Finished | None:
    """Show events to their end. Whatever ends them, the run is cancelled when this returns."""
    finished = None
    try:
        for event in events:
            renderer.show(event)
            if isinstance(event, Finished):
                finished = event
    finally:
        if isinstance(events, Generator):
            events.close()
    return finished


@contextmanager
def unechoed(stream: TextIO) -> Iterator[None]:
    """What is typed meanwhile is not shown between the lines of an answer."""
    if not stream.isatty():
        yield
        return
    before = termios.tcgetattr(stream)
    silent = termios.tcgetattr(stream)
    silent[3] &= ~termios.ECHO
    termios.tcsetattr(stream, termios.TCSADRAIN, silent)
    try:
        yield
    finally:
        termios.tcsetattr(stream, termios.TCSADRAIN, before)
