"""Pictures that the twin can tell apart, described as training.pictures has them.

The norm in front of the vision embedder takes out a square's mean and its contrast. Of a uniform
square only the hue is left, and white, gray and black leave nothing: they look alike.
"""

from __future__ import annotations

import colorsys
from dataclasses import replace
from typing import Literal

import numpy as np

from ..choosing import one
from ..pictures.colors import Rgb
from ..pictures.description import Picture
from ..pictures.scenes import picture

Sort = Literal["plain", "colorless", "objects", "count", "dense"]

HUES: dict[str, tuple[float, float]] = {
    "red": (-8.0, 8.0),
    "orange": (24.0, 36.0),
    "yellow": (50.0, 62.0),
    "green": (90.0, 150.0),
    "blue": (205.0, 245.0),
    "purple": (270.0, 298.0),
    "pink": (318.0, 335.0),
}
"""Degrees of the hues that have a plain name, with room between them."""
COLORLESS = "without color"
"""What stands in ``Picture.plain`` for white, gray and black."""

_GRIDS = ((8, 8), (7, 9), (9, 7), (7, 10), (10, 7), (6, 11), (11, 6))
"""Rows and columns of soft tokens that a picture of just that size keeps."""
_UNIT = 48
_SHARE_OF_TINTED_GROUNDS = 0.15


def size(rng: np.random.Generator) -> tuple[int, int]:
    """Height and width in pixels; most need no scaling, which costs as much as drawing."""
    if rng.random() < 0.15:
        area, ratio = float(rng.uniform(250, 560)) ** 2, 2.0 ** float(rng.uniform(-0.7, 0.7))
        return round((area / ratio) ** 0.5), round((area * ratio) ** 0.5)
    rows, columns = _GRIDS[0 if rng.random() < 0.45 else int(rng.integers(len(_GRIDS)))]
    return rows * _UNIT, columns * _UNIT


def scene(rng: np.random.Generator, sort: Sort) -> Picture:
    height, width = size(rng)
    match sort:
        case "plain":
            name = one(rng, list(HUES))
            return _uniform(height, width, tint(rng, name), name)
        case "colorless":
            return _uniform(height, width, _neutral(rng, 0, 255), COLORLESS)
        case _:
            drawn = picture(rng, sort, (height, width))
            # Even the slight tint of such a ground looks as strong as any colour.
            if rng.random() < _SHARE_OF_TINTED_GROUNDS:
                return drawn
            return replace(drawn, ground=_neutral(rng, 205, 255))


def tint(rng: np.random.Generator, name: str) -> Rgb:
    """A colour that goes by ``name``, from pastel to full."""
    low, high = HUES[name]
    hue = float(rng.uniform(low, high)) % 360 / 360
    saturation, value = float(rng.uniform(0.5, 1.0)), float(rng.uniform(0.75, 1.0))
    red, green, blue = (round(255 * part) for part in colorsys.hsv_to_rgb(hue, saturation, value))
    return red, green, blue


def _neutral(rng: np.random.Generator, low: int, high: int) -> Rgb:
    level = int(rng.integers(low, high + 1))
    ends = rng.random()
    if ends < 0.25:
        level = high
    elif ends < 0.35:
        level = low
    return level, level, level


def _uniform(height: int, width: int, ground: Rgb, name: str) -> Picture:
    return Picture(kind="plain", height=height, width=width, ground=ground, plain=name)
