"""Pictures in the graphics protocols of terminals, and which terminal has which protocol.

The terminal is identified by environment variables, not queried: a late reply would appear in the
next input line, and reading it could swallow what the user types.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from PIL.Image import Image

Protocol = Literal["kitty", "iterm"]

_CHUNK = 4096
"""Maximum payload characters of one kitty command."""

_MULTIPLEXERS = ("TMUX", "STY", "ZELLIJ")
"""Variables of programs between g4 and the terminal that drop sequences they do not know."""

_BY_TERM: Mapping[str, Protocol] = {
    "xterm-kitty": "kitty",
    "xterm-ghostty": "kitty",
    "wezterm": "iterm",
}
_BY_PROGRAM: Mapping[str, Protocol] = {
    "kitty": "kitty",
    "ghostty": "kitty",
    "iTerm.app": "iterm",
    "WezTerm": "iterm",
    "mintty": "iterm",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Cells:
    """Size of a picture in cells: one side is given, the other follows from its aspect ratio."""

    side: Literal["columns", "rows"]
    count: int


def protocol_of(environment: Mapping[str, str]) -> Protocol | None:
    """The graphics protocol of the terminal in this environment; None if it is not certain."""
    term = environment.get("TERM", "")
    if any(environment.get(name) for name in _MULTIPLEXERS) or term.startswith(("screen", "tmux")):
        return None
    if term == "dumb":
        return None
    if term in _BY_TERM:
        return _BY_TERM[term]
    # TERM_PROGRAM is set by the terminal itself; the variables below may be inherited from the
    # terminal that it was started from.
    if program := environment.get("TERM_PROGRAM"):
        return _BY_PROGRAM.get(program)
    if environment.get("LC_TERMINAL") == "iTerm2":
        return "iterm"
    return "kitty" if environment.get("KITTY_WINDOW_ID") else None


def drawn(picture: Image, protocol: Protocol, cells: Cells) -> str:
    """The sequence that draws a picture at the cursor."""
    match protocol:
        case "kitty":
            return "".join(_kitty(_png(picture), cells))
        case "iterm":
            return _iterm(_png(picture), cells)


def _png(picture: Image) -> bytes:
    out = BytesIO()
    picture.save(out, "PNG")
    return out.getvalue()


def _kitty(png: bytes, cells: Cells) -> Iterator[str]:
    """https://sw.kovidgoyal.net/kitty/graphics-protocol"""
    data = b64encode(png).decode()
    chunks = [data[at : at + _CHUNK] for at in range(0, len(data), _CHUNK)]
    side = "c" if cells.side == "columns" else "r"
    # Draw a PNG, do not move the cursor, do not reply.
    keys = f"a=T,f=100,C=1,q=2,{side}={cells.count},"
    for number, chunk in enumerate(chunks, 1):
        yield f"\x1b_G{keys}m={int(number < len(chunks))};{chunk}\x1b\\"
        keys = ""


def _iterm(png: bytes, cells: Cells) -> str:
    """https://iterm2.com/documentation-images.html"""
    side = "width" if cells.side == "columns" else "height"
    keys = f"inline=1;size={len(png)};{side}={cells.count};preserveAspectRatio=1"
    return f"\x1b]1337;File={keys}:{b64encode(png).decode()}\x07"
