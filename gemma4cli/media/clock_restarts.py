"""MPEG streams joined end to end, whose clock starts anew: where each recording begins.

libav reads such a file as one clip of the last one's length. Transport streams carry their clock as
PCR, program streams (DVDs) as SCR; both are sampled over the file, and where the clock goes back,
the place is found by bisection.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import BinaryIO, Protocol

from ..messages import Source
from .containers import WHOLE, Span
from .sources import open_source

_SAMPLES = 256
_BLOCK = 1 << 16
_MOST_BLOCKS = 16
"""Blocks to read in search of the next clock; players need one each 0.1 or 0.7 seconds."""

_BACK = 0.5
"""Seconds by which a clock that goes back was set anew."""

_SYNC, _PACKET = 0x47, 188
_TABLE_OF_PROGRAMS = 0
_PACK = b"\x00\x00\x01\xba"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Mark:
    """A clock of the stream: its time in seconds; ``start`` is where reading could begin for it."""

    at: int
    seconds: float
    start: int


class _Stream(Protocol):
    def marks(self, file: BinaryIO, at: int) -> Iterator[_Mark]:
        """The clocks from a position on, until none follows soon."""


def clock_parts(source: Source) -> tuple[Span, ...]:
    """The ranges of an MPEG stream in which the clock runs on; usually the whole file.

    Raises the errors of ``open_source``.
    """
    with open_source(source) as file:
        stream = _stream_of(file.read(5 * 204))
        if stream is None:
            return (WHOLE,)
        size = file.seek(0, 2)
        sampled = (
            next(stream.marks(file, size * number // _SAMPLES), None) for number in range(_SAMPLES)
        )
        marks = [mark for mark in sampled if mark is not None]
        starts = [
            _restart(file, stream, before, after)
            for before, after in pairwise(marks)
            if after.seconds < before.seconds - _BACK
        ]
    edges = [0, *starts]
    stops = [*starts, None]
    return tuple(Span(start=start, stop=stop) for start, stop in zip(edges, stops, strict=True))


def _restart(file: BinaryIO, stream: _Stream, before: _Mark, after: _Mark) -> int:
    """Where the clock goes back between two marks."""
    low, high = before, after
    while high.at - low.at > _BLOCK:
        middle = next(stream.marks(file, (low.at + high.at) // 2), high)
        if middle.at >= high.at:
            break
        if middle.seconds >= low.seconds - _BACK:
            low = middle
        else:
            high = middle
    for one, next_one in pairwise(stream.marks(file, low.at)):
        if next_one.seconds < one.seconds - _BACK:
            return next_one.start
        if next_one.at >= high.at:
            break
    return high.start


def _stream_of(head: bytes) -> _Stream | None:
    if head.startswith(_PACK):
        return _ProgramStream()
    for size, offset in ((_PACKET, 0), (192, 4), (204, 0)):
        found = [head[at] for at in range(offset, len(head), size)]
        if len(found) >= 5 and all(byte == _SYNC for byte in found):
            return _TransportStream(size=size, offset=offset)
    return None


@dataclass(frozen=True, kw_only=True, slots=True)
class _TransportStream:
    """Packets of ``size`` bytes, the first byte of each is at ``offset``."""

    size: int
    offset: int

    def marks(self, file: BinaryIO, at: int) -> Iterator[_Mark]:
        """PCRs; a program's recording begins with its table of programs."""
        position = at - at % self.size
        table: int | None = None
        clock_of: int | None = None
        blocks = 0
        while blocks < _MOST_BLOCKS:
            file.seek(position)
            data = file.read(_BLOCK // self.size * self.size)
            if len(data) < self.size:
                return
            blocks += 1
            for here in range(self.offset, len(data) - _PACKET + 1, self.size):
                packet = data[here : here + 12]
                if packet[0] != _SYNC:
                    return
                program = int.from_bytes(packet[1:3], "big") & 0x1FFF
                if program == _TABLE_OF_PROGRAMS:
                    table = position + here - self.offset
                has_clock = packet[3] & 0x20 and packet[4] >= 7 and packet[5] & 0x10
                if not has_clock or clock_of not in (None, program):
                    continue
                clock_of, blocks = program, 0
                ticks = int.from_bytes(packet[6:11], "big") >> 7
                where = position + here - self.offset
                start = where if table is None else table
                yield _Mark(at=where, seconds=ticks / 90_000, start=start)
                table = None
            position += len(data)


@dataclass(frozen=True, kw_only=True, slots=True)
class _ProgramStream:
    def marks(self, file: BinaryIO, at: int) -> Iterator[_Mark]:
        """SCRs, of MPEG-1 and MPEG-2."""
        position, blocks = at, 0
        while blocks < _MOST_BLOCKS:
            file.seek(position)
            data = file.read(_BLOCK)
            if len(data) < 16:
                return
            blocks += 1
            here = data.find(_PACK)
            while 0 <= here <= len(data) - 10:
                blocks = 0
                where = position + here
                yield _Mark(at=where, seconds=_scr(data[here + 4 : here + 10]), start=where)
                here = data.find(_PACK, here + 4)
            position += len(data) - 10


def _scr(data: bytes) -> float:
    bits = int.from_bytes(data[:5], "big")
    if data[0] >> 6 == 1:  # MPEG-2
        ticks = (bits >> 35 & 7) << 30 | (bits >> 19 & 0x7FFF) << 15 | bits >> 3 & 0x7FFF
    else:
        ticks = (bits >> 33 & 7) << 30 | (bits >> 17 & 0x7FFF) << 15 | bits >> 1 & 0x7FFF
    return ticks / 90_000
