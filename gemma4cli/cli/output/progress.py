"""Progress of a run, on one line of a terminal that is erased at the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Self

from ...events import (
    DecodeProgress,
    EncodeProgress,
    LoadProgress,
    PrefillProgress,
    ThoughtDelta,
)
from ..environment import Environment
from ..escapes import one_line
from .consume import AnyEvent, Failed
from .numbers import size_text

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.progress import Progress, ProgressColumn, TaskID
    from rich.status import Status
    from rich.text import Text


class Spinner:
    """What a single answer is waiting for; with ``hides_thoughts``, also that the model thinks."""

    def __init__(self, env: Environment, *, quiet: bool, hides_thoughts: bool = False) -> None:
        self.is_shown = env.is_animated(env.stderr) and not quiet
        self._env = env
        self._hides_thoughts = hides_thoughts
        self._status: Status | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop()

    def update(self, number: int, event: AnyEvent | LoadProgress | Failed) -> None:
        match event:
            case LoadProgress(model=model, done=done, total=total):
                self._show(f"loading {model}", done, total)
            case DecodeProgress(source=source):
                self._show(f"reading {source}")
            case EncodeProgress(done=done, total=total):
                self._show(f"encoding media {done}/{total}")
            case PrefillProgress(done=done, total=total):
                self._show(f"reading the prompt {done}/{total}")
            case ThoughtDelta() if self._hides_thoughts:
                self._show("thinking")

    @contextmanager
    def aside(self) -> Iterator[None]:
        self._stop()
        yield

    def _show(self, text: str, done: int = 0, total: int = 0) -> None:
        """Show ``text``, with a bar for ``done`` of ``total`` bytes if there are any."""
        if not self.is_shown:
            return
        if self._status is None:
            from rich.console import Console

            console = Console(
                file=self._env.stderr, highlight=False, markup=False, force_terminal=True
            )
            self._status = console.status("")
            self._status.start()
        from rich.text import Text

        line = Text(one_line(text), no_wrap=True, overflow="ellipsis")
        self._status.update(_with_bar(line, done, total) if total else line)

    def _stop(self) -> None:
        if self._status is not None:
            self._status.stop()
            self._status = None


def _with_bar(line: Text, done: int, total: int) -> RenderableType:
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    row = Table.grid(padding=(0, 1))
    sizes = Text(f"{size_text(done)} of {size_text(total)}", no_wrap=True)
    row.add_row(line, ProgressBar(total=total, completed=done, width=16), sizes)
    return row


LOG_SECONDS = 300.0
"""Between two lines about the progress in a log, where there is no terminal."""


class ProgressLine:
    """A line with a bar; not shown with ``quiet`` or without a terminal.

    ``columns`` makes its columns when it is shown, so that Rich is imported only then.
    """

    def __init__(
        self, env: Environment, columns: Callable[[], Sequence[ProgressColumn]], *, quiet: bool
    ) -> None:
        self.env = env
        self.quiet = quiet
        self.bar: Progress | None = None
        self.task: TaskID | None = None
        self._columns = columns
        self._logged = time.monotonic()

    def __enter__(self) -> Self:
        if self.env.is_animated(self.env.stderr) and not self.quiet:
            from rich.console import Console
            from rich.progress import Progress

            self.bar = Progress(
                *self._columns(),
                console=Console(
                    file=self.env.stderr, highlight=False, markup=False, force_terminal=True
                ),
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self.bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self.bar is not None:
            self.bar.stop()

    @contextmanager
    def aside(self) -> Iterator[None]:
        if self.bar is None:
            yield
            return
        self.bar.stop()
        try:
            yield
        finally:
            self.bar.start()

    def log(self, text: Callable[[], str]) -> None:
        """Write a line every few minutes where nobody sees a bar, as in a scheduler's log."""
        now = time.monotonic()
        if self.bar is None and now - self._logged >= LOG_SECONDS:
            self._logged = now
            self.notice(text())

    def notice(self, text: str) -> None:
        """Write one line that is not erased."""
        if not self.quiet:
            with self.aside():
                self.env.say(one_line(text))
