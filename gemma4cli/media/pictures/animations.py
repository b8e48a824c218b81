"""Animated WebP and AVIF as clips. Pillow reads them: libav knows no animated WebP, and of AVIF
neither opacity nor pictures made of tiles. GIF, APNG and the rest are clips to libav."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from PIL.ImageFile import ImageFile

from ...decoded import VideoFrame
from ...messages import Source
from ..kinds import HEAD_BYTES, sniff
from ..sources import open_source
from .image_readers import opened_image
from .images import srgb_pixels
from .large_pictures import check_animation, prepare_to_decode
from .profiles import color_space

_FORMATS = frozenset({"AVIF", "WebP"})
_UNTIMED = 100
"""Milliseconds of each frame of an animation whose frames have no length, as in browsers."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Timeline:
    """When each frame of an animation begins and when the last ends, in seconds; and its size."""

    starts: tuple[float, ...]
    end: float
    width: int
    height: int


def timeline(source: Source) -> Timeline | None:
    """The timeline of an animated WebP or AVIF, None for anything else and for HDR.

    Decodes all frames. Raises MediaDecodeError for a damaged file and for one with too many pixels
    in all, and the errors of ``open_source``.
    """
    if not _may_be_animated(source):
        return None
    with opened_image(source) as (opened, format_name, stream):
        count = _frame_count(opened)
        if count < 2 or _is_deep(opened, format_name, stream):
            return None
        check_animation(source, opened, count)
        prepare_to_decode(source, opened, format_name, stream)
        starts, lengths = zip(*(_times(opened, number) for number in range(count)), strict=True)
        if not any(lengths):
            starts, lengths = tuple(range(0, count * _UNTIMED, _UNTIMED)), (_UNTIMED,) * count
        return Timeline(
            starts=tuple((start - starts[0]) / 1000 for start in starts),
            end=(starts[-1] - starts[0] + lengths[-1]) / 1000,
            width=opened.width,
            height=opened.height,
        )


def animation_frames(
    source: Source, timestamps: Sequence[float], times: Timeline
) -> Iterator[VideoFrame]:
    """The frame on screen at each time, each once; as ``video.iter_frames``."""
    shown = [max(0, bisect_right(times.starts, time + 0.0005) - 1) for time in timestamps]
    with opened_image(source) as (opened, format_name, stream):
        space = color_space(opened, format_name, stream)
        for number in dict.fromkeys(shown):
            opened.seek(number)
            opened.load()
            yield VideoFrame(pixels=srgb_pixels(opened, space), seconds=times.starts[number])


def _may_be_animated(source: Source) -> bool:
    with open_source(source) as stream:
        kind = sniff(stream.read(HEAD_BYTES))
    return kind is not None and kind.name in _FORMATS


def _is_deep(opened: ImageFile, format_name: str, stream: BinaryIO) -> bool:
    """Whether the file is in HDR, of which Pillow keeps 8 bits and libav all."""
    if format_name != "AVIF" or opened.mode != "RGB":
        return False
    space = color_space(opened, format_name, stream)
    return space is not None and space.is_hdr


def _frame_count(opened: ImageFile) -> int:
    return int(getattr(opened, "n_frames", 1))


def _times(opened: ImageFile, number: int) -> tuple[int, int]:
    """Start and length of a frame in milliseconds."""
    opened.seek(number)
    opened.load()
    return int(opened.info.get("timestamp", 0)), int(opened.info.get("duration", 0))
