"""What a picture shows, as data: everything but its noise follows from this."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from .colors import OBJECT_COLORS, Rgb

Kind = Literal["objects", "count", "groups", "text", "plain", "dense", "page"]
KINDS: tuple[Kind, ...] = get_args(Kind)[:5]
"""The kinds that have captions; "dense" and "page" only train the tower."""

SHAPES = ("circle", "square", "triangle", "star")
CELLS = (
    "at the top left",
    "at the top",
    "at the top right",
    "on the left",
    "in the center",
    "on the right",
    "at the bottom left",
    "at the bottom",
    "at the bottom right",
)
"""The cells of a 3 x 3 grid in reading order."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Thing:
    """A filled shape; centre and width in pixels, ``angle`` in degrees."""

    shape: str
    color: str
    rgb: Rgb
    x: float
    y: float
    size: float
    angle: float

    @property
    def look(self) -> tuple[str, str]:
        return self.color, self.shape


@dataclass(frozen=True, kw_only=True, slots=True)
class Lettering:
    """One line of characters around (x, y), in pixels; ``size`` is the font's.

    ``tracking`` is added after every character, as a part of ``size``.
    """

    text: str
    font: str
    size: int
    tracking: float
    angle: float
    rgb: Rgb
    x: float
    y: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """``plain`` is the name of the ground's colour where that is all there is to see."""

    kind: Kind
    height: int
    width: int
    ground: Rgb
    things: tuple[Thing, ...] = ()
    lettering: tuple[Lettering, ...] = ()
    plain: str | None = None

    def cell(self, thing: Thing) -> int:
        """The number of the cell in ``CELLS`` in which the thing's centre lies."""
        row = min(2, int(3 * thing.y / self.height))
        return 3 * row + min(2, int(3 * thing.x / self.width))

    def groups(self) -> dict[tuple[str, str], int]:
        """How many things have each look (colour, shape), colours first in their fixed order."""
        looks = sorted(
            (thing.look for thing in self.things),
            key=lambda look: (OBJECT_COLORS.index(look[0]), SHAPES.index(look[1])),
        )
        return {look: looks.count(look) for look in looks}

    def of_look(self, look: tuple[str, str]) -> tuple[Thing, ...]:
        """The things of one colour and shape."""
        return tuple(thing for thing in self.things if thing.look == look)

    def is_placed(self) -> bool:
        """Whether every thing is the only one of its look, so that places tell them apart."""
        return all(count == 1 for count in self.groups().values())

    def in_reading_order(self) -> tuple[Thing, ...]:
        return tuple(sorted(self.things, key=self.cell))


def to_json(picture: Picture) -> dict[str, Any]:
    return asdict(picture)


def from_json(raw: Mapping[str, Any]) -> Picture:
    """The picture that ``to_json`` wrote, after a turn through a JSON file."""
    things = tuple(Thing(**thing | {"rgb": tuple(thing["rgb"])}) for thing in raw["things"])
    lettering = tuple(Lettering(**line | {"rgb": tuple(line["rgb"])}) for line in raw["lettering"])
    return Picture(
        kind=raw["kind"],
        height=raw["height"],
        width=raw["width"],
        ground=tuple(raw["ground"]),
        things=things,
        lettering=lettering,
        plain=raw["plain"],
    )
