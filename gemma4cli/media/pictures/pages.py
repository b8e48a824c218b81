"""Which pictures an image file holds: pages, frames of an animation, or just one."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from PIL.ImageFile import ImageFile

_ANIMATIONS = frozenset({"AVIF", "FLI", "GIF", "PNG", "WebP"})
_COLLECTIONS = frozenset({"DCX", "HEIC", "JPEG", "TIFF"})
"""Formats whose pictures are equals. ICO, CUR and ICNS hold one picture in several sizes, of which
their readers take the largest; PSD holds layers beside the whole picture."""

_MOST_PAGES = 2000
"""Of a TIFF; finding more takes long, and a few megabytes may have 100,000."""

_SUBFILE_TYPE, _ICC_PROFILE = 254, 34675
_REDUCED_OR_MASK = 0b101


@dataclass(frozen=True, kw_only=True, slots=True)
class Pictures:
    """What a file holds.

    ``pages`` are the reader's numbers of the pages, ``main`` is the index of the one to show if
    none is chosen; ``frames`` is the number of frames of an animation, 1 for a still.
    """

    pages: tuple[int, ...]
    main: int = 0
    frames: int = 1


def pictures_in(opened: ImageFile, format_name: str) -> Pictures:
    """What the file holds. Raises the reader's errors for a damaged file."""
    shown = opened.tell()
    count = _tiff_pages(opened) if format_name == "TIFF" else int(getattr(opened, "n_frames", 1))
    if format_name == "PNG" and getattr(opened, "default_image", False):
        count -= 1  # a still for viewers without animation
    if count > 1 and format_name in _ANIMATIONS:
        return Pictures(pages=(shown,), frames=count)
    if count < 2 or format_name not in _COLLECTIONS:
        return Pictures(pages=(shown,))
    pages = tuple(range(count))
    if format_name == "TIFF":
        pages = _whole_pages(opened, count)
    elif format_name == "JPEG":
        pages = _equal_pages(opened, count)
    opened.seek(shown)
    return Pictures(pages=pages, main=pages.index(shown) if shown in pages else 0)


def turn_to(opened: ImageFile, format_name: str, number: int) -> None:
    """Show a page by the reader's number. Raises the reader's errors for a damaged file."""
    if opened.tell() != number:
        opened.seek(number)
    if format_name == "TIFF" and _ICC_PROFILE not in getattr(opened, "tag_v2", {}):
        opened.info.pop("icc_profile", None)  # of the page before


def _tiff_pages(opened: ImageFile) -> int:
    """The number of pages of a TIFF; those after ``_MOST_PAGES`` do not count."""
    count = 1
    with suppress(EOFError):
        while count < _MOST_PAGES:
            opened.seek(count)
            count += 1
    return count


def _equal_pages(opened: ImageFile, count: int) -> tuple[int, ...]:
    """The pictures of an MPO as large as the first; others are previews and maps for HDR."""
    size, pages = opened.size, []
    for number in range(count):
        opened.seek(number)
        if opened.size == size:
            pages.append(number)
    return tuple(pages)


def _whole_pages(opened: ImageFile, count: int) -> tuple[int, ...]:
    """The pages of a TIFF, without smaller copies of them and masks."""
    pages = []
    for number in range(count):
        opened.seek(number)
        kind = getattr(opened, "tag_v2", {}).get(_SUBFILE_TYPE, 0)
        if not (isinstance(kind, int) and kind & _REDUCED_OR_MASK):
            pages.append(number)
    return tuple(pages or range(count))
