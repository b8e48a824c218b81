"""The kind of a file by its first bytes, and the suffixes of images in folders."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

HEAD_BYTES = 64
"""How many bytes of a file ``sniff`` needs."""

IMAGE_SUFFIXES = frozenset({
    ".avif", ".bmp", ".dib", ".gif", ".heic", ".heif", ".hif", ".j2k", ".jfif", ".jp2", ".jpe",
    ".jpeg", ".jpf", ".jpg", ".jpx", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".qoi", ".tif",
    ".tiff", ".webp",
})  # fmt: skip
"""Suffixes of the files to read from a folder; files given by name are sniffed instead."""

MEDIA_SUFFIXES = IMAGE_SUFFIXES | {
    ".3gp", ".aac", ".aif", ".aiff", ".amr", ".apng", ".avi", ".caf", ".flac", ".flv", ".ico",
    ".m4a", ".m4b", ".m4v", ".mka", ".mkv", ".mov", ".mp3", ".mp4", ".mpeg", ".mpg", ".mts", ".oga",
    ".ogg", ".ogv", ".opus", ".svg", ".tga", ".wav", ".weba", ".webm", ".wma", ".wmv",
}  # fmt: skip
"""Suffixes that only media have, so that a word with one names a file."""

Kind = Literal["image", "audio", "video", "other"]


@dataclass(frozen=True, kw_only=True, slots=True)
class FileKind:
    """The format's common name and the kind of its content."""

    name: str
    kind: Kind


_MAGIC: tuple[tuple[int, bytes, str, Kind], ...] = (
    (0, b"\xff\xd8\xff", "JPEG", "image"),
    (0, b"\x89PNG\r\n\x1a\n", "PNG", "image"),
    (0, b"GIF87a", "GIF", "image"),
    (0, b"GIF89a", "GIF", "image"),
    (8, b"WEBP", "WebP", "image"),
    (0, b"II*\x00", "TIFF", "image"),
    (0, b"MM\x00*", "TIFF", "image"),
    (0, b"II+\x00", "TIFF", "image"),
    (0, b"MM\x00+", "TIFF", "image"),
    (0, b"\x00\x00\x00\x0cjP  \r\n\x87\n", "JPEG 2000", "image"),
    (0, b"\xff\x4f\xff\x51", "JPEG 2000", "image"),
    (0, b"qoif", "QOI", "image"),
    (0, b"8BPS", "PSD", "image"),
    (0, b"\x00\x00\x01\x00", "ICO", "image"),
    (0, b"<svg", "SVG", "other"),
    (0, b"%PDF-", "PDF", "other"),
    (0, b"PK\x03\x04", "ZIP", "other"),
    (0, b"\x1f\x8b\x08", "gzip", "other"),
    (0, b"\x7fELF", "a program", "other"),
    (8, b"WAVE", "WAV", "audio"),
    (8, b"AIFF", "AIFF", "audio"),
    (0, b"fLaC", "FLAC", "audio"),
    (0, b"OggS", "Ogg", "audio"),
    (0, b"ID3", "MP3", "audio"),
    (0, b"\x1aE\xdf\xa3", "Matroska or WebM", "video"),
    (8, b"AVI ", "AVI", "video"),
    (0, b"FLV\x01", "FLV", "video"),
)
_RIFF_LIKE = {b"WEBP": b"RIFF", b"WAVE": b"RIFF", b"AVI ": b"RIFF", b"AIFF": b"FORM"}
_BMP_HEADER_SIZES = (12, 40, 52, 56, 64, 108, 124)
_HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}
_AVIF_BRANDS = {b"avif", b"avis"}
_AUDIO_BRANDS = {b"M4A ", b"M4B "}


def sniff(head: bytes) -> FileKind | None:
    """The kind of a file by its first ``HEAD_BYTES`` bytes, or None if it is not known."""
    if head[4:8] == b"ftyp":
        return _sniff_brands(head)
    for offset, magic, name, kind in _MAGIC:
        if head[offset : offset + len(magic)] != magic:
            continue
        if offset == 0 or head[:4] == _RIFF_LIKE[magic]:
            return FileKind(name=name, kind=kind)
    if head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in _BMP_HEADER_SIZES:
        return FileKind(name="BMP", kind="image")
    if head[:1] == b"P" and head[1:2] in b"123456" and head[2:3].isspace():
        return FileKind(name="PNM", kind="image")
    return None


def _sniff_brands(head: bytes) -> FileKind:
    """The kind of an ISO media file (MP4 and related formats) by the brands in its ``ftyp`` box.

    The major brand decides, except the generic image brands, for which the others do.
    """
    size = min(int.from_bytes(head[:4], "big"), len(head))
    major = head[8:12]
    brands = {head[at : at + 4] for at in range(16, size - 3, 4)} | {major}
    if major in _AVIF_BRANDS or (major in {b"mif1", b"msf1"} and brands & _AVIF_BRANDS):
        return FileKind(name="AVIF", kind="image")
    if major in _HEIC_BRANDS:
        return FileKind(name="HEIC", kind="image")
    if major in _AUDIO_BRANDS:
        return FileKind(name="M4A", kind="audio")
    return FileKind(name="MP4 or MOV", kind="video")
