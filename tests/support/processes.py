"""Several processes in one: threads that add up arrays, with queues in place of connections."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import mlx.core as mx

from gemma4cli.engine.checkpoint import Checkpoint
from gemma4cli.engine.divided_loading import load_divided
from gemma4cli.engine.division import Division
from gemma4cli.engine.following import adapted_replica
from gemma4cli.engine.freed_buffers import release_buffers
from gemma4cli.hub.resolved import ResolvedModel
from gemma4cli.models.config import Gemma4Config
from gemma4cli.models.gemma4 import Gemma4
from gemma4cli.models.mirrored import Message, lead
from gemma4cli.models.replica import Replica
from gemma4cli.options import LoadOptions


@dataclass(frozen=True, slots=True, eq=False)
class Meeting:
    """Where the threads bring their arrays."""

    count: int
    arrays: dict[int, mx.array] = field(default_factory=dict)
    barrier: threading.Barrier = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "barrier", threading.Barrier(self.count, timeout=60))

    def exchange(self, rank: int, part: mx.array) -> list[mx.array]:
        mx.eval(part)
        self.arrays[rank] = part
        self.barrier.wait()
        found = [self.arrays[each] for each in range(self.count)]
        self.barrier.wait()
        return found


@dataclass(frozen=True, slots=True, eq=False)
class ThreadGroup:
    meeting: Meeting
    rank: int
    told: list[SimpleQueue[Message | None]] = field(default_factory=list)
    numbers: Iterator[int] = field(default_factory=lambda: count(1))

    @property
    def size(self) -> int:
        return self.meeting.count

    def sum(self, part: mx.array) -> mx.array:
        first, *rest = self.meeting.exchange(self.rank, part)
        for each in rest:
            assert each.shape == first.shape and each.dtype == first.dtype
            first = first + each
        return first

    def gather(self, part: mx.array) -> mx.array:
        return mx.stack(self.meeting.exchange(self.rank, part))

    def tell(self, message: Message) -> None:
        for queue in self.told:
            queue.put(message)

    def next_number(self) -> int:
        return next(self.numbers)

    def close(self, number: int) -> None:
        """The threads end soon."""


def part_of(folder: Path, group: Any, options: LoadOptions) -> Gemma4:
    model = ResolvedModel.of(folder.name, folder)
    config = Gemma4Config.from_dict(model.config)
    division = Division.of(model, group)
    network, _ = load_divided(Checkpoint(folder=folder), model.config, config, options, division)
    network.language_model.kv_bits = options.kv_bits
    return network


@contextmanager
def divided(folder: Path, size: int, options: LoadOptions) -> Iterator[Gemma4]:
    """The first of ``size`` parts of a network, whose calls threads with the others repeat."""
    meeting = Meeting(size)
    queues: list[SimpleQueue[Message | None]] = [SimpleQueue() for _ in range(size - 1)]
    groups = [ThreadGroup(meeting, rank) for rank in range(size)]

    reading = threading.Lock()

    def loaded(rank: int) -> Gemma4:
        """One after the other: while one is read, no other may wait for anything of MLX."""
        with reading:
            network = part_of(folder, groups[rank], options)
        meeting.barrier.wait()
        return network

    def follow(rank: int) -> None:
        replicas = {0: Replica(loaded(rank), groups[rank], release_buffers)}
        while (message := queues[rank - 1].get()) is not None:
            try:
                replica = replicas[message["network"]]
                if message["call"] == "adapt":
                    number, adapted = adapted_replica(replica, message, groups[rank])
                    replicas[number] = adapted
                else:
                    replica.repeat(message)
            except BaseException:
                meeting.barrier.abort()
                raise

    threads = [threading.Thread(target=follow, args=(rank,)) for rank in range(1, size)]
    for thread in threads:
        thread.start()
    try:
        groups[0].told.extend(queues)
        network = loaded(0)
        lead(network.language_model, groups[0], 0)
        yield network
    finally:
        for queue in queues:
            queue.put(None)
        for thread in threads:
            thread.join()
