"""What Ctrl-C does: end the process at once, or raise KeyboardInterrupt in a command.

Nothing is changed where the process was started with Ctrl-C ignored, as in a background job.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

STATUS = 130
"""The exit status of an interrupted program."""


def leave_at_once() -> None:
    """From now on, Ctrl-C ends the process without a word."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _leave)


@contextmanager
def raised() -> Iterator[None]:
    """Within this, Ctrl-C raises KeyboardInterrupt, as Python has it by default."""
    leaves = signal.getsignal(signal.SIGINT) is _leave
    if leaves:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        if leaves:
            signal.signal(signal.SIGINT, _leave)


def _leave(number: int, frame: FrameType | None) -> None:
    os._exit(STATUS)
