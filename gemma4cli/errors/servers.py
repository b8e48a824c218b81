"""A server cannot be asked, or does not answer a prompt."""

from __future__ import annotations

from .base import Gemma4Error
from .models import LoadError


class ServerError(LoadError):
    """The server that has the model cannot be used; ``server`` is its address."""

    def __init__(self, server: str, problem: str) -> None:
        self.server = server
        self.problem = problem
        super().__init__(f"{server}: {problem}")


class QueueFullError(Gemma4Error):
    """A server has as many prompts to answer as it takes at once.

    ``retry_after`` is in how many seconds there may be room.
    """

    def __init__(self, waiting: int, retry_after: float = 1.0) -> None:
        self.waiting = waiting
        self.retry_after = retry_after
        super().__init__(f"{waiting} prompts wait for an answer already: try again later")


class ClosingError(Gemma4Error):
    """A server is closing: it takes no more prompts, and ends answers that take too long."""

    def __init__(self) -> None:
        super().__init__("the server is closing: try again later")


class RemoteError(Gemma4Error):
    """A server cannot answer this; its error, if it has one, is none of g4's."""

    def __init__(self, problem: str) -> None:
        self.problem = problem
        super().__init__(problem)
