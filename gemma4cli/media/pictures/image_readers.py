"""Opens image files with the Pillow reader that their content asks for."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from importlib import import_module
from io import BytesIO
from mmap import mmap
from typing import BinaryIO

from PIL import Image as Pillow
from PIL.ImageFile import ImageFile

from ...errors import MediaDecodeError, OutOfMemoryError, is_out_of_memory
from ...extras import install_command
from ...messages import MediaKind, Source
from ..kinds import FileKind
from ..recognition import image_kind, kind_of_stream
from ..sources import open_source
from .large_pictures import check_file_size


def _pillows(name: str, stream: BinaryIO) -> ImageFile:
    """By Pillow's reader of that name, which is imported for the first file of its format."""
    reader: ImageFile = getattr(import_module(f"PIL.{name}ImagePlugin"), f"{name}ImageFile")(stream)
    return reader


def _heif_reader(stream: BinaryIO) -> ImageFile:
    """HEIC by pillow-heif, from the extra ``heif``; its images are upright already."""
    from pillow_heif import HeifImageFile

    reader: ImageFile = HeifImageFile(stream)
    return reader


def _jpeg_reader(stream: BinaryIO) -> ImageFile:
    """JPEG, or the several of them in an MPO file, as cameras with two lenses write it."""
    reader = _pillows("Jpeg", stream)
    if "mp" not in reader.info:
        return reader
    stream.seek(0)
    try:
        return _pillows("Mpo", stream)
    except PILLOW_ERRORS:  # the first picture may be whole all the same
        stream.seek(0)
        return _pillows("Jpeg", stream)


def _jpeg2000_reader(stream: BinaryIO) -> ImageFile:
    """JPEG 2000 with its ICC profile, which Pillow leaves out."""
    header = dict(_boxes(stream.read(_JP2_HEAD))).get(b"jp2h", b"")
    stream.seek(0)
    for name, content in _boxes(header):
        if name == b"colr" and content[:1] in _WITH_PROFILE:
            reader = _pillows("Jpeg2K", stream)
            reader.info["icc_profile"] = content[3:]
            return reader
    return _pillows("Jpeg2K", stream)


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The names and contents of the boxes at the beginning of a JP2 file, or within a box."""
    at = 0
    while at + 8 <= len(data):
        size, name = struct.unpack_from(">I4s", data, at)
        if size < 8:
            return
        yield name, data[at + 8 : at + size]
        at += size


def _webp_reader(stream: BinaryIO) -> ImageFile:
    """WebP; what no frame of an animation covers is transparent, whatever the header says."""
    data = bytearray(stream.read())
    if data[12:16] == b"VP8X" and data[_WEBP_FLAGS] & _WEBP_ANIMATED:
        data[_WEBP_FLAGS] |= _WEBP_OPACITY
    return _pillows("WebP", BytesIO(data))


# Image.open would try formats that start other programs (EPS), and it warns about large images
# through the process-wide warning filters. So the reader is chosen here, by content.
_READERS: dict[str, Callable[[BinaryIO], ImageFile]] = {
    "AVIF": partial(_pillows, "Avif"),
    "BLP": partial(_pillows, "Blp"),
    "BMP": partial(_pillows, "Bmp"),
    "CUR": partial(_pillows, "Cur"),
    "DCX": partial(_pillows, "Dcx"),
    "DDS": partial(_pillows, "Dds"),
    "FITS": partial(_pillows, "Fits"),
    "FLI": partial(_pillows, "Fli"),
    "GIF": partial(_pillows, "Gif"),
    "HEIC": _heif_reader,
    "ICNS": partial(_pillows, "Icns"),
    "ICO": partial(_pillows, "Ico"),
    "JPEG": _jpeg_reader,
    "JPEG 2000": _jpeg2000_reader,
    "MSP": partial(_pillows, "Msp"),
    "PCX": partial(_pillows, "Pcx"),
    "PNG": partial(_pillows, "Png"),
    "PNM": partial(_pillows, "Ppm"),
    "PSD": partial(_pillows, "Psd"),
    "QOI": partial(_pillows, "Qoi"),
    "SGI": partial(_pillows, "Sgi"),
    "Sun raster": partial(_pillows, "Sun"),
    "TGA": partial(_pillows, "Tga"),
    "TIFF": partial(_pillows, "Tiff"),
    "WebP": _webp_reader,
    "XBM": partial(_pillows, "Xbm"),
    "XPM": partial(_pillows, "Xpm"),
}

PILLOW_ERRORS = (
    OSError,  # includes UnidentifiedImageError and truncation
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    OverflowError,
    RuntimeError,
    AssertionError,  # a palette that is missing
    struct.error,
    zlib.error,
    Pillow.DecompressionBombError,
    Pillow.DecompressionBombWarning,
)
"""Errors of Pillow's readers for damaged files; they have no common base class."""

_DECODED_BYTES = 16
"""Bytes that a decoder takes for a pixel: OpenJPEG has four for each of up to four channels."""

_UNSUPPORTED = ("unknown pixel mode", "unsupported", "not supported", "unimplemented")
"""What Pillow says of variants of a format that it does not read."""

_JP2_HEAD = 1 << 22
"""Bytes of a JP2 file within which its header is; the largest part of it is the profile."""
_WITH_PROFILE = (b"\x02", b"\x03")
_WEBP_FLAGS = 20
_WEBP_ANIMATED, _WEBP_OPACITY = 0x02, 0x10


@contextmanager
def opened_image(source: Source) -> Iterator[tuple[ImageFile, str, BinaryIO]]:
    """The image file, not decoded yet, its format's name and its bytes, for a with block.

    Pillow's errors within the block become MediaDecodeErrors that name the source. Raises
    MediaDecodeError unless the content is an image, and the errors of ``open_source``.
    """
    with open_source(source) as stream:
        kind = image_kind(source, stream)
        if kind is None or kind.name not in _READERS:
            raise MediaDecodeError(source.name, _not_an_image(kind, kind_of_stream(stream, kind)))
        check_file_size(source, kind.name, stream)
        size = (0, 0)
        try:
            with _READERS[kind.name](stream) as opened, _without_lines_of_libtiff(kind.name):
                size = opened.size
                yield opened, kind.name, stream
        except ModuleNotFoundError as exc:
            needed = (
                f"HEIC needs a package: {install_command('heif')}, or convert it to JPEG or PNG"
            )
            raise MediaDecodeError(source.name, needed) from exc
        except PILLOW_ERRORS as exc:
            if is_out_of_memory(exc) or not _has_room(size):
                raise OutOfMemoryError from exc
            raise MediaDecodeError(source.name, _damage(kind.name, exc)) from exc


@contextmanager
def _without_lines_of_libtiff(format_name: str) -> Iterator[None]:
    """libtiff writes what it finds wrong to descriptor 2, beside the error that Pillow raises."""
    kept = None
    if format_name == "TIFF":
        with suppress(OSError):  # closed
            kept = os.dup(2)
    if kept is None:
        yield
        return
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _has_room(size: tuple[int, int]) -> bool:
    """Whether there are addresses to decode an image; some decoders call their lack damage."""
    try:
        mmap(-1, max(1, size[0] * size[1] * _DECODED_BYTES)).close()
    except (OSError, ValueError, OverflowError):
        return False
    return True


def _not_an_image(found: FileKind | None, kind: MediaKind | None) -> str:
    if found is not None and found.kind == "image":
        return f"{found.name} images are not supported; convert it to JPEG or PNG"
    what = "not an image" if found is None else f"not an image but {found.name}"
    match kind:
        case "audio" if found is not None and found.kind == "video":
            return "is a recording without pictures: use g4 transcribe"
        case "audio":
            return f"{what}: use g4 transcribe"
        case "video":
            return f"{what}: use g4 video"
    if found is not None:
        return f"{what}; convert it to JPEG or PNG"
    return f"{what}, or in an unsupported format"


def _damage(format_name: str, exc: Exception) -> str:
    """A one-line message about a damaged image; Pillow reports truncation in several ways."""
    text = " ".join(str(exc).split()).lower()
    if "not installed" in text or "not available" in text:  # Pillow was built without the codec
        return f"{format_name} is not supported by the installed Pillow; convert it to JPEG or PNG"
    if any(words in text for words in _UNSUPPORTED):
        return (
            f"is a {format_name} image of a kind that is not supported; convert it to JPEG or PNG"
        )
    cut = isinstance(exc, EOFError) or "truncated" in text or "end of file" in text
    state = "truncated" if cut else "damaged"
    return f"is a {state} {format_name} image: download or save it again"
