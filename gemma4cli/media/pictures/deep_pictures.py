"""Pictures of more than 8 bits in HDR and wide gamut, of which Pillow keeps 8."""

from __future__ import annotations

from typing import BinaryIO

import av
import numpy as np
from PIL.ImageFile import ImageFile

from ..containers import open_stream
from ..limits import MAX_PIXELS
from .colors import ColorSpace, Pixels, to_srgb
from .display import srgb_pixels

_PNG_DEPTH = 24
"""Where a PNG file has the bits of a channel."""


def deep_picture(
    opened: ImageFile, format_name: str, stream: BinaryIO, space: ColorSpace
) -> Pixels | None:
    """The picture that ``opened`` shows with all its bits, in sRGB, uint8 ``[H, W, 3]``.

    None if it has 8 bits, or if the reader at hand cannot tell more than Pillow.
    """
    match format_name:
        case "AVIF" if space.is_hdr and opened.mode == "RGB":
            return _by_libav(stream, opened.size, space)
        case "PNG" if opened.mode in ("RGB", "RGBA") and _is_deep_png(stream):
            return _by_libav(stream, opened.size, space)
        case "HEIC" if opened.mode == "RGB":
            return _heic(stream, opened.tell(), space)
    return None


def _is_deep_png(stream: BinaryIO) -> bool:
    stream.seek(_PNG_DEPTH)
    return stream.read(1) == b"\x10"


def _by_libav(stream: BinaryIO, size: tuple[int, int], space: ColorSpace) -> Pixels | None:
    """The only picture of the file.

    Of AVIF, libav reads neither pictures made of tiles nor opacity. The file's color space comes
    before that of the coded picture.
    """
    stream.seek(0)
    try:
        with open_stream(stream, most_pixels=MAX_PIXELS) as container:
            if len(container.streams.video) != 1:
                return None
            frame = next(container.decode(container.streams.video[0]), None)
            if frame is None or (frame.width, frame.height) != size:
                return None
            frame.colorspace = container.streams.video[0].codec_context.colorspace
            return srgb_pixels(frame, space)
    except av.FFmpegError:
        return None


def _heic(stream: BinaryIO, number: int, space: ColorSpace) -> Pixels | None:
    from pillow_heif import HeifFile

    stream.seek(0)
    picture = HeifFile(stream, convert_hdr_to_8bit=False)[number]
    if picture.mode != "RGB;16":
        return None
    return to_srgb(np.asarray(picture), space)
