"""MPEG streams whose clock starts anew or whose codec changes: where each recording begins.

libav reads files joined end to end as one clip of the last one's length, and decodes one codec of a
track. Transport streams carry their clock as PCR and name codecs in maps of programs, program
streams (DVDs) carry SCRs. Both are sampled over the file, and changes are found by bisection.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import BinaryIO, Protocol

from ..messages import Source
from .containers import Span
from .parts import parts_of, spans_from

_SAMPLES, _SAMPLES_OF_MAPS = 256, 32
_BLOCK = 1 << 16
_LONGEST_SEARCH = 16 * _BLOCK
"""Bytes to read in search of the next mark; players need a clock each 0.1 or 0.7 seconds."""

_BACK = 0.5
"""Seconds by which a clock that goes back was set anew."""

_TURN = 2**33 / 90_000
"""Seconds after which a clock of 33 bits is at 0 again: 26.5 hours."""

_LONGEST_STEP = 600.0
"""Seconds between two marks: a day in as many steps as there are samples has 338."""

_SYNC, _PACKET = 0x47, 188
_TABLE_OF_PROGRAMS = 0
_VIDEO_TYPES = frozenset({0x01, 0x02, 0x10, 0x1B, 0x21, 0x24, 0x33, 0x42, 0xD1, 0xD2, 0xEA})
"""Types of streams that are video, by ISO 13818-1 and as libav knows them."""

_PACK = b"\x00\x00\x01\xba"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Mark:
    """A place in the stream with its clock in seconds, or with the types of its video tracks.

    ``start`` is where reading could begin for it.
    """

    at: int
    start: int
    seconds: float = 0.0
    video: bytes = b""


_Marks = Callable[[BinaryIO, int], Iterator[_Mark]]
"""The marks of a file from a position on, until none follows soon."""


class _Stream(Protocol):
    def clocks(self, file: BinaryIO, at: int) -> Iterator[_Mark]: ...

    def maps(self, file: BinaryIO, at: int) -> Iterator[_Mark]: ...


def joined_parts(source: Source) -> tuple[Span, ...]:
    """The ranges of a file that are recordings of their own, by their headers or their clocks.

    Raises the errors of ``open_source``.
    """
    spans = parts_of(source)
    return mpeg_parts(source) if len(spans) == 1 else spans


def mpeg_parts(source: Source) -> tuple[Span, ...]:
    """The ranges of an MPEG stream in which clock and codec run on; usually the whole file.

    Raises the errors of ``open_source``.
    """
    return spans_from(source, _starts)


def _starts(file: BinaryIO) -> Sequence[int]:
    stream = _stream_of(file.read(5 * 204))
    if stream is None:
        return ()
    size = file.seek(0, 2)
    changes = (
        *_changes(file, size, stream.clocks, _SAMPLES),
        *_changes(file, size, stream.maps, _SAMPLES_OF_MAPS),
    )
    return sorted({0, *changes})


def _changes(file: BinaryIO, size: int, marks: _Marks, samples: int) -> list[int]:
    """Where marks change, by samples over the file and by the last mark."""
    sampled = (next(marks(file, size * number // samples), None) for number in range(samples))
    found = [mark for mark in sampled if mark is not None]
    found.extend(deque(marks(file, max(0, size - _LONGEST_SEARCH)), maxlen=1))
    return [
        _border(file, marks, before, after)
        for before, after in pairwise(found)
        if _differ(before, after)
    ]


def _differ(before: _Mark, after: _Mark) -> bool:
    back = before.seconds - after.seconds
    ran_over = _TURN - _LONGEST_STEP < back <= _TURN  # which libav knows
    return (back > _BACK and not ran_over) or after.video != before.video


def _border(file: BinaryIO, marks: _Marks, low: _Mark, high: _Mark) -> int:
    """Where the change between two marks is."""
    while high.at - low.at > _BLOCK:
        middle = next(marks(file, (low.at + high.at) // 2), high)
        if middle.at >= high.at:
            break
        if _differ(low, middle):
            high = middle
        else:
            low = middle
    for one, next_one in pairwise(marks(file, low.start)):
        if _differ(one, next_one):
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

    def clocks(self, file: BinaryIO, at: int) -> Iterator[_Mark]:
        """PCRs; a program's recording begins with its table of programs."""
        table: int | None = None
        clock_of: int | None = None
        last = at
        for where, packet in self._packets(file, at):
            if where - last > _LONGEST_SEARCH:
                return
            track = _track(packet)
            if track == _TABLE_OF_PROGRAMS:
                table = where
            has_clock = packet[3] & 0x20 and packet[4] >= 7 and packet[5] & 0x10
            if not has_clock or clock_of not in (None, track):
                continue
            clock_of, last = track, where
            ticks = int.from_bytes(packet[6:11], "big") >> 7
            start = where if table is None else table
            yield _Mark(at=where, start=start, seconds=ticks / 90_000)
            table = None

    def maps(self, file: BinaryIO, at: int) -> Iterator[_Mark]:
        """The maps of the first program; one is used from the table of programs before it on."""
        table, map_track = at, None
        last = at
        for where, packet in self._packets(file, at):
            if where - last > _LONGEST_SEARCH:
                return
            if not packet[1] & 0x40:  # no section begins here
                continue
            track = _track(packet)
            if track == _TABLE_OF_PROGRAMS:
                table, map_track = where, _first_map(packet)
            elif track == map_track:
                last = where
                yield _Mark(at=where, start=table, video=_video_types(packet))

    def _packets(self, file: BinaryIO, at: int) -> Iterator[tuple[int, bytes]]:
        """The packets from a position on with their places, to the end or to damage."""
        position = at - at % self.size
        while True:
            file.seek(position)
            data = file.read(_BLOCK // self.size * self.size)
            if len(data) < self.size:
                return
            for here in range(self.offset, len(data) - _PACKET + 1, self.size):
                if data[here] != _SYNC:
                    return
                yield position + here - self.offset, data[here : here + _PACKET]
            position += len(data)


def _track(packet: bytes) -> int:
    return int.from_bytes(packet[1:3], "big") & 0x1FFF


def _section(packet: bytes) -> bytes:
    """The section that begins in a packet, without its checksum, as far as the packet has it."""
    payload = packet[5 + packet[4] if packet[3] & 0x20 else 4 :]
    section = payload[1 + payload[0] :] if payload else b""
    return section[: 3 + (int.from_bytes(section[1:3], "big") & 0xFFF) - 4]


def _first_map(packet: bytes) -> int | None:
    """The track of the first program's map, from the table of programs."""
    section = _section(packet)
    for at in range(8, len(section) - 3, 4):
        number, track = section[at : at + 2], section[at + 2 : at + 4]
        if number != b"\0\0":
            return int.from_bytes(track, "big") & 0x1FFF
    return None


def _video_types(packet: bytes) -> bytes:
    """The types of the video tracks in a program's map."""
    section = _section(packet)
    at = 12 + (int.from_bytes(section[10:12], "big") & 0xFFF)
    types = bytearray()
    while at + 5 <= len(section):
        if section[at] in _VIDEO_TYPES:
            types.append(section[at])
        at += 5 + (int.from_bytes(section[at + 3 : at + 5], "big") & 0xFFF)
    return bytes(types)


@dataclass(frozen=True, kw_only=True, slots=True)
class _ProgramStream:
    def clocks(self, file: BinaryIO, at: int) -> Iterator[_Mark]:
        """SCRs, of MPEG-1 and MPEG-2."""
        position, last = at, at
        while position - last < _LONGEST_SEARCH:
            file.seek(position)
            data = file.read(_BLOCK)
            if len(data) < 16:
                return
            here = data.find(_PACK)
            while 0 <= here <= len(data) - 10:
                last = where = position + here
                yield _Mark(at=where, seconds=_scr(data[here + 4 : here + 10]), start=where)
                here = data.find(_PACK, here + 4)
            position += len(data) - 10

    def maps(self, file: BinaryIO, at: int) -> Iterator[_Mark]:
        return iter(())


def _scr(data: bytes) -> float:
    bits = int.from_bytes(data[:5], "big")
    if data[0] >> 6 == 1:  # MPEG-2
        ticks = (bits >> 35 & 7) << 30 | (bits >> 19 & 0x7FFF) << 15 | bits >> 3 & 0x7FFF
    else:
        ticks = (bits >> 33 & 7) << 30 | (bits >> 17 & 0x7FFF) << 15 | bits >> 1 & 0x7FFF
    return ticks / 90_000
