"""What the two output streams are, and what may be written to them raw."""

from __future__ import annotations

import os
import re
import sys
import traceback
from typing import TextIO

# C0 but for tab and newline, DEL, C1; they would move the cursor, ring or recolour.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def is_terminal(stream: TextIO) -> bool:
    """Whether a person reads this stream."""
    return stream.isatty()


def is_animated(stream: TextIO) -> bool:
    """Whether the stream is a terminal that can redraw a line."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def has_colour(stream: TextIO) -> bool:
    """Whether the stream wants colour."""
    return is_animated(stream) and not os.environ.get("NO_COLOR")


def printable(text: str, stream: TextIO) -> str:
    """``text`` as it may go to ``stream``: a terminal gets no control characters."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text) if stream.isatty() else text


def say(line: str) -> None:
    """One line to stderr."""
    sys.stderr.write(printable(line, sys.stderr) + "\n")
    sys.stderr.flush()


def say_error(problem: object, *, debug: bool = False) -> None:
    """An error as one line, whatever the names in it hold; behind its traceback for debugging."""
    if debug:
        traceback.print_exc()
    say("g4: " + " ".join(str(problem).splitlines()))
