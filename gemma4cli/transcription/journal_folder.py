"""The journals of one run, and the job that each of them belongs to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Self

from .._version import __version__
from ..errors import JournalError
from ..journal import file_facts, remove_stale
from ..journal_file import journal_name
from ..options import GenerateOptions, TranscribeOptions
from .cut import Limits
from .journal import Journal

if TYPE_CHECKING:
    from ..engine.answering import AnsweringModel


class JournalFolder:
    """Opens a journal for each file of a run, for use in a ``with`` statement.

    ``run`` is everything that a transcript depends on except the file itself (see ``run_facts``).
    Leaving the ``with`` statement closes the journals but keeps them; ``forget`` removes them.
    Stale journals of other runs are removed at the start. ``restart`` discards what earlier runs
    finished.
    """

    def __init__(self, folder: Path, run: Mapping[str, object], *, restart: bool = False) -> None:
        self._folder = folder
        self._run = run
        self._restart = restart
        self._opened: dict[Path, Journal] = {}
        remove_stale(folder)

    def open(self, file: Path) -> Journal | None:
        """The locked journal of a file, None while this run hears the same file by another name.

        Raises JournalError if it cannot be written or another process has it open.
        """
        try:
            job = {**self._run, **file_facts(file)}
        except OSError as exc:
            raise JournalError(file, exc.strerror or str(exc)) from exc
        path = self._folder / journal_name(job)
        earlier = self._opened.get(path)
        if earlier is not None and not earlier.closed:
            return None
        journal = Journal(self._folder, job, restart=self._restart and earlier is None)
        self._opened[path] = journal
        return journal

    def forget(self) -> None:
        """Remove the journals: all results are delivered."""
        for journal in self._opened.values():
            journal.forget()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        for journal in self._opened.values():
            journal.close()


def run_facts(
    model: AnsweringModel, limits: Limits, options: TranscribeOptions, generate: GenerateOptions
) -> Mapping[str, object]:
    """Everything that the texts of a run depend on except its files.

    The batch size is left out: the text does not depend on it.
    """
    return {
        "g4": __version__,
        **model.identity,
        "limits": asdict(limits),
        "options": asdict(options) | {"batch": None},
        "generate": generate.facts,
    }
