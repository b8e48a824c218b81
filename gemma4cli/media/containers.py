"""Opens sources as libav containers and turns libav's errors into MediaErrors."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import BinaryIO, Protocol, TypeVar

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from ..callbacks import callback
from ..errors import MediaDecodeError
from ..messages import Source
from .feeds import Feed, FeedReader
from .holes import content_end
from .kinds import HEAD_BYTES, FileKind, sniff
from .limits import MAX_FRAME_PIXELS
from .part_starts import NO_SIZE
from .sources import open_source

StreamT = TypeVar("StreamT", AudioStream, VideoStream)

_TO_THE_END = {"ignore_length": "1"}
"""For a WAV from a pipe whose writer did not know its length: it may be longer than 2 GB."""

_NO_OTHER_FILES = {"protocol_whitelist": "none"}
"""Playlists may name other files and URLs; libav must never open them."""

PIXELS_OPTION = "max_pixels"
"""libav's name of the most pixels that a decoder makes room for."""

_EXACT = ("flac", "aiff", "mov,mp4,m4a,3gp,3g2,mj2")
"""libav formats with the exact length in the header; for others libav estimates it."""

_RIFF_HEADER = 12

_STILLS_IN_MP4 = ("AVIF", "HEIC")
"""Still images in MP4 containers, which libav takes for clips."""

_MAY_MOVE = frozenset({"AVIF", "FLI", "GIF", "HEIC", "JPEG", "PNG", "WebP"})
"""Image formats that may hold clips; libav takes other stills, such as icons, for clips, too."""

_ESCAPES_TAGS = int(av.__version__.partition(".")[0]) >= 19
"""From version 19 on PyAV escapes what is not UTF-8 in a file's tags and takes no option for it;
before, it refused the whole file unless it was asked to replace it."""


class _Ratio(Protocol):
    """What ``Fraction`` and PyAV's own rational numbers have in common."""

    @property
    def numerator(self) -> int: ...

    @property
    def denominator(self) -> int: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """A range of a file's bytes; ``stop`` None is its end. ``head`` is to be read before it."""

    start: int = 0
    stop: int | None = None
    head: bytes = b""


WHOLE = Span()


class _Window:
    """The bytes of a span as a stream without a name: libav goes by the content, not the suffix."""

    def __init__(self, stream: BinaryIO, span: Span) -> None:
        self._stream = stream
        self._head = span.head
        self._start = span.start - len(span.head)
        size = content_end(stream)
        stop = size if span.stop is None else min(span.stop, size)
        self._size = max(stop - self._start, len(span.head))
        self._at = 0

    @callback
    def read(self, count: int = -1) -> bytes:
        left = self._size - self._at
        count = left if count < 0 else min(count, left)
        if self._at < len(self._head):
            data = self._head[self._at : self._at + count]
        else:
            self._stream.seek(self._start + self._at)
            data = self._stream.read(count)
        self._at += len(data)
        return data

    @callback
    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_END: self._size}.get(whence, self._at)
        # A damaged header may send libav anywhere.
        self._at = min(max(base + offset, 0), self._size)
        return self._at

    @callback
    def tell(self) -> int:
        return self._at


class _Flow:
    """As ``_Window``, of a pipe: libav reads forward what is there, and waits for more."""

    def __init__(self, feed: Feed, span: Span) -> None:
        self._feed = feed
        self._head = span.head
        self._start = span.start
        self._at = span.start

    @callback
    def read(self, count: int) -> bytes:
        if self._head:
            data, self._head = self._head[:count], self._head[count:]
        else:
            data = self._feed.read(self._at, count, self._start)
            self._at += len(data)
        return data


def _view(stream: BinaryIO | FeedReader, span: Span) -> _Window | _Flow:
    return _Flow(stream.feed, span) if isinstance(stream, FeedReader) else _Window(stream, span)


def _head_of(view: _Window | _Flow) -> bytes:
    """The first ``HEAD_BYTES``."""
    head = b""
    while len(head) < HEAD_BYTES and (more := view.read(HEAD_BYTES - len(head))):
        head += more
    return head


@contextmanager
def open_container(source: Source, span: Span = WHOLE) -> Iterator[InputContainer]:
    """The source, or a span of it, as a libav container, for the length of a with block.

    Raises MediaDecodeError unless the content is audio or video; still images are not.
    """
    with open_source(source) as stream:
        head = _head_of(_view(stream, span))
        kind = sniff(head)
        if kind is not None and kind.kind == "image" and kind.name not in _MAY_MOVE:
            raise still_image(source, kind.name)
        try:
            container = open_stream(stream, span, _demuxer(kind), to_the_end=_is_unsized(head))
        except av.FFmpegError as exc:
            if kind is not None and kind.kind == "image":
                raise still_image(source, kind.name) from exc
            raise MediaDecodeError(source.name, _unreadable(kind)) from exc
        with container:
            demuxer = container.format.name
            if demuxer.endswith("_pipe") or demuxer == "image2":
                raise still_image(source, kind.name if kind else demuxer.removesuffix("_pipe"))
            if kind is not None and kind.name in _STILLS_IN_MP4 and not is_sequence(container):
                raise still_image(source, kind.name)
            yield container


def is_sequence(container: InputContainer) -> bool:
    """Whether an image in a container has several frames."""
    return any(track.frames > 1 for track in container.streams.video)


def _demuxer(kind: FileKind | None) -> str | None:
    """libav's reader for the file, None to find it by the content.

    An animated PNG is not found where a long profile comes before its pictures.
    """
    return "apng" if kind is not None and kind.name == "PNG" else None


def _is_unsized(head: bytes) -> bool:
    """Whether a file is a WAV whose writer did not know its length."""
    size = int.from_bytes(head[4:8], "little")
    return head[:4] == b"RIFF" and head[8:12] == b"WAVE" and size >= NO_SIZE


def open_stream(
    stream: BinaryIO | FeedReader,
    span: Span = WHOLE,
    demuxer: str | None = None,
    *,
    to_the_end: bool = False,
    most_pixels: int = MAX_FRAME_PIXELS,
) -> InputContainer:
    """A span of a stream as a container of any kind.

    ``to_the_end`` is for a WAV in a pipe: it is read beyond the length that it claims. Nothing
    larger than ``most_pixels`` is decoded to find out what the tracks are. Raises av.FFmpegError.
    """
    nameless = _view(stream, span)
    options = {**_NO_OTHER_FILES, PIXELS_OPTION: str(most_pixels)}
    if to_the_end and type(nameless) is _Flow:
        options |= _TO_THE_END
    opener: Callable[..., InputContainer] = av.open  # its types differ between versions
    if _ESCAPES_TAGS:
        return opener(nameless, mode="r", format=demuxer, options=options)
    return opener(nameless, mode="r", format=demuxer, options=options, metadata_errors="replace")


def exact(ratio: _Ratio | None) -> Fraction | None:
    """A rate or a clock of PyAV as a fraction; None where it is not set.

    PyAV 19 gives numbers of its own kind, which round when they are combined, and 0 for what is
    not set; before, it gave fractions and None.
    """
    if ratio is None or not ratio.numerator or not ratio.denominator:
        return None
    return Fraction(ratio.numerator, ratio.denominator)


def packets(container: InputContainer, stream: StreamT) -> Iterator[Packet[StreamT]]:
    """The track's packets from the container's current position, then an empty one."""
    while True:
        try:
            yield from container.demux(stream)
        except IndexError:  # a packet of a track that did not exist when the file was opened
            continue
        return


def promised_seconds(stream: AudioStream, source: Source, span: Span = WHOLE) -> float | None:
    """Seconds of sound that the header promises; None if it does not say, or if all is there.

    A truncated file has less. The source is opened again; see ``settle``.
    """
    name = stream.container.format.name
    if name == "wav":
        return _seconds_of_cut_wave(source, span)
    tick = exact(stream.time_base)
    if name not in _EXACT or stream.duration is None or tick is None:
        return None
    return float(stream.duration * tick)


def _seconds_of_cut_wave(source: Source, span: Span) -> float | None:
    """By the size of the data chunk, if that goes beyond the file; libav uses the file's size."""
    with open_source(source) as file:
        end = file.seek(0, os.SEEK_END) if span.stop is None else span.stop
        file.seek(span.start + _RIFF_HEADER)
        bytes_per_second = 0
        while len(header := file.read(8)) == 8:
            name, size = struct.unpack("<4sI", header)
            if name == b"fmt ":
                content = file.read(size)
                bytes_per_second = int.from_bytes(content[8:12], "little")
            elif name == b"data":
                # Recordings written to a pipe have size 0 or the largest possible size.
                is_cut = size < NO_SIZE and file.tell() + size > end
                return size / bytes_per_second if is_cut and bytes_per_second else None
            else:
                file.seek(size + size % 2, os.SEEK_CUR)
    return None


def still_image(source: Source, format_name: str) -> MediaDecodeError:
    """The error for a still image where audio or video is expected."""
    return MediaDecodeError(source.name, f"is an image ({format_name}): use g4 describe")


def reason(exc: av.FFmpegError) -> str:
    """libav's error message in lower case, without the error number and the file name."""
    return (exc.strerror or "unknown error").rstrip(".").lower()


def _unreadable(kind: FileKind | None) -> str:
    if kind is None:
        return "not an audio or video file"
    if kind.kind == "other":
        return f"not an audio or video file but {kind.name}"
    return f"is a damaged or truncated {kind.name} file: download or save it again"
