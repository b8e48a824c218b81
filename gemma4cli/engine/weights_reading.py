"""Read weights before a graph needs them.

MLX reads a tensor from its file when it is first used. On a GPU all commands of a graph would wait
for the disk, and Metal ends those that wait for seconds; progress could not be shown either. On a
CPU weights stay lazy, and with the native part in their file. But only the thread that made a lazy
array can evaluate it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import cast

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten

from ..machine.memory import Part, part_of
from .freed_buffers import release_buffers

CHUNK = 10**9
"""Bytes that are read at once; a larger tensor is read whole."""


def tensors_of(network: nn.Module, part: Part) -> list[mx.array]:
    """The tensors of a network's part, in the order of its layers."""
    named = cast("list[tuple[str, mx.array]]", tree_flatten(network.parameters()))
    return [tensor for name, tensor in named if part_of(name) == part]


def arrays_of(network: nn.Module) -> list[mx.array]:
    """All arrays of a network: its tensors, and what its layers compute from their settings."""
    found = network.filter_and_map(
        lambda _module, _name, value: isinstance(value, mx.array | nn.Module | dict | list)
    )
    named = cast("list[tuple[str, object]]", tree_flatten(found))
    return [each for _, each in named if isinstance(each, mx.array)]


def read(tensors: Sequence[mx.array], chunk: int = CHUNK) -> Iterator[int]:
    """Evaluate ``tensors``, about ``chunk`` bytes at a time; yields how many bytes are done."""
    done = 0
    waiting: list[mx.array] = []
    for tensor in tensors:
        waiting.append(tensor)
        if sum(each.nbytes for each in waiting) >= chunk:
            done += _evaluate(waiting)
            yield done
            waiting = []
    if waiting:
        yield done + _evaluate(waiting)


def _evaluate(tensors: Sequence[mx.array]) -> int:
    mx.eval(tensors)
    # What was read in another type than it is computed in is not needed any more.
    release_buffers()
    return sum(each.nbytes for each in tensors)


class UnreadTowers:
    """The towers whose weights are still in their file; each is read when it is first used."""

    def __init__(self, *parts: Part) -> None:
        self._parts = set(parts)

    def read(self, network: nn.Module, part: Part) -> None:
        """Read a tower, unless that was done or it stays lazy."""
        if part in self._parts:
            for _ in read(tensors_of(network, part)):
                pass
            self._parts.discard(part)
