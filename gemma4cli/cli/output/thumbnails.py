"""Thumbnails of decoded pictures: one picture, or the frames of a clip side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from ...decoded import Image as Still
from ...decoded import VideoFrame

Picture = Still | VideoFrame

_GAP = 4
"""Pixels between frames."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Box:
    """Maximum size of a thumbnail in pixels."""

    width: int
    height: int


def thumbnail(picture: Picture, box: Box) -> Image.Image:
    """A picture scaled down to fit the box; a smaller one keeps its size."""
    small = Image.fromarray(picture.pixels)
    small.thumbnail((box.width, box.height), Image.Resampling.LANCZOS)
    return small


def contact_strip(frames: Sequence[Picture], box: Box, *, lines: int) -> Image.Image:
    """Frames in reading order, on as few lines as possible, at most ``lines``.

    If they do not fit, frames are left out evenly.
    """
    tile = Box(width=box.width, height=max(1, (box.height + _GAP) // lines - _GAP))
    width, height = thumbnail(frames[0], tile).size
    across = max(1, (box.width + _GAP) // (width + _GAP))
    shown = _spread(frames, across * lines)
    rows = math.ceil(len(shown) / across)
    columns = math.ceil(len(shown) / rows)
    strip = Image.new("RGB", (columns * (width + _GAP) - _GAP, rows * (height + _GAP) - _GAP))
    for index, frame in enumerate(shown):
        corner = (index % columns * (width + _GAP), index // columns * (height + _GAP))
        strip.paste(thumbnail(frame, tile), corner)
    return strip


def _spread(frames: Sequence[Picture], most: int) -> list[Picture]:
    """At most ``most`` frames, including the first and the last."""
    if len(frames) <= most:
        return list(frames)
    if most == 1:
        return [frames[0]]
    return [frames[round(i * (len(frames) - 1) / (most - 1))] for i in range(most)]
