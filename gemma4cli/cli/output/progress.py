"""How far a run has come, on one line of a terminal that goes again."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Self

from .terminal import is_animated, say

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn, TaskID


class ProgressLine:
    """The line, which makes room for what is printed; none with ``quiet`` or without a terminal.

    ``columns`` gives its parts where it is shown.
    """

    def __init__(self, columns: Callable[[], Sequence[ProgressColumn]], *, quiet: bool) -> None:
        self.quiet = quiet
        self.bar: Progress | None = None
        self.task: TaskID | None = None
        self._columns = columns

    def __enter__(self) -> Self:
        if is_animated(sys.stderr) and not self.quiet:
            from rich.console import Console
            from rich.progress import Progress

            self.bar = Progress(
                *self._columns(),
                console=Console(stderr=True, highlight=False, markup=False),
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self.bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.bar is not None:
            self.bar.stop()

    @contextmanager
    def aside(self) -> Iterator[None]:
        """The line is gone while something else is printed."""
        if self.bar is None:
            yield
            return
        self.bar.stop()
        try:
            yield
        finally:
            self.bar.start()

    def notice(self, text: str) -> None:
        """One line that stays."""
        if not self.quiet:
            with self.aside():
                say(text)
