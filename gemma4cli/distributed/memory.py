"""Memory that processes of one Linux machine share, for sums without a connection."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from ..native.extension import extension

if TYPE_CHECKING:
    from ..native._native import SharedMemory

_FOLDER = "/dev/shm"
"""Files in memory."""


def shared_memory(
    rank: int, size: int, tell: Callable[[str], str], count: Callable[[bool], int]
) -> SharedMemory | None:
    """Memory of ``size`` processes, in all of them; None if one of them cannot have it.

    ``tell`` gives the first process's text to all, ``count`` says how many of them say yes. All
    processes call this at the same time.
    """
    path = tell(_made(size) if rank == 0 else "")
    memory = None
    native = extension().module
    if native is not None and path:
        with suppress(OSError, RuntimeError, ValueError):
            memory = native.SharedMemory(os.fsencode(path), rank, size)
    all_have_it = count(memory is not None) == size
    if rank == 0 and path:
        os.unlink(path)  # those that have opened it keep it
    return memory if all_have_it else None


def _made(size: int) -> str:
    """The path of a new file; empty if there can be none."""
    native = extension().module
    if native is None:
        return ""
    try:
        descriptor, path = tempfile.mkstemp(prefix="g4-", dir=_FOLDER)
    except OSError:
        return ""
    try:
        # A file without room would end the process when it is written.
        os.posix_fallocate(descriptor, 0, native.SharedMemory.file_size(size))
    except OSError:
        os.unlink(path)
        return ""
    finally:
        os.close(descriptor)
    return path
