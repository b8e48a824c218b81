"""Thumbnails of a run's images and videos, on terminals that draw pictures."""

from __future__ import annotations

import fcntl
import math
import struct
import termios
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Self, TextIO

from ..environment import Environment

if TYPE_CHECKING:
    from PIL.Image import Image

    from ...events import PicturesDecoded
    from .graphics import Protocol

PictureMode = Literal["auto", "never", "kitty", "iterm"]
"""Whether thumbnails are shown, and with which protocol."""

_MOST_ROWS = 12
_STRIP_LINES = 3
_FALLBACK = (24, 80, 0, 0)
_CELL = (10, 20)
"""Pixels of a cell, width and height, if the terminal does not report them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Screen:
    """A terminal's size in cells, and a cell's in pixels."""

    columns: int
    rows: int
    cell_width: int
    cell_height: int

    @classmethod
    def of(cls, stream: TextIO) -> Self:
        """The current size of the terminal that ``stream`` is written to."""
        try:
            packed = fcntl.ioctl(stream.fileno(), termios.TIOCGWINSZ, bytes(8))
            rows, columns, width, height = struct.unpack("4H", packed)
        except OSError:
            rows, columns, width, height = _FALLBACK
        rows, columns = rows or _FALLBACK[0], columns or _FALLBACK[1]
        cell = (width // columns, height // rows)
        return cls(
            columns=columns,
            rows=rows,
            cell_width=cell[0] if all(cell) else _CELL[0],
            cell_height=cell[1] if all(cell) else _CELL[1],
        )


class Pictures:
    """Draws thumbnails on the terminal that ``stream`` is written to."""

    def __init__(self, stream: TextIO, protocol: Protocol) -> None:
        self._stream = stream
        self._protocol = protocol

    def show(self, event: PicturesDecoded) -> None:
        """Draw a picture, or the frames of a clip, at the start of a line."""
        from .thumbnails import Box, contact_strip, thumbnail

        screen = Screen.of(self._stream)
        # Filling the last column would wrap the line; the line above should stay visible, too.
        rows = max(1, min(_MOST_ROWS, screen.rows - 2))
        box = Box(
            width=max(1, screen.columns - 1) * screen.cell_width, height=rows * screen.cell_height
        )
        if len(event.pictures) > 1:
            picture = contact_strip(event.pictures, box, lines=_STRIP_LINES)
        else:
            picture = thumbnail(event.pictures[0], box)
        self._draw(picture, screen)

    def _draw(self, picture: Image, screen: Screen) -> None:
        from .graphics import Cells, drawn

        columns = math.ceil(picture.width / screen.cell_width)
        rows = math.ceil(picture.height / screen.cell_height)
        # Give the side that is closer to its limit: if cells have another aspect ratio than
        # assumed, the other side changes, and it has space left.
        across = columns * _MOST_ROWS > rows * screen.columns
        cells = Cells(side="columns" if across else "rows", count=columns if across else rows)
        # Terminals differ in where they leave the cursor after a picture. So scroll first, then
        # draw in the empty lines and restore the cursor.
        self._stream.write("\n" * rows)
        self._stream.write(f"\x1b7\x1b[{rows}A{drawn(picture, self._protocol, cells)}\x1b8")
        self._stream.flush()


def pictures_for(env: Environment, mode: PictureMode) -> Pictures | None:
    """What shows the pictures of a run; None if they are off or stdout is not a terminal."""
    if mode == "never" or not (env.is_animated(env.stderr) and env.stdout.isatty()):
        return None
    from .graphics import protocol_of

    protocol = protocol_of(env.variables) if mode == "auto" else mode
    return None if protocol is None else Pictures(env.stderr, protocol)
