"""Names of colours and the RGB values that go by each name."""

from __future__ import annotations

import numpy as np

from ..choosing import one

Rgb = tuple[int, int, int]

_VARIANTS: dict[str, tuple[Rgb, ...]] = {
    "red": ((220, 40, 40), (255, 0, 0), (200, 20, 50)),
    "blue": ((40, 70, 220), (0, 0, 255), (30, 100, 200)),
    "green": ((40, 160, 60), (0, 128, 0), (20, 210, 40)),
    "yellow": ((240, 210, 40), (255, 255, 0), (250, 225, 20)),
    "orange": ((245, 140, 30), (255, 165, 0), (250, 115, 10)),
    "purple": ((130, 50, 170), (128, 0, 128), (110, 40, 190)),
    "black": ((25, 25, 25), (0, 0, 0)),
    "pink": ((245, 130, 180), (255, 105, 180), (255, 185, 200)),
    "white": ((250, 250, 250), (255, 255, 255)),
    "gray": ((128, 128, 128), (150, 150, 150)),
    "brown": ((120, 75, 40), (139, 69, 19)),
}

OBJECT_COLORS = tuple(_VARIANTS)[:8]
PLAIN_COLORS = tuple(_VARIANTS)

_GROUNDS: tuple[Rgb, ...] = (
    (255, 255, 255),
    (250, 250, 250),
    (240, 240, 240),
    (222, 222, 222),
    (255, 250, 232),
    (228, 240, 252),
    (236, 250, 236),
    (252, 238, 240),
)
_JITTER = 12
"""How far each channel of an RGB value may be from its name's, up or down."""
_LIGHTER = 14
"""How much lighter or darker a shade may be, in all channels alike."""


def shade(name: str, rng: np.random.Generator) -> Rgb:
    """One of the RGB values that ``name`` stands for."""
    return _near(_VARIANTS[name], rng, int(rng.integers(-_LIGHTER, _LIGHTER + 1)))


def light_ground(rng: np.random.Generator) -> Rgb:
    return _near(_GROUNDS, rng)


def dark(rng: np.random.Generator) -> Rgb:
    red, green, blue = (int(v) for v in rng.integers(0, 80, 3))
    return red, green, blue


def _near(variants: tuple[Rgb, ...], rng: np.random.Generator, lighter: int = 0) -> Rgb:
    base = one(rng, variants)
    red, green, blue = (
        min(255, max(0, value + lighter + int(change)))
        for value, change in zip(base, rng.integers(-_JITTER, _JITTER + 1, 3), strict=True)
    )
    return red, green, blue
