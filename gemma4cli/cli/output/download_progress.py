"""Fetching a model: what it takes is said first, then how far it has come."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

from ... import api
from .numbers import size_text
from .progress import ProgressLine
from .terminal import say

if TYPE_CHECKING:
    from rich.progress import ProgressColumn

    from ...hub.download import Download

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


class DownloadProgress(ProgressLine):
    """Bytes on one line of a terminal; elsewhere a line now and then."""

    def __init__(self, planned: Download, *, quiet: bool) -> None:
        super().__init__(_columns, quiet=quiet)
        self._size = planned.size
        self._begun = planned.here
        self._steps = self._step(planned.here)

    def __enter__(self) -> Self:
        super().__enter__()
        if self.bar is not None:
            self.task = self.bar.add_task("", total=self._size, completed=self._begun)
        return self

    def show(self, done: int) -> None:
        """``done`` bytes are there."""
        if self.bar is not None and self.task is not None:
            self.bar.update(self.task, completed=done)
        elif not self.quiet and self._step(done) > self._steps:
            self._steps = self._step(done)
            say(f"{size_text(done)} of {size_text(self._size)}")

    def _step(self, done: int) -> int:
        return _STEPS * done // max(1, self._size)


def _columns() -> Sequence[ProgressColumn]:
    from rich.progress import BarColumn, DownloadColumn, TimeRemainingColumn, TransferSpeedColumn

    return BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn()
