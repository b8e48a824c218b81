"""Zeros that a file has no room for on the disk: a few kilobytes may claim to be terabytes of them.

Systems and file systems that do not tell where they are have files without them.
"""

from __future__ import annotations

import errno
import os
from io import UnsupportedOperation
from typing import BinaryIO

_LEAST = 64 << 20
"""Zeros at the end from which on they are left out."""

_BLOCK = 1 << 20
_MOST_STRETCHES = 1000

_OF_ZEROS = (b"RF64", b"BW64", b"caff", b".snd", b"riff")
"""How files begin that hold samples as they are, in which zeros are silence."""

_UNKNOWN_SIZE = 0x7FFFF000
"""Sizes of RIFF from which on they mean that the size was not known."""


def content_end(stream: BinaryIO) -> int:
    """The size of a file in bytes, without a long stretch of zeros at its end that is not stored.

    Those that hold samples count, and those of MP4, whose index says what there is. The position is
    undefined afterwards.
    """
    size = stream.seek(0, os.SEEK_END)
    descriptor = _descriptor(stream)
    if descriptor is None or size < _LEAST:
        return size
    status = os.fstat(descriptor)
    if status.st_size - status.st_blocks * 512 < _LEAST:
        return size
    promised = _promised_size(stream)
    end = None if promised is None else _last_content(stream, size)
    if promised is None or end is None:
        return size
    end = max(end, promised)
    return size if size - end < _LEAST else end


def next_content(stream: BinaryIO, at: int) -> int | None:
    """The first position from ``at`` on that is stored; None if only such zeros follow."""
    descriptor = _descriptor(stream)
    if descriptor is None:
        return at
    try:
        return _sought(descriptor, at, os.SEEK_DATA)
    except OSError as exc:
        return None if exc.errno == errno.ENXIO else at


def _promised_size(stream: BinaryIO) -> int | None:
    """The bytes that a file has by its header, zeros or not; None for any number of them."""
    stream.seek(0)
    head = stream.read(8)
    if head.startswith(_OF_ZEROS) or head[4:] == b"ftyp":
        return None
    if head[:4] not in (b"RIFF", b"FORM"):
        return 0
    size = int.from_bytes(head[4:], "little" if head[:1] == b"R" else "big")
    return 8 + size if 0 < size < _UNKNOWN_SIZE else None


def _descriptor(stream: BinaryIO) -> int | None:
    """The number of an open file where the system tells what is stored; None for memory."""
    if not hasattr(os, "SEEK_DATA"):
        return None
    try:
        return stream.fileno()
    except (UnsupportedOperation, AttributeError):
        return None


def _sought(descriptor: int, at: int, whence: int) -> int:
    """``lseek`` that leaves the position, which buffers of Python rely on."""
    before = os.lseek(descriptor, 0, os.SEEK_CUR)
    try:
        return os.lseek(descriptor, at, whence)
    finally:
        os.lseek(descriptor, before, os.SEEK_SET)


def _last_content(stream: BinaryIO, size: int) -> int | None:
    """The end of the last stored bytes that are not all zero; None if that takes long to find."""
    stretches: list[tuple[int, int]] = []
    at = 0
    try:
        while at < size and (begin := next_content(stream, at)) is not None:
            at = _sought(stream.fileno(), begin, os.SEEK_HOLE)
            stretches.append((begin, at))
            if len(stretches) > _MOST_STRETCHES:
                return None
    except OSError:
        return None
    left = _LEAST
    for begin, stop in reversed(stretches):
        while begin < stop:
            start = max(begin, stop - _BLOCK)
            stream.seek(start)
            block = stream.read(stop - start)
            content = len(block.rstrip(b"\0"))
            if content:
                return start + content
            left -= stop - start
            if left < 0:
                return None
            stop = start
    return 0
