"""Pipes that are read as they come: what arrived last is kept, so that it can be read again."""

from __future__ import annotations

import io
import os
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from ..errors import MediaDecodeError
from ..messages import Source
from .copies import Copy
from .part_starts import Ends, Wanted, part_starts
from .pipe_reader import PipeReader

KEPT_BYTES = 16 << 20
"""libav looks at 5 MB to recognize tracks; as much again may lie between where it reads and that.

A recording of which nothing can be decoded within so many bytes is not heard as it comes.
"""

_OPENING_BYTES = 1 << 16
"""The bytes of a recording's start that are always kept, in which its header is."""

_BLOCK = 1 << 16


class Feed:
    """A pipe that is read forward, and of which the last ``KEPT_BYTES`` are kept.

    Until ``heard`` is set, nothing is given away: reading ends after so many bytes, and sets
    ``is_full``. Where another recording begins, reading ends, too; see ``read``. Only ``stop`` may
    be called by another thread than the reader's.
    """

    def __init__(self, name: str, stream: BinaryIO, *, closes: bool = False) -> None:
        self.heard = False
        self.is_full = False
        self._name = name
        self._pipe = PipeReader(name, stream, closes=closes)
        self._kept = bytearray()
        self._first = 0  # the position of the first byte that is kept
        self._ended = False
        self._starts: list[int] = [0]
        self._sound_end: int | None = None  # of the last recording that was found
        self._opening = b""
        self._search = part_starts()
        self._wanted: Wanted | None = None
        self._copy: Copy | None = None
        self._advance(None)

    def copy_to(self, path: Path) -> Copy | None:
        """Copy what came and what comes to a file; None if that is too late, or impossible."""
        if self._first == 0:
            with suppress(OSError):
                self._copy = Copy(path, bytes(self._kept))
        return self._copy

    @property
    def end(self) -> int:
        """The number of bytes that came so far."""
        return self._first + len(self._kept)

    @property
    def kept(self) -> int:
        """The number of bytes that can be read again."""
        return len(self._kept)

    @property
    def stopped(self) -> bool:
        return self._pipe.stopped

    def stop(self) -> None:
        """Let the pipe end here, also for who waits for it; any thread may call it."""
        self._pipe.stop()

    def read(self, at: int, count: int, start: int) -> bytes:
        """Up to ``count`` bytes from ``at`` on, of the recording that begins at ``start``.

        Waits for at least one; none is the end. Raises MediaError.
        """
        while True:
            following = self._following(start)
            stop = self._readable if following is None else min(following, self.end)
            ends = self._sound_end if start == self._starts[-1] else None
            if ends is not None:
                stop = min(stop, ends)
            if at < stop:
                return self._bytes(at, min(count, stop - at))
            if at in (following, ends) or not self._receive():
                return b""

    def start_of(self, at: int) -> int:
        """Where the recording begins that is at a position."""
        return max((each for each in self._starts if each <= at), default=0)

    def start_after(self, start: int) -> int | None:
        """Where the next recording begins, to which is read; None if none follows."""
        while True:
            following = self._following(start)
            if following is not None or self._wanted is None or not self._receive():
                return following

    def is_waiting(self, start: int) -> bool:
        """Whether ``start_after`` would have to wait."""
        if self._wanted is None or self._ended or self._following(start) is not None:
            return False
        return not self._pipe.is_ready

    def rest(self, count: int) -> bytes:
        """``count`` bytes from the first one on, fewer at the end; they are not kept."""
        self._wanted = None
        while len(self._kept) < count and not self._ended:
            block = self._pipe.read()
            self._ended = not block
            self._kept += block
        block = bytes(self._kept[:count])
        del self._kept[:count]
        self._first += len(block)
        return block

    def close(self) -> None:
        """Close what was opened for it; with ``closes``, the stream, too."""
        self._pipe.close()

    def _following(self, start: int) -> int | None:
        return next((each for each in self._starts if each > start), None)

    @property
    def _readable(self) -> int:
        """Up to where no recording begins that has not been found."""
        return self.end if self._wanted is None else min(self._wanted.clear, self.end)

    def _bytes(self, at: int, count: int) -> bytes:
        if at >= self._first:
            return bytes(self._kept[at - self._first : at - self._first + count])
        at -= self._starts[0]
        if 0 <= at < len(self._opening):
            return self._opening[at : at + count]
        raise MediaDecodeError(self._name, "is a pipe, which cannot be read again")

    def _receive(self) -> bool:
        """Wait for more; whether there is more, or the end has just come."""
        if self._ended:
            return False
        if not self.heard and self.end >= KEPT_BYTES:
            self.is_full = True
            return False
        block = self._pipe.read()
        self._ended = not block
        self._kept += block
        if self._copy is not None:
            self._copy.add(block)
        while self._wanted is not None and (found := self._found(self._wanted)) is not None:
            self._advance(found)
        if len(self._kept) > KEPT_BYTES:
            self._forget(len(self._kept) - KEPT_BYTES)
        return True

    def _found(self, wanted: Wanted) -> bytes | None:
        """What the search wants; None until it is there."""
        there = self.end - wanted.at
        if there < wanted.count and not (wanted.some and there > 0) and not self._ended:
            return None
        at = max(wanted.at - self._first, 0)
        return bytes(self._kept[at : at + wanted.count]) if there > 0 else b""

    def _advance(self, found: bytes | None) -> None:
        """Continue the search for recordings."""
        try:
            step = next(self._search) if found is None else self._search.send(found)
            while not isinstance(step, Wanted):
                if isinstance(step, Ends):
                    self._sound_end = step.at
                elif step > self._starts[-1]:
                    self._starts.append(step)
                    self._sound_end = None
                step = next(self._search)
            self._wanted = step
        except StopIteration:
            self._wanted = None

    def _forget(self, count: int) -> None:
        """Drop the oldest bytes, but not the opening of their recording."""
        first = self._first + count
        while len(self._starts) > 1 and self._starts[1] < first:
            del self._starts[0]
            self._opening = b""
        if not self._opening and self._starts[0] < first:
            at = max(self._starts[0] - self._first, 0)
            self._opening = bytes(self._kept[at : at + _OPENING_BYTES])
        del self._kept[:count]
        self._first = first


class FeedReader(io.RawIOBase):
    """A feed as a stream of bytes, which waits for what is to come."""

    def __init__(self, feed: Feed) -> None:
        super().__init__()
        self.feed = feed
        self._at = 0

    def read(self, count: int = -1, /) -> bytes:
        """So many bytes of one recording, fewer at its end; all with -1. Raises MediaError."""
        start = self.feed.start_of(self._at)
        data = bytearray()
        while count < 0 or len(data) < count:
            most = _BLOCK if count < 0 else min(count - len(data), _BLOCK)
            block = self.feed.read(self._at, most, start)
            if not block:
                break
            data += block
            self._at += len(block)
        return bytes(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        base = {os.SEEK_CUR: self._at, os.SEEK_END: self.feed.end}.get(whence, 0)
        self._at = base + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def readable(self) -> bool:
        return True


@dataclass(frozen=True, kw_only=True, slots=True)
class LiveSource(Source):
    """A pipe that is heard as it comes; it can be opened again where its bytes are kept."""

    feed: Feed = field(repr=False)
