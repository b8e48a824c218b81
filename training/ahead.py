"""Batches made ahead of time by other processes, so that a GPU does not wait for them."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from torch.utils.data import DataLoader, Dataset

from .device import on_gpu

T = TypeVar("T")
_PREPARED = 4
"""Steps that every helper has ready."""


class _Steps(Dataset[T], Generic[T]):
    def __init__(self, make: Callable[[int], T], steps: range) -> None:
        self._make = make
        self._steps = steps

    def __len__(self) -> int:
        return len(self._steps)

    def __getitem__(self, index: int) -> T:
        return self._make(self._steps[index])


def ahead(make: Callable[[int], T], steps: range) -> Iterator[T]:
    """``make(step)`` for every step, in order. It must be a function of the step alone.

    Beside a GPU all but two cores are helpers; where the CPU trains it makes its batches itself.
    Helpers are forked: they share what the process has read, and may not touch the GPU.
    """
    helpers = max(0, (os.cpu_count() or 1) - 2) if on_gpu() else 0
    if not helpers:
        yield from map(make, steps)
        return
    _open_as_many_files_as_allowed()
    yield from DataLoader(
        _Steps(make, steps),
        batch_size=None,
        num_workers=helpers,
        prefetch_factor=_PREPARED,
        multiprocessing_context="fork",
    )


def _open_as_many_files_as_allowed() -> None:
    """A tensor that is handed over is an open file for as long as it lives."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
