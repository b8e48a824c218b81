"""What Ctrl-C, SIGTERM and SIGHUP do: end the process at once, or raise in a command.

Nothing is changed for a signal that the process was started with ignored: Ctrl-C in a background
job, SIGHUP under nohup.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from .pending_signals import PendingSignals

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_RAISING: list[PendingSignals] = []
"""What raises them in the command that runs, if one does."""

_STOPPED: list[int] = []
"""What has ended the command, which decides on the exit status."""

STATUS = 128
"""The exit status of a program that a signal ended, without the signal's number."""


class Ended(KeyboardInterrupt):
    """SIGTERM or SIGHUP; unlike Ctrl-C, it ends a conversation, too."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


def status_of(stop: BaseException) -> int:
    """The exit status after an interrupt."""
    return STATUS + (stop.number if isinstance(stop, Ended) else signal.SIGINT)


def leave_at_once() -> None:
    """From now on, the signals end the process without a word."""
    _handle(_leave)


def ignore() -> None:
    """From now on, the signals do nothing."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def raised() -> Iterator[None]:
    """Within this, Ctrl-C raises KeyboardInterrupt and the others Ended.

    Not where Python would drop it: after it. While what a signal has ended cleans up, the next
    ones wait; at the end they are forgotten.
    """
    if all(signal.getsignal(number) is not _leave for number in _SIGNALS):
        yield
        return
    # Not at the start of the program, which this would delay.
    from .pending_signals import PendingSignals

    unraisable = sys.unraisablehook
    pending = PendingSignals(_stop)

    def again(dropped: Any) -> None:
        if isinstance(dropped.exc_value, KeyboardInterrupt):
            pending.add(status_of(dropped.exc_value) - STATUS)
        else:
            unraisable(dropped)

    sys.unraisablehook = again
    _RAISING.append(pending)
    _handle(pending.handle)
    try:
        yield
    finally:
        _handle(_leave)
        _RAISING.remove(pending)
        sys.unraisablehook = unraisable
        pending.close()


def answered() -> None:
    """Say that an interrupt has done what it is for, and that the command continues.

    Raises Ended if another signal has come meanwhile.
    """
    _STOPPED.clear()
    for pending in _RAISING:
        pending.answered()


@contextmanager
def lent() -> Iterator[None]:
    """Within this, asyncio may take the descriptor by which signals are noticed."""
    try:
        yield
    finally:
        for pending in _RAISING:
            pending.watch()


def _stop(number: int) -> NoReturn:
    _STOPPED.append(number)
    raise KeyboardInterrupt if number == signal.SIGINT else Ended(number)


def _handle(handler: Callable[[int, FrameType | None], None]) -> None:
    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handler)


def _leave(number: int, frame: FrameType | None) -> None:
    os._exit(STATUS + (_STOPPED or [number])[0])
