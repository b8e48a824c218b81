"""Files that were put together one after the other, such as chained Ogg, as byte ranges.

libav ends with the first part, or where the parameters change.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

from ..messages import Source
from .containers import WHOLE, Span
from .feeds import LiveSource
from .holes import next_content
from .part_starts import Ends, part_starts
from .sources import open_source

_LARGE = 1 << 24
"""Files above this size are searched once and not each time they are opened."""

Starts = Callable[[BinaryIO], Iterable[int]]
"""Finds where the recordings in a file begin, in order."""


def parts_of(source: Source) -> tuple[Span, ...]:
    """The ranges of a file that are recordings of their own, in order; usually the whole file.

    Raises the errors of ``open_source``.
    """
    return spans_from(source, _starts)


def spans_from(source: Source, starts: Starts) -> tuple[Span, ...]:
    """The ranges of a file from each start to the next; the whole file without two of them.

    Of a pipe that is heard as it comes, later recordings are not known yet; see ``part_after``.
    Raises the errors of ``open_source``.
    """
    if isinstance(source, LiveSource):
        return (WHOLE,)
    with open_source(source) as file:
        if source.path is not None and os.path.isfile(source.path):
            status = source.path.stat()
            if status.st_size > _LARGE:
                return _spans_of_large(source.path, starts, status.st_size, status.st_mtime_ns)
        return _spans(file, starts)


def part_after(source: Source, span: Span) -> Span | None:
    """The recording in a pipe that follows one which was read to its end; None if there is none.

    Raises MediaError.
    """
    if not isinstance(source, LiveSource):
        return None
    start = source.feed.start_after(span.start)
    return None if start is None else Span(start=start)


def is_waiting(source: Source, span: Span) -> bool:
    """Whether ``part_after`` has to wait to know whether another recording follows."""
    return isinstance(source, LiveSource) and source.feed.is_waiting(span.start)


@lru_cache(maxsize=16)
def _spans_of_large(path: Path, starts: Starts, size: int, changed: int) -> tuple[Span, ...]:
    """The ranges of a file that takes long to search; the file as of its size and its time."""
    with path.open("rb") as file:
        return _spans(file, starts)


def _spans(file: BinaryIO, starts: Starts) -> tuple[Span, ...]:
    found = list(starts(file))
    if len(found) < 2:
        return (WHOLE,)
    stops = [*found[1:], None]
    return tuple(Span(start=start, stop=stop) for start, stop in zip(found, stops, strict=True))


def _starts(file: BinaryIO) -> Iterator[int]:
    size = file.seek(0, os.SEEK_END)
    search = part_starts()
    with suppress(StopIteration):
        step = next(search)
        while True:
            if isinstance(step, int):
                yield step
                step = next(search)
            elif isinstance(step, Ends):
                step = next(search)
            else:
                file.seek(min(step.at, size))  # a box may claim any size of 64 bits
                ends = step.some and next_content(file, step.at) is None
                step = search.send(b"" if ends else file.read(step.count))
