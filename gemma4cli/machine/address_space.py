"""The limit on this process's address space, such as ``ulimit -v`` or a batch system sets it.

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
    if sys.platform != "linux":
        return None
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    return None if soft == resource.RLIM_INFINITY else soft


def addresses_taken(path: Path = Path("/proc/self/statm")) -> int:
    """Bytes of addresses that this process has now."""
    try:
        return int(path.read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


def fit_into_address_space() -> None:
    """Use no more cores than the limit has room for; call before NumPy, libav or MLX is imported.

    Raises OutOfMemoryError if there is no room for one.
    """
    limit = address_limit()
    if limit is None:
        return
    if limit < _SMALLEST:
        raise OutOfMemoryError(
            f"this process may have {limit // 10**6} MB of addresses, and g4 needs at least "
            f"{_SMALLEST // 10**6} MB: raise the limit (ulimit -v)"
        )
    usable = sorted(os.sched_getaffinity(0))
    cores = 1 + (limit - _SMALLEST) // _OF_A_CORE
    if cores < len(usable):
        os.sched_setaffinity(0, usable[:cores])
