"""Syntax highlighting of code, line by line as the lines arrive."""

from __future__ import annotations

from collections.abc import Sequence

from rich.color import ColorSystem
from rich.console import Console
from rich.syntax import Syntax

_CONTEXT_LINES = 200
"""How many lines are highlighted again to color the last one; a whole file would take too long."""


class CodeColors:
    """One block of code in ``language``, which may be unknown to the highlighter."""

    def __init__(self, language: str) -> None:
        self._syntax = Syntax("", language or "text", theme="ansi_dark", tab_size=4)
        self._known = bool(language) and self._syntax.lexer is not None
        self._lines: list[str] = []
        self._console = Console()

    def line(self, line: str) -> str:
        """The next line, in color."""
        line = line.expandtabs(4)
        if not self._known:
            return line
        self._lines = [*self._lines[1 - _CONTEXT_LINES :], line]
        # Rich drops blank lines at the ends.
        if not line.strip():
            return ""
        return self._colored(self._lines)

    def _colored(self, lines: Sequence[str]) -> str:
        text = self._syntax.highlight("\n".join(lines)).split("\n", allow_blank=True)
        shown = text[-1] if text[-1].plain else text[-2]
        return "".join(
            segment.style.render(segment.text, color_system=ColorSystem.STANDARD)
            if segment.style
            else segment.text
            for segment in shown.render(self._console)
            if segment.text != "\n"
        )
