"""Pictures to pixels: shapes, lettering, then the noise of a camera or an encoder."""

from __future__ import annotations

import io
import math

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from .description import Picture, Thing
from .lettering import line_mask

_OVERSAMPLING = 3
_STAR_INNER = 0.42


def drawn(picture: Picture, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """RGB uint8 ``[H, W, 3]``; ``rng`` decides on noise only."""
    image = Image.new("RGB", (picture.width, picture.height), picture.ground)
    for thing in picture.things:
        mask, corner = _thing_mask(thing)
        image.paste(thing.rgb, corner, mask)
    for line in picture.lettering:
        mask = line_mask(line)
        corner = (round(line.x - mask.width / 2), round(line.y - mask.height / 2))
        image.paste(line.rgb, corner, mask)
    return _noisy(image, rng)


def _thing_mask(thing: Thing) -> tuple[Image.Image, tuple[int, int]]:
    """The thing's cover of each pixel around it, 8 bits, and where its top left corner goes."""
    reach = thing.size * 0.75
    left, top = math.floor(thing.x - reach), math.floor(thing.y - reach)
    side = math.ceil(2 * reach) + 1
    big = Image.new("L", (side * _OVERSAMPLING, side * _OVERSAMPLING))
    draw = ImageDraw.Draw(big)
    center = ((thing.x - left) * _OVERSAMPLING, (thing.y - top) * _OVERSAMPLING)
    radius = thing.size / 2 * _OVERSAMPLING
    if thing.shape == "circle":
        draw.ellipse(
            (center[0] - radius, center[1] - radius, center[0] + radius, center[1] + radius),
            fill=255,
        )
    else:
        draw.polygon(_corners(thing.shape, thing.angle, center, radius), fill=255)
    return big.reduce(_OVERSAMPLING), (left, top)


def _corners(
    shape: str, angle: float, center: tuple[float, float], radius: float
) -> list[tuple[float, float]]:
    """The polygon of a shape as wide as a circle of ``radius``, give or take a tenth."""
    if shape == "square":
        spokes = [(45.0 + 90.0 * i, 1.3) for i in range(4)]
    elif shape == "triangle":
        spokes = [(-90.0 + 120.0 * i, 1.15) for i in range(3)]
    else:
        spokes = [(-90.0 + 36.0 * i, 1.12 if i % 2 == 0 else 1.12 * _STAR_INNER) for i in range(10)]
    return [
        (
            center[0] + radius * length * math.cos(math.radians(turn + angle)),
            center[1] + radius * length * math.sin(math.radians(turn + angle)),
        )
        for turn, length in spokes
    ]


def _noisy(image: Image.Image, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Grain in four of ten pictures, compression artefacts in four of ten."""
    if rng.random() < 0.4:
        amplitude = int(rng.integers(2, 14))
        pixels = np.asarray(image).astype(np.int16)
        pixels += rng.integers(-amplitude, amplitude + 1, pixels.shape, dtype=np.int8)
        image = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
    if rng.random() < 0.4:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=int(rng.integers(25, 90)))
        image = Image.open(file)
    return np.asarray(image)
