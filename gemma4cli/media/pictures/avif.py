"""The colors of AVIF files, which Pillow does not tell."""

from __future__ import annotations

from typing import BinaryIO

import av
from av.video.stream import VideoStream

from ..containers import open_stream
from ..limits import MAX_PIXELS
from .colors import ColorSpace


def color_space_of(stream: BinaryIO) -> ColorSpace | None:
    """By the container or by the coded picture; None if libav cannot read it."""
    stream.seek(0)
    try:
        with open_stream(stream, most_pixels=MAX_PIXELS) as container:
            best = container.streams.best("video")
            if not isinstance(best, VideoStream) or best.codec_context is None:
                return None
            codec = best.codec_context
            return ColorSpace(primaries=codec.color_primaries, transfer=codec.color_trc)
    except av.FFmpegError:
        return None
