"""libav containers over sources: opening them, and their errors in this project's words.

Knows neither what is decoded nor why.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, TypeVar

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from ..errors import MediaDecodeError
from ..messages import Source
from .kinds import HEAD_BYTES, FileKind, sniff
from .sources import open_source

StreamT = TypeVar("StreamT", AudioStream, VideoStream)

_NO_OTHER_FILES = {"protocol_whitelist": "none"}
"""Playlists and the like may name other files and addresses; none of them is ever opened."""

_EXACT = ("flac", "aiff", "mov,mp4,m4a,3gp,3g2,mj2")
"""Formats of libav's whose headers tell the length; of others it is estimated."""

_RIFF_HEADER = 12
_NO_SIZE = 0x7FFFF000

_STILLS_IN_MP4 = ("AVIF", "HEIC")
"""Pictures that libav takes for clips, since they come in the container of MP4."""


class _Nameless:
    """A stream without its name, so that libav judges the content and not the suffix."""

    def __init__(self, stream: BinaryIO) -> None:
        self.read = stream.read
        self.seek = stream.seek
        self.tell = stream.tell


@contextmanager
def open_container(source: Source) -> Iterator[InputContainer]:
    """The source as a libav container, closed on leaving.

    Raises MediaDecodeError when the content is no audio or video file, or is a still image.
    """
    with open_source(source) as stream:
        kind = sniff(stream.read(HEAD_BYTES))
        stream.seek(0)
        if kind is not None and kind.name in _STILLS_IN_MP4:
            raise still_image(source, kind.name)
        try:
            container = av.open(
                _Nameless(stream), mode="r", options=_NO_OTHER_FILES, metadata_errors="replace"
            )
        except av.FFmpegError as exc:
            if kind is not None and kind.kind == "image":
                raise still_image(source, kind.name) from exc
            raise MediaDecodeError(source.name, _unreadable(kind)) from exc
        with container:
            demuxer = container.format.name
            if demuxer.endswith("_pipe") or demuxer == "image2":
                raise still_image(source, kind.name if kind else demuxer.removesuffix("_pipe"))
            yield container


def packets(container: InputContainer, stream: StreamT) -> Iterator[Packet[StreamT]]:
    """The track's packets from where the container stands; at the end an empty one."""
    while True:
        try:
            yield from container.demux(stream)
        except IndexError:  # PyAV meets a packet of a track that was not there on opening
            continue
        return


def promised_seconds(
    container: InputContainer, stream: AudioStream, source: Source
) -> float | None:
    """How long the header of a file says that its sound is; None where it does not say.

    Of a file that was cut off that is more than it has.
    """
    if container.format.name == "wav":
        return _wave_seconds(source)
    if container.format.name not in _EXACT or stream.duration is None or stream.time_base is None:
        return None
    return float(stream.duration * stream.time_base)


def _wave_seconds(source: Source) -> float | None:
    """By the size of the data chunk; libav goes by the size of the file."""
    with open_source(source) as file:
        file.seek(_RIFF_HEADER)
        bytes_per_second = 0
        while len(header := file.read(8)) == 8:
            name, size = struct.unpack("<4sI", header)
            if name == b"fmt ":
                content = file.read(size)
                bytes_per_second = int.from_bytes(content[8:12], "little")
            elif name == b"data":
                # What was recorded into a pipe has no size, or the largest one.
                known = bytes_per_second and 0 < size < _NO_SIZE
                return size / bytes_per_second if known else None
            else:
                file.seek(size + size % 2, os.SEEK_CUR)
    return None


def still_image(source: Source, format_name: str) -> MediaDecodeError:
    """The error for a picture where sound or moving pictures were asked for."""
    return MediaDecodeError(source.name, f"is an image ({format_name}): use g4 describe for it")


def reason(exc: av.FFmpegError) -> str:
    """What libav says, in lower case and without its error number and file name."""
    return (exc.strerror or "unknown error").rstrip(".").lower()


def _unreadable(kind: FileKind | None) -> str:
    if kind is None:
        return "not an audio or video file"
    if kind.kind == "other":
        return f"not an audio or video file but {kind.name}"
    return f"is a damaged or truncated {kind.name} file: fetch or save it again"
