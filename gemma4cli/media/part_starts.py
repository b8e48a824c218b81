"""Where recordings begin that were put together one after the other, such as chained Ogg.

The searches read nothing: they ask for bytes, so that a file and a pipe are searched alike.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Generator
from dataclasses import dataclass
from typing import TypeVar

_BLOCK = 1 << 20
_OGG_PAGE = re.compile(rb"OggS\x00[\x02\x06]")
"""A page with which a logical stream begins."""
_OGG_HEADER = 27
_RIFF_HEADER = 12
NO_SIZE = 0x7FFFF000
"""Sizes in a WAV header from which on they mean that the size was not known."""
_WAV_HEADER = re.compile(rb"RIFF[\s\S]{4}WAVEfmt ")
_FIRST_BLOCK = b"[" + re.escape(bytes(flags for flags in range(256) if flags & 8)) + b"]"
"""Flags of WavPack's block for the first channels; blocks for others may follow."""
_HEADERS = tuple(
    re.compile(pattern)
    for pattern in (
        rb"fLaC[\x00\x80]\x00\x00\x22",
        rb"#!AMR(-WB)?\n",
        rb"caff\x00\x01\x00\x00desc",
        rb"\.snd\x00\x00\x00[\x18-\xff][\s\S]{4}\x00\x00\x00[\x01-\x1b]\x00",
        rb"TTA1\x01\x00[\x01-\x08]\x00[\x08\x10\x18]\x00",
        rb"FLV\x01[\x01\x04\x05]\x00\x00\x00\x09\x00\x00\x00\x00",
        rb"\.RMF\x00\x00\x00[\x10-\x20]\x00[\x00\x01]\x00",
        rb"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\x00\x00",  # Wave64
        rb"nut/multimedia container\x00",
        rb"wvpk[\s\S]{4}[\x02-\x10]\x04\x00[\s\S]{5}\x00{4}[\s\S]{5}" + _FIRST_BLOCK,
        rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\x00\xaa\x00\x62\xce\x6c",  # WMA and ASF
    )
)
"""How files begin whose headers cannot occur by chance within them."""
_EBML_HEADER = re.compile(rb"\x1a\x45\xdf\xa3(?:[\x80-\xff]|\x01[\s\S]{7})\x42\x86\x81\x01")
_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
_HEAD_BYTES = 32
_LONGEST_MATCH = 32
_MOST_BOXES = 100_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """Bytes that a search asks for: ``count`` from ``at`` on, fewer only at the end.

    With ``some``, any number of them will do. Before ``clear`` no recording begins that has not
    been found.
    """

    at: int
    count: int
    clear: int
    some: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Ends:
    """A recording says that its sound ends at ``at``; after that, only another one may follow."""

    at: int


Result = TypeVar("Result")
Search = Generator[Wanted | Ends | int, bytes, Result]
"""Yields what it wants to read, which is sent to it, and where recordings begin and end, in order.

It only goes forward, but for bytes from ``clear`` on.
"""


def part_starts() -> Search[None]:
    """Where recordings begin; nothing in a format whose recordings are not put together."""
    head = yield from _read(0, _HEAD_BYTES)
    for header in _HEADERS:
        if header.match(head):
            yield from _headers(header)
            return
    if head[:4] == b"OggS":
        yield from _ogg_starts()
    elif head[:4] == b"RIFF" and head[8:12] == b"WAVE":
        yield from _wav_starts()
    elif head[:4] == b"FORM" and head[8:11] == b"AIF":
        yield from _aiff_starts()
    elif head[4:8] == b"ftyp":
        yield from _mp4_starts()
    elif head[:4] == _EBML:
        yield from _matroska_starts()


def _read(at: int, count: int, clear: int | None = None) -> Search[bytes]:
    """So many bytes; ``clear`` is where they begin unless it is given."""
    return (yield Wanted(at=at, count=count, clear=at if clear is None else clear))


class _Matches:
    """Where a pattern occurs from ``start`` on."""

    def __init__(self, pattern: re.Pattern[bytes], start: int) -> None:
        self._pattern = pattern
        self._data = b""
        self._base = start
        self._at = 0

    def next(self) -> Search[int | None]:
        """The next place; None if there is none."""
        while True:
            match = self._pattern.search(self._data, self._at)
            if match is not None:
                self._at = match.end()
                return self._base + match.start()
            done = max(self._at, len(self._data) - _LONGEST_MATCH + 1)
            self._data, self._at = self._data[done:], 0
            self._base += done
            here = self._base + len(self._data)
            block = yield Wanted(at=here, count=_BLOCK, clear=self._base, some=True)
            if not block:
                return None
            self._data += block


def _headers(header: re.Pattern[bytes]) -> Search[None]:
    matches = _Matches(header, 0)
    while (at := (yield from matches.next())) is not None:
        yield at


def _ogg_starts() -> Search[None]:
    """Where pages begin logical streams, but not the streams of the same part after the first."""
    after = -1
    pages = _Matches(_OGG_PAGE, 0)
    while (at := (yield from pages.next())) is not None:
        header = yield from _read(at, _OGG_HEADER)
        table = body = b""
        if len(header) == _OGG_HEADER:
            table = yield from _read(at + _OGG_HEADER, header[-1], at)
            body = yield from _read(at + _OGG_HEADER + len(table), sum(table), at)
        if not table or _ogg_checksum(header, table, body) != header[22:26]:
            continue
        if at != after:
            yield at
        after = at + len(header) + len(table) + len(body)


def _ogg_checksum(header: bytes, table: bytes, body: bytes) -> bytes:
    checksum = 0
    for byte in header[:22] + bytes(4) + header[26:] + table + body:
        checksum ^= byte << 24
        for _ in range(8):
            checksum = (checksum << 1) ^ (0x104C11DB7 if checksum & 0x80000000 else 0)
    return struct.pack("<I", checksum)


def _wav_starts() -> Search[None]:
    """Where RIFF files begin; of a recording to a pipe, whose length is unknown, by their look."""
    at: int | None = 0
    while at is not None:
        yield at
        at = yield from _next_wav(at)


def _next_wav(at: int) -> Search[int | None]:
    at += _RIFF_HEADER
    for _ in range(_MOST_BOXES):
        header = yield from _read(at, 8)
        # What follows in a file of more than 4 GB is sound, whatever its header says.
        if len(header) < 8 or not (header[:4].isascii() and header[:4].decode().isprintable()):
            return None
        name, size = struct.unpack("<4sI", header)
        if name == b"RIFF":
            kind = yield from _read(at + 8, 4, at)
            return at if kind == b"WAVE" else None
        if name == b"data" and not 0 < size < NO_SIZE:
            return (yield from _Matches(_WAV_HEADER, at + 8).next())
        if name == b"data":
            yield Ends(at=at + 8 + size)
        at += 8 + size + size % 2
    return None


def _aiff_starts() -> Search[None]:
    """Where FORM chunks begin, one after the other."""
    at = 0
    while True:
        header = yield from _read(at, 12)
        if len(header) < 12 or header[:4] != b"FORM" or header[8:11] != b"AIF":
            return
        yield at
        size = int.from_bytes(header[4:8], "big")
        at += 8 + size + size % 2


def _mp4_starts() -> Search[None]:
    """Where ``ftyp`` boxes begin parts that have a ``moov`` box of their own."""
    at, start, complete = 0, 0, False
    for _ in range(_MOST_BOXES):
        header = yield from _read(at, 16, start)
        if len(header) < 8:
            break
        size, name = struct.unpack(">I4s", header[:8])
        if size == 1 and len(header) == 16:
            size = int.from_bytes(header[8:], "big")
        if size < 8:
            break
        if name == b"ftyp" and complete:
            yield start
            start, complete = at, False
        complete = complete or name == b"moov"
        at += size
    if complete:
        yield start


def _matroska_starts() -> Search[None]:
    """Where EBML headers follow a segment; in live streams, it has no length."""
    at: int | None = 0
    while at is not None:
        yield at
        at = yield from _next_matroska(at)


def _next_matroska(at: int) -> Search[int | None]:
    for _ in range(_MOST_BOXES):
        name = yield from _read(at, 4)
        length = yield from _read(at + 4, 8, at)
        if len(length) < 8 or name not in (_EBML, _SEGMENT):
            return None
        width = 9 - length[0].bit_length()
        size = int.from_bytes(length[:width], "big") & ((1 << 7 * width) - 1)
        if width > 8:
            return None
        if size == (1 << 7 * width) - 1:
            return (yield from _Matches(_EBML_HEADER, at + 4).next())
        at += 4 + width + size
        if name == _SEGMENT:
            return at if (yield from _read(at, 4)) == _EBML else None
    return None
