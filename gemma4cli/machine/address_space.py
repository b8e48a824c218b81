"""The limits on this process's addresses, such as ``ulimit -v``, ``-d`` or a batch system set them.

Libraries take most of it: each thread of OpenBLAS and of libav reserves buffers, as many threads as
there are cores, and OpenBLAS waits forever for those that it does not get. So the limit decides how
many cores this process uses, before any of them is imported.
"""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path

from ..errors import OutOfMemoryError

_SMALLEST = 600_000_000
"""Bytes that libraries and the built-in model take on one core, with some to spare."""
_OF_A_CORE = 500_000_000
"""Bytes that libraries reserve for each further core at most."""


def address_limit() -> int | None:
    """The most bytes of addresses that this process may have; None without a limit.

    Only Linux enforces it.
    """
    return min((limit for limit, _ in _limits()), default=None)


def addresses_free(path: Path = Path("/proc/self/statm")) -> int | None:
    """Bytes of addresses that this process may still take; None without a limit."""
    try:
        pages = [int(count) for count in path.read_text().split()]
    except (OSError, ValueError):
        pages = []
    free = []
    for limit, counted in _limits():
        taken = pages[counted] if counted < len(pages) else 0
        free.append(max(0, limit - taken * os.sysconf("SC_PAGE_SIZE")))
    return min(free, default=None)


def _limits() -> list[tuple[int, int]]:
    """Each limit in bytes, with the number of the field in ``statm`` that counts for it."""
    if sys.platform != "linux":
        return []
    kinds = ((resource.RLIMIT_AS, 0), (resource.RLIMIT_DATA, 5))
    found = [(resource.getrlimit(kind)[0], counted) for kind, counted in kinds]
    return [each for each in found if each[0] != resource.RLIM_INFINITY]


def fit_into_address_space() -> None:
    """Use no more cores than the limit has room for; call before NumPy, libav or MLX is imported.

    Raises OutOfMemoryError if there is no room for one.
    """
    limit = address_limit()
    if limit is None:
        return
    from .heap import share_one_heap

    if limit < _SMALLEST:
        raise OutOfMemoryError(
            f"this process may have {limit // 10**6} MB of addresses, and g4 needs at least "
            f"{_SMALLEST // 10**6} MB: raise the limit (ulimit -v and -d)"
        )
    share_one_heap()
    usable = sorted(os.sched_getaffinity(0))
    cores = 1 + (limit - _SMALLEST) // _OF_A_CORE
    if cores < len(usable):
        os.sched_setaffinity(0, usable[:cores])
