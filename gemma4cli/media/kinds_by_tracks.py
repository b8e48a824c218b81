"""The kind of a medium by its tracks, as libav finds them."""

from __future__ import annotations

from typing import BinaryIO

import av
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from ..messages import MediaKind
from .containers import is_sequence, open_stream

_SCANNED_PACKETS = 1000
"""How far to look for the second picture of a track: a cover may be a track with one picture."""


def moving_tracks(container: InputContainer) -> list[VideoStream]:
    """The video tracks, without cover art."""
    return [
        track
        for track in container.streams.video
        if not track.disposition & Disposition.attached_pic
    ]


def kind_by_tracks(stream: BinaryIO) -> MediaKind | None:
    """The kind of a seekable stream; None for what libav cannot read and what has no media."""
    stream.seek(0)
    try:
        with open_stream(stream) as container:
            return _kind_of(container)
    except av.FFmpegError:
        return None


def has_several_pictures(stream: BinaryIO) -> bool:
    """Whether an image in a container of tracks is a sequence; False if it cannot be read."""
    stream.seek(0)
    try:
        with open_stream(stream) as container:
            return is_sequence(container)
    except av.FFmpegError:
        return False


def _kind_of(container: InputContainer) -> MediaKind | None:
    if container.format.name.endswith("_pipe") or container.format.name == "image2":
        return "image"
    moving = moving_tracks(container)
    if not container.streams.audio:
        return "video" if moving else None
    return "video" if any(_moves(container, track) for track in moving) else "audio"


def _moves(container: InputContainer, track: VideoStream) -> bool:
    """Whether a track beside sound has a second picture."""
    if track.frames:
        return track.frames > 1
    pictures = 0
    try:
        for number, packet in enumerate(container.demux()):
            pictures += packet.stream.index == track.index and packet.size > 0
            if pictures > 1 or number > _SCANNED_PACKETS:
                break
    except (av.FFmpegError, IndexError):  # damage, or a track that is not in the header
        return True
    return pictures > 1
