"""The kind of a file by its first bytes, and the suffixes of images in folders."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

HEAD_BYTES = 64
"""How many bytes of a file ``sniff`` needs."""

IMAGE_SUFFIXES = frozenset({
    ".apng", ".avif", ".avifs", ".blp", ".bmp", ".cur", ".dcx", ".dds", ".dib", ".fit", ".fits",
    ".flc", ".fli", ".gif", ".heic", ".heics", ".heif", ".heifs", ".hif", ".icns", ".ico", ".j2c",
    ".j2k", ".jfif", ".jp2", ".jpc", ".jpe", ".jpeg", ".jpf", ".jpg", ".jpx", ".mpo", ".msp",
    ".pbm", ".pcx", ".pfm", ".pgm", ".png", ".pnm", ".ppm", ".psd", ".qoi", ".ras", ".sgi", ".tga",
    ".tif", ".tiff", ".webp", ".xbm", ".xpm",
})  # fmt: skip
"""Suffixes of the files to read from a folder; files given by name are sniffed instead."""

SOUND_SUFFIXES = frozenset({
    ".aac", ".ac3", ".aif", ".aifc", ".aiff", ".amr", ".ape", ".au", ".caf", ".flac", ".m4a",
    ".m4b", ".mka", ".mp2", ".mp3", ".oga", ".ogg", ".opus", ".ra", ".spx", ".tta", ".w64", ".wav",
    ".weba", ".wma", ".wv",
})  # fmt: skip
CLIP_SUFFIXES = frozenset({
    ".3g2", ".3gp", ".asf", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg",
    ".mpg", ".mts", ".mxf", ".ogv", ".rm", ".ts", ".vob", ".webm", ".wmv",
})  # fmt: skip
"""The same for recordings and for videos, which are recordings, too."""

_OF_OTHER_FILES_TOO = {".ape", ".au", ".ra", ".rm", ".ts"}

MEDIA_SUFFIXES = (IMAGE_SUFFIXES | SOUND_SUFFIXES | CLIP_SUFFIXES | {".svg"}) - _OF_OTHER_FILES_TOO
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
    (0, b"icns", "ICNS", "image"),
    (0, b"DDS ", "DDS", "image"),
    (0, b"BLP1", "BLP", "image"),
    (0, b"BLP2", "BLP", "image"),
    (0, b"\x01\xda", "SGI", "image"),
    (0, b"\x59\xa6\x6a\x95", "Sun raster", "image"),
    (0, b"\xb1\x68\xde\x3a", "DCX", "image"),
    (0, b"DanM", "MSP", "image"),
    (0, b"LinS", "MSP", "image"),
    (0, b"SIMPLE  =", "FITS", "image"),
    (0, b"/* XPM */", "XPM", "image"),
    (0, b"\x00\x00\x00\x0cJXL \r\n\x87\n", "JPEG XL", "image"),
    (0, b"\xff\x0a", "JPEG XL", "image"),
    (0, b"\x76\x2f\x31\x01", "OpenEXR", "image"),
    (0, b"#?RADIANCE", "Radiance HDR", "image"),
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
_PCX_VERSIONS, _PCX_CODING = (0, 2, 3, 5), (b"\x01\x01", b"\x01\x02", b"\x01\x04", b"\x01\x08")
_FLI_MAGIC = (b"\x11\xaf", b"\x12\xaf")
_XBM_START = re.compile(rb"\s*#define\s+\w*width\s+\d+\s")
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
    if head[:4] == b"\x00\x00\x02\x00" and head[4:6] not in (b"", b"\x00\x00"):  # 0 is a TGA
        return FileKind(name="CUR", kind="image")
    if head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in _BMP_HEADER_SIZES:
        return FileKind(name="BMP", kind="image")
    if head[:1] == b"P" and head[1:2] in b"123456f" and head[2:3].isspace():
        return FileKind(name="PNM", kind="image")
    if len(head) > 4 and head[0] == 10 and head[1] in _PCX_VERSIONS and head[2:4] in _PCX_CODING:
        return FileKind(name="PCX", kind="image")
    if head[4:6] in _FLI_MAGIC and head[12:14] == b"\x08\x00":
        return FileKind(name="FLI", kind="image")
    if _XBM_START.match(head):
        return FileKind(name="XBM", kind="image")
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
