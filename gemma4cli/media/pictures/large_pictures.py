"""What decoding a picture takes of memory, checked before it is decoded; large ones are shrunk."""

from __future__ import annotations

import math
import re
import struct
from typing import BinaryIO

from PIL import Image as Pillow
from PIL.ImageFile import ImageFile

from ...errors import MediaDecodeError
from ...messages import Source
from ..limits import MAX_FRAME_PIXELS, check_size

WHOLE_PIXELS, SHRUNK_PIXELS = 96_000_000, 24_000_000
"""Pictures with more pixels than the first are shrunk by a whole factor, to the second or less:
models see a few million."""

DECODING_BYTES = 820_000_000
"""The most memory that decoding a picture may take."""

DEEP_PIXELS = 24_000_000
"""Up to here all bits of deep colors are kept, which takes 30 bytes per pixel, above 8 of them."""

_STORED = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2, "LA": 4}
"""Bytes that Pillow keeps for a pixel, by mode; 4 of all others."""

_BESIDE = {
    "AVIF": 6, "BLP": 8, "DDS": 8, "FITS": 8, "HEIC": 6, "ICNS": 16, "JPEG 2000": 16, "MSP": 8,
    "QOI": 4, "SGI": 4, "WebP": 12, "XPM": 8,
}  # fmt: skip
"""Bytes per pixel that readers take beside that, by format."""

_WHOLE_FILE = frozenset({"AVIF", "HEIC", "WebP"})
_MOST_FILE_BYTES = 256 << 20

_PYTHON_PIXELS = 6_000_000
"""The most pixels for decoders in Python: the slowest take 1.5 seconds per million."""

_UNBOUNDED = frozenset({"fits_gzip"})
"""Pillow's names of decoders that unpack a file whatever comes out of it."""

_ANIMATION_PIXELS = 500_000_000
"""The most pixels of all frames of an animation that Pillow reads."""

_ICONS = frozenset({"CUR", "ICNS", "ICO"})
_ICON_PIXELS, _ICON_BYTES = 4096 * 4096, 64 << 20
_PICTURES_IN_ICONS = re.compile(
    rb"\x89PNG\r\n\x1a\n[\s\S]{4}IHDR([\s\S]{8})|\xff\x4f\xff\x51[\s\S]{4}([\s\S]{8})"
)
"""PNG and JPEG 2000 with their width and height: the icon's directory may say another one."""

_ROWS_PER_STRIP, _TILE_WIDTH, _TILE_HEIGHT = 278, 322, 323
_BITS_PER_SAMPLE, _SAMPLES = 258, 277

_HEAD_BYTES = 1 << 22
_CODESTREAM, _CODING_STYLE, _LEVELS = b"\xff\x4f\xff\x51", b"\xff\x52\x00", 9
"""Marks in JPEG 2000, and where after the second one the number of halvings is."""


def check_file_size(source: Source, format_name: str, stream: BinaryIO) -> None:
    """Raises MediaDecodeError for a huge file whose reader takes it into memory.

    Also for an icon that holds a huge picture, which its reader decodes while it is opened.
    """
    if format_name not in _WHOLE_FILE | _ICONS:
        return
    size = stream.seek(0, 2)
    stream.seek(0)
    most = _ICON_BYTES if format_name in _ICONS else _MOST_FILE_BYTES
    if size > most:
        raise MediaDecodeError(
            source.name,
            f"is too large: {size >> 20:,} MB; the limit for {format_name} is {most >> 20} MB",
        )
    if format_name in _ICONS:
        for match in _PICTURES_IN_ICONS.finditer(stream.read()):
            width, height = struct.unpack(">II", match[1] or match[2])
            check_size(source, width, height, _ICON_PIXELS)
        stream.seek(0)


def check_animation(source: Source, opened: ImageFile, frames: int) -> None:
    """Raises MediaDecodeError for an animation that takes too long to decode."""
    check_size(source, *opened.size, MAX_FRAME_PIXELS)
    if frames * opened.width * opened.height > _ANIMATION_PIXELS:
        raise MediaDecodeError(
            source.name,
            f"is too large: {frames:,} frames of {opened.width}x{opened.height} pixels: convert "
            "it to MP4, or make it smaller",
        )


def prepare_to_decode(
    source: Source, opened: ImageFile, format_name: str, stream: BinaryIO
) -> None:
    """Check the picture's size, and let its reader shrink it where it can and must.

    Raises MediaDecodeError if it has no pixels, too many, or takes too much memory.
    """
    check_size(source, *opened.size)
    width, height = opened.size
    pixels = width * height
    decoders = {tile.codec_name for tile in getattr(opened, "tile", ())} & Pillow.DECODERS.keys()
    if decoders & _UNBOUNDED:
        raise MediaDecodeError(source.name, "is compressed by gzip: unpack it, or convert it")
    if decoders and pixels > _PYTHON_PIXELS:
        raise MediaDecodeError(
            source.name,
            f"is too large: {width}x{height} pixels; the limit for such a {format_name} image is "
            f"{_PYTHON_PIXELS:,}: convert it to JPEG or PNG",
        )
    if format_name == "JPEG" and pixels > WHOLE_PIXELS:
        half = shrinking(pixels)
        opened.draft(opened.mode, (width // half, height // half))
    needed = _decoding_bytes(opened, format_name)
    if format_name == "JPEG 2000" and needed > DECODING_BYTES:
        halvings = _halvings((width, height), needed, _most_halvings(stream))
        opened.reduce = halvings  # type: ignore[method-assign,assignment]
        needed >>= 2 * halvings
    if needed > DECODING_BYTES:
        raise MediaDecodeError(
            source.name,
            f"is too large: {width}x{height} pixels; the limit for such a {format_name} image is "
            f"{pixels * DECODING_BYTES // needed:,}: make it smaller",
        )


def _halvings(size: tuple[int, int], needed: int, most: int) -> int:
    """How often to halve a JPEG 2000 image whose decoding takes ``needed`` bytes.

    Pillow rounds the size where the codec rounds up, and fails where these differ.
    """
    least = math.ceil(math.log(needed / DECODING_BYTES, 4))
    wanted = math.ceil(math.log(max(1.0, size[0] * size[1] / SHRUNK_PIXELS), 4))
    for count in (*range(max(least, wanted), least - 1, -1), *range(wanted + 1, most + 1)):
        unit = 1 << count
        if count <= most and all((side + unit // 2) // unit == -(-side // unit) for side in size):
            return int(count)
    return 0


def shrinking(pixels: int) -> int:
    """The factor by which the sides of a picture with so many pixels are divided."""
    return 1 if pixels <= WHOLE_PIXELS else math.ceil(math.sqrt(pixels / SHRUNK_PIXELS))


def _decoding_bytes(opened: ImageFile, format_name: str) -> int:
    per_pixel = _STORED.get(opened.mode, 4) + _BESIDE.get(format_name, 0)
    needed = per_pixel * opened.width * opened.height
    if format_name == "JPEG" and "progressive" in opened.info:
        # All coefficients are kept, also where fewer pixels are made of them.
        scale = (opened.decoderconfig or (1,))[0]
        coefficients = 2 * len(opened.getbands()) * scale**2
        needed += coefficients * opened.width * opened.height
    if format_name == "TIFF":
        needed += _strip_bytes(opened)
    return needed


def _strip_bytes(opened: ImageFile) -> int:
    """The size of what a TIFF is compressed in; it may be the whole picture."""
    tags = getattr(opened, "tag_v2", {})
    bits = tags.get(_BITS_PER_SAMPLE, (8,))
    samples, depth = int(tags.get(_SAMPLES, 1)), max(bits if isinstance(bits, tuple) else (bits,))
    if _TILE_WIDTH in tags:
        pixels = int(tags[_TILE_WIDTH]) * int(tags.get(_TILE_HEIGHT, 1))
    else:
        rows = min(int(tags.get(_ROWS_PER_STRIP, opened.height)), opened.height)
        pixels = rows * opened.width
    return pixels * samples * int(depth) // 8


def _most_halvings(stream: BinaryIO) -> int:
    """How often a JPEG 2000 image can be halved while it is decoded."""
    position = stream.tell()
    stream.seek(0)
    head = stream.read(_HEAD_BYTES)
    stream.seek(position)
    at = head.find(_CODING_STYLE, max(head.find(_CODESTREAM), 0))
    return head[at + _LEVELS] if 0 <= at < len(head) - _LEVELS else 0
