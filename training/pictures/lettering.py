"""Fonts, and where the characters of a line stand."""

from __future__ import annotations

import math
from functools import lru_cache
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from .description import Lettering

BUILT_IN = "Pillow"
_FOLDER = Path("/usr/share/fonts/truetype/dejavu")
_FILES = (
    "DejaVuSans",
    "DejaVuSans-Bold",
    "DejaVuSansCondensed",
    "DejaVuSansCondensed-Bold",
    "DejaVuSansMono",
    "DejaVuSansMono-Bold",
    "DejaVuSerif",
    "DejaVuSerif-Bold",
    "DejaVuSerifCondensed-Bold",
)

CHARACTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"


@lru_cache(maxsize=1)
def fonts() -> tuple[str, ...]:
    """The names of the fonts on this machine; Pillow's own is always one of them.

    Without the DejaVu fonts only that one is left, and the tower learns no other.
    """
    return (BUILT_IN, *(name for name in _FILES if (_FOLDER / f"{name}.ttf").exists()))


@lru_cache(maxsize=1024)
def _font(name: str, size: int) -> ImageFont.FreeTypeFont:
    if name != BUILT_IN:
        return ImageFont.truetype(str(_FOLDER / f"{name}.ttf"), size)
    font = ImageFont.load_default(size)
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise RuntimeError("Pillow was built without FreeType, so it can draw no lettering")
    return font


@lru_cache(maxsize=1024)
def relative_width(text: str, font: str, tracking: float) -> float:
    """The length of a line in units of its font size."""
    size = 100
    return sum(_font(font, size).getlength(c) / size + tracking for c in text) - tracking


def character_offsets(line: Lettering) -> list[tuple[float, float]]:
    """Left edge and advance of each character in pixels, from the left end of the line."""
    font = _font(line.font, line.size)
    offsets = []
    left = 0.0
    for character in line.text:
        advance = font.getlength(character)
        offsets.append((left, advance))
        left += advance + line.tracking * line.size
    return offsets


def character_centers(line: Lettering) -> list[tuple[float, float]]:
    """(x, y) of the centre of each character in pixels of the picture."""
    offsets = character_offsets(line)
    total = offsets[-1][0] + offsets[-1][1]
    # Pillow turns counter-clockwise, and y points down.
    cosine, sine = math.cos(math.radians(line.angle)), -math.sin(math.radians(line.angle))
    centers = []
    for left, advance in offsets:
        along = left + advance / 2 - total / 2
        centers.append((line.x + along * cosine, line.y + along * sine))
    return centers


def line_mask(line: Lettering) -> Image.Image:
    """How much of each pixel the line covers, 8 bits; its middle is the line's (x, y)."""
    font = _font(line.font, line.size)
    offsets = character_offsets(line)
    total = offsets[-1][0] + offsets[-1][1]
    cap_height = -font.getbbox("H", anchor="ls")[1]
    width, height = math.ceil(total) + line.size, 2 * line.size
    mask = Image.new("L", (width, height))
    draw = ImageDraw.Draw(mask)
    baseline = (height + cap_height) / 2
    for character, (left, _) in zip(line.text, offsets, strict=True):
        draw.text(
            ((width - total) / 2 + left, baseline), character, fill=255, font=font, anchor="ls"
        )
    return mask.rotate(line.angle, Image.Resampling.BICUBIC) if line.angle else mask
