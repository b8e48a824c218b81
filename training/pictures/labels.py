"""What each soft token should know: the targets of the vision tower's own losses."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product

import numpy as np
import numpy.typing as npt

from .colors import PLAIN_COLORS
from .description import SHAPES, Lettering, Picture, Thing
from .lettering import CHARACTERS, character_centers

IGNORED = -100
MAX_COUNT = 6

CLASSES: Mapping[str, int] = {
    "shape": 1 + len(SHAPES),
    "color": 1 + len(PLAIN_COLORS),
    "center": 2,
    "row": 3,
    "column": 3,
    "count": MAX_COUNT,
    "order": MAX_COUNT,
    "first": 1 + len(CHARACTERS),
    "second": 1 + len(CHARACTERS),
    "index": MAX_COUNT,
    "length": MAX_COUNT,
}
"""The heads and their numbers of classes.

Class 0 of shape, color, center, first and second is "none". Count and length start at one, order
and index at zero. ``first`` and ``second`` are the characters whose centres lie in the token,
``index`` the place of the first one in its line.
"""

Labels = dict[str, npt.NDArray[np.int64]]


def label_rows(picture: Picture, grid: tuple[int, int]) -> npt.NDArray[np.int8]:
    """The same as int8 ``[rows * columns, heads]``, heads in the order of ``CLASSES``."""
    of_heads = labels(picture, grid)
    return np.stack([of_heads[name].reshape(-1) for name in CLASSES], axis=1).astype(np.int8)


def labels(picture: Picture, grid: tuple[int, int]) -> Labels:
    """int64 ``[rows, columns]`` per head, for a picture of ``grid`` soft tokens."""
    rows, columns = grid
    result = {
        name: np.full(grid, IGNORED if name in {"count", "order", "index", "length"} else 0)
        for name in CLASSES
    }
    result["row"][:] = (6 * np.arange(rows)[:, None] + 3) // (2 * rows)
    result["column"][:] = (6 * np.arange(columns)[None, :] + 3) // (2 * columns)
    if picture.plain is not None:
        result["color"][:] = 1 + PLAIN_COLORS.index(picture.plain)
    for thing in picture.things:
        _cover(result, thing, picture, grid)
    # Centres come last: where things are close, a token speaks of the one whose centre it has.
    seen: dict[tuple[str, str], int] = {}
    places = [token_at(thing.x, thing.y, picture, grid) for thing in picture.things]
    for place, thing in sorted(zip(places, picture.things, strict=True), key=_by_place):
        _describe(result, place, thing, picture)
        result["center"][place] = 1
        result["row"][place], result["column"][place] = divmod(picture.cell(thing), 3)
        if picture.kind != "dense":
            result["order"][place] = seen.get(thing.look, 0)
            seen[thing.look] = seen.get(thing.look, 0) + 1
    for line in picture.lettering:
        _spell(result, line, picture, grid)
    return result


def _by_place(item: tuple[tuple[int, int], Thing]) -> tuple[int, float]:
    (row, _), thing = item
    return row, thing.x


def token_at(x: float, y: float, picture: Picture, grid: tuple[int, int]) -> tuple[int, int]:
    """The token (row, column) that holds a point of the picture."""
    rows, columns = grid
    row = int(y / picture.height * rows)
    column = int(x / picture.width * columns)
    return min(rows - 1, max(0, row)), min(columns - 1, max(0, column))


def _describe(result: Labels, place: tuple[int, int], thing: Thing, picture: Picture) -> None:
    result["shape"][place] = 1 + SHAPES.index(thing.shape)
    result["color"][place] = 1 + PLAIN_COLORS.index(thing.color)
    if picture.kind != "dense":
        result["count"][place] = picture.groups()[thing.look] - 1


def _cover(result: Labels, thing: Thing, picture: Picture, grid: tuple[int, int]) -> None:
    """Label the tokens in the middle of a thing; those on its edge are left open."""
    rows, columns = grid
    side_y, side_x = picture.height / rows, picture.width / columns
    radius = thing.size / 2
    reach_y, reach_x = 1.3 * radius + side_y, 1.3 * radius + side_x
    top, left = token_at(thing.x - reach_x, thing.y - reach_y, picture, grid)
    bottom, right = token_at(thing.x + reach_x, thing.y + reach_y, picture, grid)
    for row, column in product(range(top, bottom + 1), range(left, right + 1)):
        across = (column + 0.5) * side_x - thing.x
        down = (row + 0.5) * side_y - thing.y
        distance = float(np.hypot(across, down))
        if distance < 0.7 * radius:
            _describe(result, (row, column), thing, picture)
        elif distance < radius + 0.7 * max(side_x, side_y) and not result["shape"][row, column] > 0:
            result["shape"][row, column] = result["color"][row, column] = IGNORED


def _spell(result: Labels, line: Lettering, picture: Picture, grid: tuple[int, int]) -> None:
    for index, (x, y) in enumerate(character_centers(line)):
        place = token_at(x, y, picture, grid)
        code = 1 + CHARACTERS.index(line.text[index])
        if result["first"][place] == 0:
            result["first"][place] = code
            result["index"][place] = index
            result["length"][place] = len(line.text) - 1
        elif result["second"][place] == 0:
            result["second"][place] = code
