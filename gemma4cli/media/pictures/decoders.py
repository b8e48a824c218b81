"""The decoders of video tracks, and what their frames may take of memory."""

from __future__ import annotations

import av
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from ..containers import PIXELS_OPTION
from ..limits import MAX_FRAME_PIXELS

_WITH_OPACITY = {"vp8": "libvpx", "vp9": "libvpx-vp9"}

_LARGE_FRAME = 32 << 20
"""Bytes of a frame from which on only keyframes are decoded, in one thread.

Others refer to up to 16 frames, and each thread has one more.
"""
_BYTES_OF_PIXEL = 3
"""Of formats that are not known yet; and at least so many where the size may change."""


def bounded_decoder(stream: VideoStream) -> VideoCodecContext:
    """The track's decoder, with limits to what frames take, now and if their size changes."""
    decoder = _decoder(stream)
    layout, pixels = decoder.format, decoder.width * decoder.height
    size = pixels * _BYTES_OF_PIXEL
    if layout is not None:
        sizes = (part.width * part.height * -(-part.bits // 8) for part in layout.components)
        size = sum(sizes)
    if size > _LARGE_FRAME:
        decoder.skip_frame = "NONKEY"
        decoder.thread_type, decoder.thread_count = "SLICE", 1
        most = MAX_FRAME_PIXELS
    else:
        decoder.thread_type = "AUTO"
        most = max(pixels, _LARGE_FRAME // _BYTES_OF_PIXEL)
    decoder.options = {**decoder.options, PIXELS_OPTION: str(most)}
    return decoder


def _decoder(stream: VideoStream) -> VideoCodecContext:
    """For VP8 and VP9 with opacity libvpx, as libav's own decoder ignores it."""
    name = _WITH_OPACITY.get(stream.codec_context.name)
    marked = stream.metadata.get("alpha_mode") == "1"
    if name is None or not marked or name not in av.codecs_available:
        return stream.codec_context
    decoder = av.Codec(name, "r").create("video")
    decoder.extradata = stream.codec_context.extradata
    decoder.width, decoder.height = stream.width, stream.height
    return decoder
