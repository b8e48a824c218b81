"""g4's exit statuses, and the one for each error."""

from __future__ import annotations

from enum import IntEnum

from ...errors import (
    ContextLengthError,
    ConversationError,
    FunctionsError,
    Gemma4Error,
    LoadError,
    MediaError,
    OptionError,
    ProcessLostError,
    TuningDataError,
    UnsupportedModalityError,
)


class ExitCode(IntEnum):
    DONE = 0
    FAILED = 1
    USAGE = 2
    INPUT = 3
    MODEL = 4
    SOME_FAILED = 5
    HUNG_UP = 129
    INTERRUPTED = 130
    TERMINATED = 143


_CODES: tuple[tuple[type[Gemma4Error], ExitCode], ...] = (
    (OptionError, ExitCode.USAGE),
    (MediaError, ExitCode.INPUT),
    (ConversationError, ExitCode.INPUT),
    (FunctionsError, ExitCode.INPUT),
    (TuningDataError, ExitCode.INPUT),
    (ContextLengthError, ExitCode.INPUT),
    (UnsupportedModalityError, ExitCode.MODEL),
    (LoadError, ExitCode.MODEL),
    (Gemma4Error, ExitCode.FAILED),
)
"""The first class that matches decides; the last one matches every error."""


def exit_code_of(error: Gemma4Error) -> ExitCode:
    """The exit status of the program for an error; of another process, that one's."""
    if isinstance(error, ProcessLostError) and error.status in set(ExitCode):
        return ExitCode(error.status)
    return next(code for kind, code in _CODES if isinstance(error, kind))
