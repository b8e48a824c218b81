"""The group of MLX: several processes that add up arrays."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import mlx.core as mx

from ..errors import LoadError
from .gathering import gather
from .launch import Launch
from .memory import shared_memory
from .mpi import finalize, name_library
from .place import on_one_machine, place, sharing

if TYPE_CHECKING:
    from ..native._native import SharedMemory

_SUMMED_IN_MEMORY = (mx.float32, mx.int32, mx.uint32)

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_TO_CONNECT = 60.0
"""Seconds in which MLX must have connected processes that are all there."""

_TEXT = 2048
"""Bytes of what the first process says about itself before there are connections."""


class Group:
    """One process's end; made in the main thread. Raises LoadError."""

    def __init__(self, launch: Launch) -> None:
        self.launch = launch
        self._memory: SharedMemory | None = None
        if launch.backend == "mpi":
            name_library()
        try:
            with _ended_by_signals():
                is_ring = len(launch.ring) == launch.count
                if is_ring:
                    gather(launch.ring, launch.rank)
                with _interrupted(_TO_CONNECT if is_ring else 0.0):
                    self._group = mx.distributed.init(strict=True, backend=launch.backend)
        except (RuntimeError, ValueError) as exc:
            raise LoadError(
                f"the {launch.count} processes cannot connect ({exc}): check the addresses of the "
                "hosts, and that nothing else uses their ports"
            ) from exc

    @property
    def rank(self) -> int:
        return self.launch.rank

    @property
    def size(self) -> int:
        return self.launch.count

    def sum(self, part: mx.array) -> mx.array:
        if self._memory is not None and part.dtype in _SUMMED_IN_MEMORY:
            return self._memory.sum(part)
        return mx.distributed.all_sum(part, group=self._group)

    def gather(self, part: mx.array) -> mx.array:
        if self._memory is not None:
            return self._memory.gather(part)
        return mx.distributed.all_gather(part[None], group=self._group)

    def leave(self) -> None:
        """Say that this process ends; all of them do so together."""
        if self.launch.backend == "mpi":
            finalize()

    def settle(self) -> int:
        """Find out who is where: how many of the processes may use the same cores as this one.

        If all are on one machine and compute on its CPU, they add up in memory from now on. All
        call this at the same time.
        """
        own = place()
        places = self._as_lists(self.gather(mx.array(own, mx.int32)))
        if on_one_machine(places):
            memory = shared_memory(self.rank, self.size, self.text_of_first, self._count)
            on_cpu = mx.default_device() == mx.Device(mx.cpu)
            if self._count(on_cpu) == self.size:
                self._memory = memory
        return sharing(own, places)

    def _count(self, answer: bool) -> int:
        """How many of the processes say yes."""
        count: int = self._as_lists(self.sum(mx.array([int(answer)])))[0]
        return count

    def text_of_first(self, text: str = "") -> str:
        """A short text of the first process, in all of them."""
        data = text.encode().ljust(_TEXT)
        part = mx.array(list(data), mx.int32) if self.rank == 0 else mx.zeros((_TEXT,), mx.int32)
        return bytes(self._as_lists(self.sum(part))).decode().strip()

    def _as_lists(self, found: mx.array) -> Any:
        """What all processes have made together, as lists."""
        try:
            return found.tolist()
        except RuntimeError as exc:
            raise LoadError(f"a process has ended before all had met ({exc})") from exc


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Within this, signals end the process at once.

    MLX waits for the other processes in one call, during which no code of Python runs.
    """
    found = {number: signal.getsignal(number) for number in _SIGNALS}
    for number, handler in found.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    try:
        yield
    finally:
        for number, handler in found.items():
            signal.signal(number, handler)


@contextmanager
def _interrupted(seconds: float) -> Iterator[None]:
    """Interrupt what MLX waits for after that time, unless it is 0: for a process that was killed.

    The function of the system that waits fails when a signal has been handled.
    """
    before = signal.signal(signal.SIGALRM, lambda number, frame: None)
    signal.setitimer(signal.ITIMER_REAL, seconds, 1.0 if seconds else 0.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
