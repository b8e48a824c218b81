"""What g4 writes cannot be written or kept."""

from __future__ import annotations

from pathlib import Path

from .base import Gemma4Error


class JournalError(Gemma4Error):
    """Finished pieces of a transcript cannot be kept."""

    def __init__(self, path: Path, problem: str) -> None:
        self.path = path
        self.problem = problem
        super().__init__(f"{path}: progress cannot be kept ({problem})")


class SavedConversationError(Gemma4Error):
    """A saved conversation cannot be kept, is not there, or is in use."""

    def __init__(self, name: str, problem: str) -> None:
        self.name = name
        self.problem = problem
        super().__init__(f"conversation {name}: {problem}")


class OutputError(Gemma4Error):
    """A result cannot be written. ``kept`` says what has become of the file there before.

    ``others_may`` says that it is about this name, and results of other names may be written.
    """

    def __init__(
        self, path: Path, problem: str, kept: str = "", *, others_may: bool = False
    ) -> None:
        self.path = path
        self.problem = problem
        self.others_may = others_may
        super().__init__(f"{path}: cannot be written ({problem}){'; ' if kept else ''}{kept}")
