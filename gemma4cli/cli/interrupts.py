"""What Ctrl-C does: end the process at once, or raise KeyboardInterrupt in a command.

Nothing is changed where the process was started with Ctrl-C ignored, as in a background job.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_SOON = 0.005
"""Seconds after which an interrupt in a callback is tried again."""

STATUS = 130
"""The exit status of an interrupted program."""


def leave_at_once() -> None:
    """From now on, Ctrl-C ends the process without a word."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _leave)


@contextmanager
def raised() -> Iterator[None]:
    """Within this, Ctrl-C raises KeyboardInterrupt, though not in a callback: after it."""
    leaves = signal.getsignal(signal.SIGINT) is _leave
    if leaves:
        signal.signal(signal.SIGINT, _raising())
    try:
        yield
    finally:
        if leaves:
            signal.signal(signal.SIGINT, _leave)


def _raising() -> Callable[[int, FrameType | None], None]:
    """A handler that raises KeyboardInterrupt, as soon as no callback would lose it."""
    # Not at the start of the program, which these would delay.
    import threading

    from ..callbacks import is_in_callback

    def interrupt(number: int, frame: FrameType | None) -> None:
        if not is_in_callback(frame):
            raise KeyboardInterrupt
        # To this thread, which handles signals: one that goes to another does not end its waiting.
        again = threading.Timer(_SOON, signal.pthread_kill, [threading.get_ident(), number])
        again.daemon = True
        again.start()

    return interrupt


def _leave(number: int, frame: FrameType | None) -> None:
    os._exit(STATUS)
