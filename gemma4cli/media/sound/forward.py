"""Which pipes are heard as they come, and which are needed as a whole."""

from __future__ import annotations

from contextlib import closing

from ...errors import MediaError, NoAudioTrackError, TrackNotFoundError
from ..containers import open_container
from ..feeds import LiveSource
from .decoding import timed_frames
from .tracks import ANY_TRACK, TrackChoice

_FORWARD = frozenset({
    "aac", "ac3", "adx", "aiff", "amr", "asf", "au", "avi", "dts", "eac3", "flac", "flv", "gsm",
    "ircam", "loas", "matroska,webm", "mp3", "mpeg", "mpegts", "nut", "ogg", "rm", "sox", "truehd",
    "tta", "voc", "w64", "wav",
})  # fmt: skip
"""libav's names of the containers that give the same sound if it cannot seek in them."""


def can_be_heard(source: LiveSource, choice: TrackChoice = ANY_TRACK) -> bool:
    """Whether a pipe's sound can be decoded from its beginning on; if so, its feed goes on.

    Raises NoAudioTrackError and TrackNotFoundError.
    """
    try:
        with open_container(source) as container:
            if container.format.name not in _FORWARD:
                return False
        with closing(timed_frames(source, choice)) as frames:
            next(frames)
    except (NoAudioTrackError, TrackNotFoundError):
        if source.feed.is_full:
            return False
        raise
    except MediaError:
        return False
    source.feed.heard = True
    return True
