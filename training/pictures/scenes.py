"""Random pictures of every kind."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..choosing import choice, one
from .colors import OBJECT_COLORS, PLAIN_COLORS, Rgb, dark, light_ground, shade
from .description import SHAPES, Kind, Lettering, Picture, Thing
from .lettering import CHARACTERS, fonts, relative_width
from .wordlist import WORDS

SHARES: dict[Kind, float] = {
    "objects": 0.35,
    "count": 0.22,
    "groups": 0.18,
    "text": 0.20,
    "plain": 0.05,
}
STILL_SHARES: dict[Kind, float] = {"objects": 0.5, "count": 0.3, "text": 0.2}

VIDEO_SIZES = ((360, 480), (360, 640), (384, 384), (480, 360), (640, 360), (480, 640))
"""Heights and widths in pixels: few, so that stills can be put together to videos."""

_SMALLEST, _LARGEST_WIDTH, _LARGEST_HEIGHT = 96, 1280, 960
_BUDGET_OF_LETTERS = 60
"""Soft tokens of a small picture, in which a character must not be smaller than one of them."""


def picture(
    rng: np.random.Generator, kind: Kind | None = None, size: tuple[int, int] | None = None
) -> Picture:
    """A picture of a kind, or of a random one; ``size`` is (height, width) in pixels."""
    height, width = size or picture_size(rng)
    match kind or choice(rng, SHARES):
        case "objects":
            return _objects(rng, height, width)
        case "count":
            return _count(rng, height, width)
        case "groups":
            return _groups(rng, height, width)
        case "text":
            return _text(rng, height, width)
        case "plain":
            return _plain(rng, height, width)
        case "dense":
            return _dense(rng, height, width)
        case "page":
            return _page(rng, height, width)


def still(rng: np.random.Generator, size: tuple[int, int] | None = None) -> Picture:
    """A picture that may be a scene of a video."""
    return picture(rng, choice(rng, STILL_SHARES), size)


def picture_size(rng: np.random.Generator) -> tuple[int, int]:
    """Height and width: mostly a few hundred pixels, 96 x 96 to 1280 x 960, at most 1 to 2."""
    ratio = 2.0 ** float(rng.uniform(-1, 1) if rng.random() < 0.5 else rng.uniform(-0.45, 0.45))
    if rng.random() < 0.8:
        area = float(rng.uniform(260, 520)) ** 2
    else:
        area = math.exp(float(rng.uniform(math.log(120), math.log(1000)))) ** 2
    height, width = round(math.sqrt(area / ratio)), round(math.sqrt(area * ratio))
    height = min(_LARGEST_HEIGHT, max(_SMALLEST, height))
    width = min(_LARGEST_WIDTH, max(_SMALLEST, width))
    return min(height, 2 * width), min(width, 2 * height)


def _look(rng: np.random.Generator) -> tuple[str, str]:
    return one(rng, OBJECT_COLORS), one(rng, SHAPES)


def _thing(
    rng: np.random.Generator, look: tuple[str, str], x: float, y: float, size: float
) -> Thing:
    color, shape = look
    angle = float(rng.uniform(-12, 12)) if rng.random() < 0.5 else 0.0
    return Thing(shape=shape, color=color, rgb=shade(color, rng), x=x, y=y, size=size, angle=angle)


def _is_free(things: Sequence[Thing], x: float, y: float, size: float) -> bool:
    # Corners reach up to 1.3 of the radius.
    return all(
        math.hypot(x - thing.x, y - thing.y) > 0.62 * (size + thing.size) for thing in things
    )


def _placed_in(
    rng: np.random.Generator, cell: int, height: int, width: int, size: float
) -> tuple[float, float]:
    """A centre inside a cell of the 3 x 3 grid, clear of its borders and of the picture's."""
    margin = 0.62 * size
    x = width / 3 * (cell % 3 + float(rng.uniform(0.15, 0.85)))
    y = height / 3 * (cell // 3 + float(rng.uniform(0.15, 0.85)))
    return min(width - margin, max(margin, x)), min(height - margin, max(margin, y))


def _objects(rng: np.random.Generator, height: int, width: int) -> Picture:
    count = int(rng.choice([1, 2, 3], p=[0.35, 0.38, 0.27]))
    ground = light_ground(rng)
    while True:
        things: list[Thing] = []
        for cell in rng.choice(9, count, replace=False):
            size = min(height, width) * float(rng.uniform(0.14, 0.40 if count == 1 else 0.28))
            x, y = _placed_in(rng, int(cell), height, width, size)
            look = _look(rng)
            if _is_free(things, x, y, size) and all(thing.look != look for thing in things):
                things.append(_thing(rng, look, x, y, size))
        if len(things) == count:
            return Picture(
                kind="objects", height=height, width=width, ground=ground, things=tuple(things)
            )


def _scattered(
    rng: np.random.Generator,
    looks: Sequence[tuple[str, str]],
    height: int,
    width: int,
    sizes: tuple[float, float],
) -> tuple[Thing, ...]:
    """A thing of each look where there is room; ``sizes`` are parts of the shorter side.

    Looks for which no room is found are left out.
    """
    short = min(height, width)
    things: list[Thing] = []
    for look in looks:
        size = short * float(rng.uniform(*sizes))
        margin = 0.62 * size
        for x, y in rng.random((30, 2)):
            x = margin + float(x) * (width - 2 * margin)
            y = margin + float(y) * (height - 2 * margin)
            if _is_free(things, x, y, size):
                things.append(_thing(rng, look, x, y, size))
                break
    return tuple(things)


def _all_scattered(
    rng: np.random.Generator,
    kind: Kind,
    looks: Sequence[tuple[str, str]],
    height: int,
    width: int,
) -> Picture:
    """A picture in which every look has found room, all of about the same size."""
    ground = light_ground(rng)
    while True:
        base = float(rng.uniform(0.12, 0.20))
        things = _scattered(rng, looks, height, width, (0.92 * base, 1.1 * base))
        if len(things) == len(looks):
            return Picture(kind=kind, height=height, width=width, ground=ground, things=things)


def _count(rng: np.random.Generator, height: int, width: int) -> Picture:
    return _all_scattered(rng, "count", [_look(rng)] * int(rng.integers(2, 7)), height, width)


def _groups(rng: np.random.Generator, height: int, width: int) -> Picture:
    first = second = _look(rng)
    while second == first:
        second = _look(rng)
        if rng.random() < 0.3:
            second = (first[0], second[1])
        elif rng.random() < 0.4:
            second = (second[0], first[1])
    total = int(rng.integers(3, 8))
    of_first = int(rng.integers(max(1, total - 5), min(5, total - 1) + 1))
    looks = [first] * of_first + [second] * (total - of_first)
    return _all_scattered(rng, "groups", looks, height, width)


def _dense(rng: np.random.Generator, height: int, width: int) -> Picture:
    looks = [_look(rng) for _ in range(int(rng.integers(10, 26)))]
    things = _scattered(rng, looks, height, width, (0.10, 0.24))
    return Picture(
        kind="dense", height=height, width=width, ground=light_ground(rng), things=things
    )


def _plain(rng: np.random.Generator, height: int, width: int) -> Picture:
    name = one(rng, PLAIN_COLORS)
    return Picture(kind="plain", height=height, width=width, ground=shade(name, rng), plain=name)


def _string(rng: np.random.Generator) -> str:
    """A word of a list, a few random capital letters, or a number."""
    source = rng.random()
    if source < 0.4:
        return one(rng, WORDS)
    length = int(rng.integers(1, 7))
    if source < 0.7:
        return "".join(one(rng, CHARACTERS[:26]) for _ in range(length))
    return str(rng.integers(10 ** (length - 1) if length > 1 else 0, 10**length))


def _inks(rng: np.random.Generator) -> tuple[Rgb, Rgb]:
    """The colours of the ground and of what is written on it."""
    if rng.random() < 0.2:
        return dark(rng), light_ground(rng)
    if rng.random() < 0.6:
        return light_ground(rng), dark(rng)
    color = one(rng, ("red", "blue", "green", "purple", "black", "orange"))
    return light_ground(rng), shade(color, rng)


def _line(
    rng: np.random.Generator, text: str, ink: Rgb, height: int, width: int, most: float
) -> Lettering:
    """A line that fills 55 to 92 % of the width as far as its characters stay of a common size.

    ``most`` limits the font size to a part of the height.
    """
    font = one(rng, fonts())
    tracking = float(rng.uniform(0, 0.15)) if rng.random() < 0.4 else 0.0
    relative = relative_width(text, font, tracking)
    token = math.sqrt(height * width / _BUDGET_OF_LETTERS)
    advance = width * float(rng.uniform(0.55, 0.92)) / len(text)
    advance = min(advance, token * float(rng.uniform(1.1, 1.9)))
    advance = max(advance, min(0.95 * token, 0.92 * width / len(text)))
    size = min(advance * len(text) / relative, most * height)
    angle = float(rng.uniform(-3, 3)) if rng.random() < 0.3 else 0.0
    length = relative * size
    slack_x = max(0.0, 0.97 * width - length) / 2
    slack_y = max(0.0, 0.97 * height - size) / 2
    return Lettering(
        text=text,
        font=font,
        size=max(6, int(size)),
        tracking=tracking,
        angle=angle,
        rgb=ink,
        x=width / 2 + slack_x * float(rng.uniform(-1, 1)),
        y=height / 2 + slack_y * float(rng.uniform(-1, 1)),
    )


def _text(rng: np.random.Generator, height: int, width: int) -> Picture:
    ground, ink = _inks(rng)
    line = _line(rng, _string(rng), ink, height, width, most=0.8)
    return Picture(kind="text", height=height, width=width, ground=ground, lettering=(line,))


def _page(rng: np.random.Generator, height: int, width: int) -> Picture:
    """Lines under each other, as many as there is room for."""
    ground, ink = _inks(rng)
    lines: list[Lettering] = []
    top = 0.0
    while True:
        letters = CHARACTERS[:26] if rng.random() < 0.6 else CHARACTERS[26:]
        text = "".join(one(rng, letters) for _ in range(int(rng.integers(3, 8))))
        line = _line(rng, text[:6], ink, height, width, most=0.5)
        pitch = line.size * float(rng.uniform(0.95, 1.25))
        if lines and top + pitch > height:
            break
        lines.append(replace(line, y=top + pitch / 2, angle=0.4 * line.angle))
        top += pitch
    return Picture(kind="page", height=height, width=width, ground=ground, lettering=tuple(lines))
