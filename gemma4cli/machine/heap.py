"""What glibc is asked about the memory that it manages; other C libraries are left alone."""

from __future__ import annotations

from contextlib import suppress

_M_ARENA_MAX = -8
"""The option of mallopt for the number of heaps."""


def share_one_heap() -> None:
    """Let all threads allocate from one heap: glibc reserves 64 to 128 MB for each further one.

    What is free in one of them is of no use in another, so several also hold more memory.
    """
    import ctypes

    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


def give_back_memory() -> None:
    """Return what is free to the system; by itself glibc returns only what is at the heap's end.

    Takes some milliseconds.
    """
    import ctypes

    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)
