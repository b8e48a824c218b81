"""Downloading a model: its size is announced first, then progress is shown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

from ..environment import Environment
from .numbers import size_text
from .progress import ProgressLine

if TYPE_CHECKING:
    from rich.progress import ProgressColumn

    from ...hub.download import Download

_STEPS = 10
"""Progress lines for a whole download if stderr cannot redraw a line."""


def announce(env: Environment, planned: Download) -> None:
    """Write what is downloaded, how much of it, and where to."""
    here = f", {size_text(planned.here)} already downloaded" if planned.here else ""
    env.say(
        f"{planned.repo}: {size_text(planned.size)}{here}; {size_text(planned.missing)} to download"
    )
    env.say(f"into {planned.folder} ({size_text(planned.disk_free)} free)")


def fetch(env: Environment, name: str, *, quiet: bool = False) -> Path:
    """Announce and download a model; returns the folder."""
    from ...hub.download import plan
    from ...hub.names import repo_of

    planned = plan(repo_of(name))
    if not quiet:
        announce(env, planned)
    return run(env, planned, name, quiet=quiet)


def run(env: Environment, planned: Download, name: str, *, quiet: bool) -> Path:
    """Download and show progress; returns the folder."""
    from ...hub.download import fetch as fetch_files

    try:
        with DownloadProgress(env, planned, quiet=quiet) as progress:
            return fetch_files(planned, progress.show)
    except KeyboardInterrupt:
        if not quiet:
            env.say(f"stopped; partial download kept; g4 models pull {name} resumes it")
        raise


class DownloadProgress(ProgressLine):
    """Bytes on one line of a terminal; elsewhere, a new line for each tenth."""

    def __init__(self, env: Environment, planned: Download, *, quiet: bool) -> None:
        super().__init__(env, _columns, quiet=quiet)
        self._size = planned.size
        self._start = planned.here
        self._steps = self._step(planned.here)

    def __enter__(self) -> Self:
        super().__enter__()
        if self.bar is not None:
            self.task = self.bar.add_task("", total=self._size, completed=self._start)
        return self

    def show(self, done: int) -> None:
        """Show that ``done`` bytes are downloaded."""
        if self.bar is not None and self.task is not None:
            self.bar.update(self.task, completed=done)
        elif not self.quiet and self._step(done) > self._steps:
            self._steps = self._step(done)
            self.env.say(f"{size_text(done)} of {size_text(self._size)}")

    def _step(self, done: int) -> int:
        return _STEPS * done // max(1, self._size)


def _columns() -> Sequence[ProgressColumn]:
    from rich.progress import BarColumn, DownloadColumn, TimeRemainingColumn, TransferSpeedColumn

    return BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn()
