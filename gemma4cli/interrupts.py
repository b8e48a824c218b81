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
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from threading import Event

_SOON = 0.005
"""Seconds after which a signal at a bad moment is tried again."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_SENDING: list[Event] = []
"""Signals that are sent again; each is set when its signal is handled."""

_IMPORTING = "<frozen importlib._bootstrap>"

STATUS = 128
"""The exit status of a program that a signal ended, without the signal's number."""


class Ended(KeyboardInterrupt):
    """SIGTERM or SIGHUP; unlike Ctrl-C, it ends a conversation, too."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


def status_of(stop: KeyboardInterrupt) -> int:
    """The exit status after an interrupt."""
    return STATUS + (stop.number if isinstance(stop, Ended) else signal.SIGINT)


def leave_at_once() -> None:
    """From now on, the signals end the process without a word."""
    _handle(_leave)


@contextmanager
def raised() -> Iterator[None]:
    """Within this, Ctrl-C raises KeyboardInterrupt and the others Ended.

    Not in a callback, in an import, or where Python would drop it: after it.
    """
    if all(signal.getsignal(number) is not _leave for number in _SIGNALS):
        yield
        return
    unraisable = sys.unraisablehook
    raising = _raising()

    def again(dropped: Any) -> None:
        if isinstance(dropped.exc_value, KeyboardInterrupt):
            _again(status_of(dropped.exc_value) - STATUS)
        else:
            unraisable(dropped)

    sys.unraisablehook = again
    _handle(raising)
    try:
        yield
    finally:
        _handle(_leave)
        sys.unraisablehook = unraisable


def _handle(handler: Callable[[int, FrameType | None], None]) -> None:
    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handler)


def _raising() -> Callable[[int, FrameType | None], None]:
    """A handler that raises, as soon as nothing would lose it."""
    # Not at the start of the program, which this would delay.
    from .callbacks import is_in_callback

    def interrupt(number: int, frame: FrameType | None) -> None:
        while _SENDING:
            _SENDING.pop().set()
        if is_in_callback(frame) or _is_importing(frame):
            _again(number)
        elif number == signal.SIGINT:
            raise KeyboardInterrupt
        else:
            raise Ended(number)

    return interrupt


def _again(number: int) -> None:
    """Send the signal to this thread until it is handled there.

    Once is not enough: it may come just before the thread waits for input.
    """
    import threading

    main, handled = threading.get_ident(), threading.Event()

    def send() -> None:
        while not handled.wait(_SOON):
            signal.pthread_kill(main, number)

    _SENDING.append(handled)
    threading.Thread(target=send, daemon=True).start()


def _is_importing(frame: FrameType | None) -> bool:
    """Whether a module would be left half imported, which what cleans up may need."""
    while frame is not None:
        if frame.f_code.co_filename == _IMPORTING:
            return True
        frame = frame.f_back
    return False


def _leave(number: int, frame: FrameType | None) -> None:
    os._exit(STATUS + number)
