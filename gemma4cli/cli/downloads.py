"""Fetching a model: what it takes is said first, then how far it has come."""

from __future__ import annotations

import sys
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from .. import api
from .sizes import size_text
from .terminal import is_animated, say

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from ..engine.download import Download

_STEPS = 10
"""Lines that tell the whole of a download where nothing can be redrawn."""


def announce(planned: Download) -> None:
    """Say what is fetched, how much of it, and where to."""
    here = f", {size_text(planned.here)} of it here already" if planned.here else ""
    say(
        f"{planned.repo}: {size_text(planned.size)}{here}; {size_text(planned.missing)} to download"
    )
    say(f"into {planned.folder} ({size_text(planned.disk_free)} free)")


def fetch(name: str, *, quiet: bool = False) -> Path:
    """Fetch what was agreed to; returns the folder."""
    planned = api.plan_download(name)
    if not quiet:
        announce(planned)
    return run(planned, name, quiet=quiet)


def run(planned: Download, name: str, *, quiet: bool) -> Path:
    """Fetch, and show how far it has come."""
    try:
        with DownloadProgress(planned, quiet=quiet) as progress:
            return api.download(planned, progress.show)
    except KeyboardInterrupt:
        if not quiet:
            say(f"stopped; what has come is kept, and g4 models pull {name} goes on from there")
        raise


class DownloadProgress:
    """Bytes on one line of a terminal; elsewhere a line now and then."""

    def __init__(self, planned: Download, *, quiet: bool) -> None:
        self._size = planned.size
        self._begun = planned.here
        self._quiet = quiet
        self._steps = self._step(planned.here)
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        if is_animated(sys.stderr) and not self._quiet:
            self._bar = _bar()
            self._task = self._bar.add_task("", total=self._size, completed=self._begun)
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

    def show(self, done: int) -> None:
        """``done`` bytes are there."""
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done)
        elif not self._quiet and self._step(done) > self._steps:
            self._steps = self._step(done)
            say(f"{size_text(done)} of {size_text(self._size)}")

    def _step(self, done: int) -> int:
        return _STEPS * done // max(1, self._size)


def _bar() -> Progress:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    return Progress(
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True, highlight=False, markup=False),
        transient=True,
    )
