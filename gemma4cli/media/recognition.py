"""The kind of a medium by what is in it, whatever its name and container are.

libav is imported for what the first bytes do not settle.
"""

from __future__ import annotations

import os
from pathlib import PurePath
from typing import BinaryIO

from ..messages import MediaKind, Source
from .kinds import HEAD_BYTES, FileKind, sniff
from .sources import open_source

_TEXT_SAMPLE_BYTES = 4096
"""libav takes some text for subtitles or pictures; what begins like text is not opened."""

_WEBP_HEADER, _PNG_HEADER = 12, 8
_TGA_SUFFIXES = frozenset({".tga", ".icb", ".vda", ".vst"})
_TGA_TYPES, _TGA_DEPTHS = (1, 2, 3, 9, 10, 11), (1, 8, 15, 16, 24, 32)
_TGA_FOOTER = b"TRUEVISION-XFILE."


def kind_of(source: Source) -> MediaKind | None:
    """Whether a source is an image, sound or a video; None for anything else.

    Raises the errors of ``open_source``; standard input is read, so it must be settled before.
    """
    with open_source(source) as stream:
        return kind_of_stream(stream, image_kind(source, stream))


def kind_of_stream(stream: BinaryIO, found: FileKind | None = None) -> MediaKind | None:
    """The kind of a seekable stream's content; the position is undefined afterwards.

    ``found`` is what its first bytes say, as ``image_kind`` has it.

    A video has moving pictures: cover art does not count, an animated image does. Sound without
    them is audio in any container. A damaged file has the kind that its first bytes promise.
    """
    stream.seek(0)
    head = stream.read(_TEXT_SAMPLE_BYTES)
    found = found or sniff(head[:HEAD_BYTES])
    match found:
        case FileKind(kind="other"):
            return None
        case FileKind(kind="image"):
            return "video" if _is_animated(stream, found.name) else "image"
        case None if _is_text(head):
            return None
    promised = None if found is None or found.kind == "other" else found.kind
    from .kinds_by_tracks import kind_by_tracks

    return kind_by_tracks(stream) or promised


def image_kind(source: Source, stream: BinaryIO) -> FileKind | None:
    """The kind of the file by its content; TGA, which has no mark of its own, also by its name."""
    head = stream.read(HEAD_BYTES)
    kind = sniff(head)
    if kind is None and _is_tga(source, head, stream):
        kind = FileKind(name="TGA", kind="image")
    stream.seek(0)
    return kind


def _is_tga(source: Source, head: bytes, stream: BinaryIO) -> bool:
    if len(head) < 18 or head[1] > 1 or head[2] not in _TGA_TYPES or head[16] not in _TGA_DEPTHS:
        return False
    if PurePath(source.path or source.name).suffix.lower() in _TGA_SUFFIXES:
        return True
    stream.seek(0, 2)
    stream.seek(max(0, stream.tell() - 18))
    return stream.read().startswith(_TGA_FOOTER)


def _is_animated(stream: BinaryIO, format_name: str) -> bool:
    """Whether an image has more than one frame."""
    stream.seek(0)
    match format_name:
        case "PNG":
            control = png_chunk(stream, b"acTL")
            return control is not None and int.from_bytes(control[:4], "big") > 1
        case "WebP":
            return _webp_frames(stream) > 1
        case "FLI":
            return int.from_bytes(stream.read(8)[6:], "little") > 1
        case "GIF" | "AVIF" | "HEIC":
            from .kinds_by_tracks import has_several_pictures

            return has_several_pictures(stream)
    return False


def png_chunk(stream: BinaryIO, wanted: bytes) -> bytes | None:
    """The content of a PNG's chunk before the pixels; None if there is none."""
    stream.seek(_PNG_HEADER)
    while len(head := stream.read(8)) == 8 and head[4:] not in (b"IDAT", b"IEND"):
        size = int.from_bytes(head[:4], "big")
        if head[4:] == wanted:
            return stream.read(size)
        stream.seek(size + 4, os.SEEK_CUR)
    return None


def _webp_frames(stream: BinaryIO) -> int:
    """The number of frames of an animated WebP; 0 for a still one."""
    stream.seek(_WEBP_HEADER)
    frames = 0
    while len(header := stream.read(8)) == 8:
        size, name = int.from_bytes(header[4:], "little"), header[:4]
        frames += name == b"ANMF"
        stream.seek(size + size % 2, os.SEEK_CUR)
    return frames


def _is_text(head: bytes) -> bool:
    """Whether a file begins with nothing but printable UTF-8, the last character perhaps cut."""
    if any(byte < 0x20 and byte not in b"\t\n\f\r\x1b" for byte in head):
        return False
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as exc:
        return exc.start > len(head) - 4 and len(head) == _TEXT_SAMPLE_BYTES
    return True
