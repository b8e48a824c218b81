"""Progress of a transcription on a terminal: audio time, speed, time left."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from ...events import LoadProgress
from ...times import clock
from ...transcript import PieceDone, RecordingFinished, RecordingOpened
from ..environment import Environment
from ..escapes import one_line
from ..output.consume import AnyEvent, Failed
from ..output.progress import ProgressLine

if TYPE_CHECKING:
    from rich.progress import ProgressColumn

    from ...media.sound.microphone import AudioSource


class TranscribeProgress(ProgressLine):
    """One line for the current recording; it moves down when text is printed."""

    def __init__(
        self,
        env: Environment,
        names: Sequence[str],
        *,
        quiet: bool,
        source: AudioSource | None = None,
    ) -> None:
        columns = _columns if source is None else partial(_meter, source)
        super().__init__(env, columns, quiet=quiet)
        self._names = names
        self._source = source
        self._total: float | None = None
        self._started = 0.0
        self._resumed = 0.0

    def update(self, number: int, event: AnyEvent | LoadProgress | Failed) -> None:
        match event:
            case RecordingOpened():
                self._opened(event)
            case PieceDone():
                self._piece_done(event)
            case RecordingFinished():
                self._ended()
                self._summarize(event)
            case Failed():
                self._ended()

    def _opened(self, event: RecordingOpened) -> None:
        name = self._names[event.recording]
        if event.resumed:
            self.notice(f"{name}: resumes at {clock(event.resumed)}")
        self._started, self._resumed = time.monotonic(), event.resumed
        self._total = event.seconds
        if self._source is not None:
            self.notice("recording; Ctrl-C stops")
        if self.bar is not None:
            count = f" ({event.recording + 1}/{len(self._names)})" if len(self._names) > 1 else ""
            self.task = self.bar.add_task(
                one_line(name) + count,
                total=event.seconds,
                audio=_audio(event.resumed, event.seconds),
                speed="",
            )
            self.bar.update(self.task, completed=event.resumed)

    def _piece_done(self, event: PieceDone) -> None:
        if self._source is None:
            name, at = self._names[event.recording], _audio(event.position, self._total)
            count = f"recording {event.recording + 1:,} of {len(self._names):,}"
            self.log(lambda: f"{name}: at {at}, {count}")
        if self.bar is None or self.task is None:
            return
        elapsed = time.monotonic() - self._started
        transcribed = event.position - self._resumed
        self.bar.update(
            self.task,
            completed=event.position,
            audio=_audio(event.position, self._total),
            speed=f"{transcribed / elapsed:.1f}x" if elapsed > 0 and transcribed > 0 else "",
        )

    def _ended(self) -> None:
        if self.bar is not None and self.task is not None:
            self.bar.remove_task(self.task)
            self.task = None

    def _summarize(self, event: RecordingFinished) -> None:
        name = self._names[event.recording]
        if not event.pieces:
            self.notice(f"{name}: no speech in {clock(event.seconds)}")
        elif event.pieces > 1:
            self.notice(f"{name}: {event.pieces} pieces in {clock(event.seconds)}")


def _columns() -> Sequence[ProgressColumn]:
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
    from rich.table import Column

    # Narrower than the terminal: otherwise the "^C" that it echoes would wrap onto a second line,
    # which is not erased.
    return (
        TextColumn(
            "{task.description}",
            markup=False,
            table_column=Column(no_wrap=True, overflow="ellipsis", max_width=32),
        ),
        BarColumn(bar_width=16),
        TextColumn("{task.fields[audio]}"),
        TextColumn("{task.fields[speed]}"),
        TimeRemainingColumn(),
    )


def _meter(source: AudioSource) -> Sequence[ProgressColumn]:
    """Columns with a level meter that is updated several times a second."""
    from rich.progress import ProgressColumn, Task, TextColumn, TimeElapsedColumn
    from rich.text import Text

    class Meter(ProgressColumn):
        max_refresh = 0.1

        def render(self, task: Task) -> Text:
            return Text(level_bar(source.level.peak))

    return TextColumn("{task.description}", markup=False), TimeElapsedColumn(), Meter()


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
