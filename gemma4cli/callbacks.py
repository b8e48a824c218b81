"""Functions that a C library calls, and in which Ctrl-C must not raise.

Where PyAV calls back, it drops a KeyboardInterrupt and takes the file to end there.
"""

from __future__ import annotations

from collections.abc import Callable
from types import CodeType, FrameType
from typing import ParamSpec, TypeVar

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")
_CODES: set[CodeType] = set()


def callback(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Mark a function, which a handler of signals finds with ``is_in_callback``."""
    _CODES.add(function.__code__)
    return function


def is_in_callback(frame: FrameType | None) -> bool:
    """Whether a frame runs in a marked function."""
    while frame is not None:
        if frame.f_code in _CODES:
            return True
        frame = frame.f_back
    return False
