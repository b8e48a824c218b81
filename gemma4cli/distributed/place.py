"""Where a process runs, in numbers that others can compare with theirs."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from pathlib import Path
from zlib import crc32

_BITS = 31
_MOST_CORES = 1023
_BOOT = Path("/proc/sys/kernel/random/boot_id")
"""The same for all processes of a Linux machine, and for no other machine."""


def place() -> list[int]:
    """The machine, and the cores that this process may use there; numbers below 2 ** 31."""
    try:
        machine = _BOOT.read_text()
    except OSError:
        machine = socket.gethostname()
    # Without a mask, a process may use all cores.
    affinity = getattr(os, "sched_getaffinity", None)
    cores = range(_MOST_CORES) if affinity is None else affinity(0)
    mask = sum(1 << core for core in cores if core < _MOST_CORES)
    words = [mask >> at & (1 << _BITS) - 1 for at in range(0, _MOST_CORES, _BITS)]
    return [crc32(machine.encode()) >> 1, *words]


def on_one_machine(all_places: Sequence[Sequence[int]]) -> bool:
    return len({each[0] for each in all_places}) == 1


def sharing(own: Sequence[int], all_places: Sequence[Sequence[int]]) -> int:
    """How many of the processes at ``all_places`` may use cores of the one at ``own``."""
    return sum(
        each[0] == own[0] and any(a & b for a, b in zip(own[1:], each[1:], strict=True))
        for each in all_places
    )
