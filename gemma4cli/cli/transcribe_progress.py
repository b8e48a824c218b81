"""How far a transcription has come, on a terminal: audio time, speed, time left."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Self

from ..transcript import PieceDone, RecordingFailed, RecordingFinished, RecordingOpened
from .terminal import is_animated, printable, say

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from ..media.microphone import AudioSource


class TranscribeProgress:
    """One line for the recording that is being heard; it makes room for what is printed."""

    def __init__(
        self, names: Sequence[str], *, quiet: bool, source: AudioSource | None = None
    ) -> None:
        self._names = names
        self._quiet = quiet
        self._source = source
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._total: float | None = None
        self._begun = 0.0
        self._from = 0.0

    def __enter__(self) -> Self:
        if is_animated(sys.stderr) and not self._quiet:
            self._bar = _bar() if self._source is None else _meter(self._source)
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    @contextmanager
    def aside(self) -> Iterator[None]:
        """The line is gone while something else is printed."""
        if self._bar is None:
            yield
            return
        self._bar.stop()
        try:
            yield
        finally:
            self._bar.start()

    def notice(self, text: str) -> None:
        """One line that stays."""
        if not self._quiet:
            with self.aside():
                say(text)

    def opened(self, event: RecordingOpened) -> None:
        name = self._names[event.recording]
        if event.resumed:
            self.notice(f"{name}: goes on from {clock(event.resumed)}")
        self._begun, self._from, self._total = time.monotonic(), event.resumed, event.seconds
        if self._source is not None:
            self.notice("listening; Ctrl-C ends")
        if self._bar is not None:
            count = f" ({event.recording + 1}/{len(self._names)})" if len(self._names) > 1 else ""
            self._task = self._bar.add_task(
                printable(name, sys.stderr) + count,
                total=event.seconds,
                audio=_audio(event.resumed, event.seconds),
                speed="",
            )
            self._bar.update(self._task, completed=event.resumed)

    def done(self, event: PieceDone) -> None:
        if self._bar is None or self._task is None:
            return
        passed = time.monotonic() - self._begun
        heard = event.position - self._from
        self._bar.update(
            self._task,
            completed=event.position,
            audio=_audio(event.position, self._total),
            speed=f"{heard / passed:.1f}x" if passed > 0 and heard > 0 else "",
        )

    def ended(self, event: RecordingFinished | RecordingFailed) -> None:
        if self._bar is not None and self._task is not None:
            self._bar.remove_task(self._task)
            self._task = None
        if isinstance(event, RecordingFinished):
            name = self._names[event.recording]
            if not event.pieces:
                self.notice(f"{name}: no speech in {clock(event.seconds)}")
            elif event.pieces > 1:
                self.notice(f"{name}: {event.pieces} pieces in {clock(event.seconds)}")


def _bar() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
    from rich.table import Column

    # Not as wide as the terminal: the "^C" that it shows would begin a new line, which stayed.
    return Progress(
        TextColumn(
            "{task.description}",
            markup=False,
            table_column=Column(no_wrap=True, overflow="ellipsis", max_width=32),
        ),
        BarColumn(bar_width=16),
        TextColumn("{task.fields[audio]}"),
        TextColumn("{task.fields[speed]}"),
        TimeRemainingColumn(),
        console=Console(stderr=True, highlight=False, markup=False),
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    )


def _meter(source: AudioSource) -> Progress:
    """How loud it is, looked at several times a second."""
    from rich.console import Console
    from rich.progress import Progress, ProgressColumn, Task, TextColumn, TimeElapsedColumn
    from rich.text import Text

    class Meter(ProgressColumn):
        max_refresh = 0.1

        def render(self, task: Task) -> Text:
            return Text(level_bar(source.level.peak))

    return Progress(
        TextColumn("{task.description}", markup=False),
        TimeElapsedColumn(),
        Meter(),
        console=Console(stderr=True, highlight=False, markup=False),
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    )


def level_bar(decibels: float, width: int = 24) -> str:
    """A level from -60 to 0 dB below full scale as a bar with its number."""
    filled = round(width * min(1.0, max(0.0, 1 + decibels / 60)))
    number = f"{decibels:4.0f} dB" if decibels > -100 else "  silent"
    return (
        "\N{BLACK VERTICAL RECTANGLE}" * filled
        + "\N{WHITE VERTICAL RECTANGLE}" * (width - filled)
        + number
    )


def _audio(position: float, total: float | None) -> str:
    return clock(position) if total is None else f"{clock(position)}/{clock(total)}"


def clock(seconds: float) -> str:
    """ "1:02:03", or "2:03" below an hour."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
