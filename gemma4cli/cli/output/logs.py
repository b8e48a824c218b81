"""Messages of libraries and warnings, as lines on stderr."""

from __future__ import annotations

import logging
from types import TracebackType

from ..environment import Environment
from ..escapes import block, one_line

_ERASE_LINE = "\r\x1b[2K"
"""Before a message: the line may hold a progress bar, which is drawn again below it."""


def show_logs(env: Environment, *, quiet: bool, debug: bool) -> None:
    """Write warnings to stderr, with ``debug`` all messages, with ``quiet`` only errors.

    Warnings of Python appear with ``debug`` only.
    """
    handler = logging.StreamHandler(env.stderr)
    handler.setFormatter(lines_of_logs(env, debug=debug))
    level = logging.DEBUG if debug else logging.ERROR if quiet else logging.WARNING
    logging.basicConfig(level=level, handlers=[handler])
    logging.captureWarnings(True)
    if not debug:  # for those who write programs: "Image was not the expected size", in two lines
        logging.getLogger("py.warnings").setLevel(logging.ERROR)


def lines_of_logs(env: Environment, *, debug: bool) -> logging.Formatter:
    """How messages are written; with ``debug``, after the names of their loggers."""
    message = "%(name)s: %(message)s" if debug else "%(message)s"
    return _Lines(message, before=_ERASE_LINE if env.is_animated(env.stderr) else "")


_ExceptionInfo = (
    tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]
)


class _Lines(logging.Formatter):
    """A line for each message, after ``before``; what is not visible in it is escaped."""

    def __init__(self, message: str, *, before: str) -> None:
        super().__init__(message)
        self._before = before

    def formatMessage(self, record: logging.LogRecord) -> str:
        text = super().formatMessage(record)
        return self._before + one_line(" ".join(text.splitlines()))

    def formatException(self, ei: _ExceptionInfo) -> str:
        return block(super().formatException(ei))

    def formatStack(self, stack_info: str) -> str:
        return block(super().formatStack(stack_info))
