"""Files that were put together one after the other, such as chained Ogg, as byte ranges.

libav ends with the first part, or where the parameters change.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

from ..messages import Source
from .containers import NO_SIZE, WHOLE, Span
from .sources import open_source

_BLOCK = 1 << 20
_OGG_PAGE = re.compile(rb"OggS\x00[\x02\x06]")
"""A page with which a logical stream begins."""
_OGG_HEADER = 27
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

    Raises the errors of ``open_source``.
    """
    with open_source(source) as file:
        if source.path is not None and os.path.isfile(source.path):
            status = source.path.stat()
            if status.st_size > _LARGE:
                return _spans_of_large(source.path, starts, status.st_size, status.st_mtime_ns)
        return _spans(file, starts)


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
    head = file.read(_HEAD_BYTES)
    for header in _HEADERS:
        if header.match(head):
            return _matches(file, header, 0)
    if head[:4] == b"OggS":
        return _ogg_starts(file)
    if head[:4] == b"RIFF" and head[8:12] == b"WAVE":
        return _wav_starts(file)
    if head[:4] == b"FORM" and head[8:11] == b"AIF":
        return _aiff_starts(file)
    if head[4:8] == b"ftyp":
        return _mp4_starts(file)
    if head[:4] == _EBML:
        return _matroska_starts(file)
    return iter(())


def _ogg_starts(file: BinaryIO) -> Iterator[int]:
    """Where pages begin logical streams, but not the streams of the same part after the first."""
    after = -1
    for at in _matches(file, _OGG_PAGE, 0):
        file.seek(at)
        header = file.read(_OGG_HEADER)
        table = file.read(header[-1]) if len(header) == _OGG_HEADER else b""
        body = file.read(sum(table))
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


def _wav_starts(file: BinaryIO) -> Iterator[int]:
    """Where RIFF files begin; of a recording to a pipe, whose length is unknown, by their look."""
    at: int | None = 0
    while at is not None:
        yield at
        at = _next_wav(file, at)


def _next_wav(file: BinaryIO, at: int) -> int | None:
    file.seek(at + 12)
    for _ in range(_MOST_BOXES):
        header = file.read(8)
        # What follows in a file of more than 4 GB is sound, whatever its header says.
        if len(header) < 8 or not (header[:4].isascii() and header[:4].decode().isprintable()):
            return None
        name, size = struct.unpack("<4sI", header)
        here = file.tell()
        if name == b"RIFF":
            return here - 8 if file.read(4) == b"WAVE" else None
        if name == b"data" and not 0 < size < NO_SIZE:
            return next(_matches(file, _WAV_HEADER, here), None)
        file.seek(here + size + size % 2)
    return None


def _aiff_starts(file: BinaryIO) -> Iterator[int]:
    """Where FORM chunks begin, one after the other."""
    at = 0
    file.seek(at)
    while len(header := file.read(12)) == 12 and header[:4] == b"FORM" and header[8:11] == b"AIF":
        yield at
        size = int.from_bytes(header[4:8], "big")
        at += 8 + size + size % 2
        file.seek(at)


def _mp4_starts(file: BinaryIO) -> Iterator[int]:
    """Where ``ftyp`` boxes begin parts that have a ``moov`` box of their own."""
    at, start, complete = 0, 0, False
    for _ in range(_MOST_BOXES):
        _go_to(file, at)
        header = file.read(16)
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


def _matroska_starts(file: BinaryIO) -> Iterator[int]:
    """Where EBML headers follow a segment; in live streams, it has no length."""
    at: int | None = 0
    while at is not None:
        yield at
        at = _next_matroska(file, at)


def _next_matroska(file: BinaryIO, at: int) -> int | None:
    for _ in range(_MOST_BOXES):
        _go_to(file, at)
        name = file.read(4)
        length = file.read(8)
        if len(length) < 8 or name not in (_EBML, _SEGMENT):
            return None
        width = 9 - length[0].bit_length()
        size = int.from_bytes(length[:width], "big") & ((1 << 7 * width) - 1)
        if width > 8:
            return None
        if size == (1 << 7 * width) - 1:
            return next(_matches(file, _EBML_HEADER, at + 4), None)
        at += 4 + width + size
        if name == _SEGMENT:
            _go_to(file, at)
            return at if file.read(4) == _EBML else None
    return None


def _go_to(file: BinaryIO, at: int) -> None:
    """Move to ``at``, or to the end if that comes before: a box may claim any size of 64 bits."""
    file.seek(min(at, file.seek(0, os.SEEK_END)))


def _matches(file: BinaryIO, pattern: re.Pattern[bytes], start: int) -> Iterator[int]:
    """Where a pattern occurs from ``start`` on; the file may be moved meanwhile."""
    at, rest = start, b""
    while True:
        file.seek(at)
        block = file.read(_BLOCK)
        if not block:
            return
        data = rest + block
        base, last = at - len(rest), -1
        for match in pattern.finditer(data):
            last = match.start()
            yield base + last
        at += len(block)
        rest = data[max(last + 1, len(data) - _LONGEST_MATCH + 1) :]
