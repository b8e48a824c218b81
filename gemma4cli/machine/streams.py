"""What MLX asks of every thread that computes: to end its streams before the thread ends.

Otherwise the process may be aborted at its end, after all of its work.
"""

from __future__ import annotations

import atexit
from functools import cache
from importlib import import_module


def end_streams() -> None:
    """End those of this thread, which computes nothing afterwards.

    What is being computed is waited for first, without Python's lock: see ``release_buffers``.
    """
    mx = import_module("mlx.core")
    mx.eval(mx.array(0) + 1)
    mx.clear_streams()


@cache
def end_streams_at_exit() -> None:
    """End those of the main thread when the program ends."""
    atexit.register(end_streams)
