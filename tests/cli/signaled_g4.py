"""g4 as a process that stays at one moment until a signal comes: ``signaled_g4.py MOMENT ARG...``.

start     nothing is imported but what handles signals
loading   the model is loaded again and again
decoding  answers have no end, and a step takes a while
writing   a result is put on disk again and again

A byte on standard output says that the moment has come.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

_PAUSE = 0.01
_PREFILLS = 3
"""Calls of the network before the first step of decoding, at the most."""


def announce() -> None:
    os.write(1, b"!")


def again_and_again(place: Any, name: str) -> None:
    """Repeat the first call of a function; what cleans up may call it, too."""
    plain = getattr(place, name)

    def repeated(*args: Any, **options: Any) -> None:
        setattr(place, name, plain)
        announce()
        while True:
            plain(*args, **options)
            time.sleep(_PAUSE)

    setattr(place, name, repeated)


def at_start() -> None:
    from gemma4cli import __main__ as program
    from gemma4cli import interrupts

    plain = interrupts.leave_at_once

    def handled() -> None:
        interrupts.leave_at_once = plain
        plain()
        announce()

    interrupts.leave_at_once = handled
    program.main()


def at_loading() -> None:
    from gemma4cli import api

    again_and_again(api, "load")


def at_decoding() -> None:
    from gemma4cli.engine import generate
    from gemma4cli.models.language import TextModel

    plain: Callable[..., Any] = TextModel.__call__
    calls = iter(range(sys.maxsize))

    def slow(*args: Any) -> Any:
        number = next(calls)
        if number == _PREFILLS:
            announce()
        if number >= _PREFILLS:
            time.sleep(_PAUSE)
        return plain(*args)

    TextModel.__call__ = slow  # type: ignore[method-assign]
    generate.is_repeating = lambda ids: False


def at_writing() -> None:
    again_and_again(os, "fsync")


moment, *sys.argv[1:] = sys.argv[1:]
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    # As at a terminal, whatever ran the tests: a background job ignores Ctrl-C.
    signal.signal(number, signal.SIG_DFL)
sys.argv[0] = "g4"
{"start": at_start, "loading": at_loading, "decoding": at_decoding, "writing": at_writing}[moment]()
from gemma4cli.__main__ import main  # noqa: E402

main()
