"""Colours for lines of code, one at a time as they come."""

from __future__ import annotations

from collections.abc import Sequence

from rich.color import ColorSystem
from rich.console import Console
from rich.syntax import Syntax

_LOOKED_AT = 200
"""Lines before a line that decide on its colours: a whole file each time would take too long."""


class CodeColours:
    """One block of code in ``language``, which may be a name that nobody knows."""

    def __init__(self, language: str) -> None:
        self._syntax = Syntax("", language or "text", theme="ansi_dark", tab_size=4)
        self._known = bool(language) and self._syntax.lexer is not None
        self._lines: list[str] = []
        self._console = Console()

    def line(self, line: str) -> str:
        """The next line, coloured."""
        line = line.expandtabs(4)
        if not self._known:
            return line
        self._lines = [*self._lines[1 - _LOOKED_AT :], line]
        # What looks blank at the ends would be cut off.
        if not line.strip():
            return ""
        return self._coloured(self._lines)

    def _coloured(self, lines: Sequence[str]) -> str:
        text = self._syntax.highlight("\n".join(lines)).split("\n", allow_blank=True)
        shown = text[-1] if text[-1].plain else text[-2]
        return "".join(
            segment.style.render(segment.text, color_system=ColorSystem.STANDARD)
            if segment.style
            else segment.text
            for segment in shown.render(self._console)
            if segment.text != "\n"
        )
