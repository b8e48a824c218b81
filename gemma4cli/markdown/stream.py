"""Streamed Markdown to text and escape sequences for a terminal. Pure: strings in, strings out.

Line breaks of the model are kept; long lines are broken between words. Output is never redrawn, so
that nothing flickers and resizing the window garbles nothing. The one exception is a table that is
still growing, whose columns may become wider: its lines are written again from the first one that
changed. The final screen does not depend on how the text is divided into deltas.

Supported are headings, lists, quotes, fenced and indented code, tables with a bar at the start of
each line, rules, and the markup of ``inline``; anything else is text. The text must not contain
control characters other than newlines and tabs.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from .code import CodeColors
from .inline import BOLD, CODE, DIM, UNDERLINE, Inline
from .table import is_delimiter, table_lines
from .wrap import Words, shown_width, styled

_QUOTES = re.compile(r"(?: {0,3}> ?)*")
_RULE = re.compile(r"(?:-[ \t]*){3,}|(?:\*[ \t]*){3,}|(?:_[ \t]*){3,}")
_HEADING = re.compile(r"(#{1,6})(?:[ \t]+|$)")
_BULLET = re.compile(r"[-*+][ \t]+")
_NUMBER = re.compile(r"(\d{1,9}[.)])[ \t]+")
_FENCE = re.compile(r"(`{3,}|~{3,})[ \t]*([^`\n]*)$")
_UNDECIDED = re.compile(r"#{1,6}|[-*_+][-*_ \t]*|\d{1,9}[.)]?|`{1,2}|~{1,2}|(?:```|~~~|\|).*")
"""Starts of lines whose kind is not certain yet."""

_RULE_WIDTH = 40


@dataclass(frozen=True, kw_only=True, slots=True)
class Size:
    """Columns and rows of the terminal."""

    columns: int
    rows: int


@dataclass(frozen=True, kw_only=True, slots=True)
class _Fence:
    """An open block of code; ``quotes`` is its depth of quotation."""

    mark: str
    indent: int
    quotes: int
    colors: CodeColors

    def closed_by(self, line: str) -> bool:
        line = line.strip()
        return len(line) >= len(self.mark) and set(line) == {self.mark[0]}


class MarkdownStream:
    """One answer. ``size`` is called for each layout, since the window may be resized."""

    def __init__(self, size: Callable[[], Size]) -> None:
        self._size = size
        self._line = ""
        self._inline: Inline | None = None
        self._words: Words | None = None
        self._fence: _Fence | None = None
        self._table: list[str] = []
        self._drawn: list[str] = []
        self._in_list = False
        self._in_code = False
        self._started = False
        self._gap = False

    def feed(self, text: str) -> str:
        """The output for the next part of the text."""
        out: list[str] = []
        *whole, rest = text.split("\n")
        for line in whole:
            out.append(self._advance(line, whole=True))
        out.append(self._advance(rest, whole=False))
        return "".join(out)

    def finish(self) -> str:
        """The rest of the output; it ends the last line."""
        out = self._advance("", whole=True) if self._line or self._words else ""
        return out + self._end_table()

    def _advance(self, text: str, *, whole: bool) -> str:
        """Add text to the current line, and end it if ``whole``."""
        if self._words is None:
            self._line += text
            out = self._start(whole=whole)
            if self._words is None:
                if whole:
                    self._line = ""
                return out
            text, self._line = self._line, ""
        else:
            out = ""
        assert self._inline is not None and self._words is not None
        out += self._words.add(self._inline.take(text.replace("\t", " "), whole=whole))
        if whole:
            out += self._words.end()
            self._inline = self._words = None
        return out

    def _start(self, *, whole: bool) -> str:
        """Determine the kind of the line; for text, sets up its words and leaves the rest."""
        line = self._line
        if self._fence is not None:
            return self._code(line) if whole else ""
        quotes = _QUOTES.match(line)
        assert quotes is not None, "the pattern also matches an empty string"
        rest = line[quotes.end() :].expandtabs(4)
        body = rest.lstrip(" ")
        if not whole and (not body or _UNDECIDED.fullmatch(body)):
            return ""
        depth = quotes[0].count(">")
        if body.startswith("|"):
            return self._row(line, body) if whole else ""
        out = self._end_table()
        if not body.strip():
            self._gap = True
            return out
        indent = len(rest) - len(body)
        starts = self._gap or not self._started or self._in_code
        if indent >= 4 and not self._in_list and starts:
            return out + self._verbatim(rest, depth) if whole else out
        self._in_code = False
        return out + self._start_known(body, indent=indent, depth=depth)

    def _before(self) -> str:
        """The empty line before the next output, if there is one."""
        gap, self._gap = self._gap and self._started, False
        self._started = True
        return "\n" if gap else ""

    def _verbatim(self, text: str, depth: int) -> str:
        """A line of indented code."""
        self._in_code = True
        return f"{self._before()}{_bars(depth)}{styled(text, (CODE,))}\n"

    def _start_known(self, body: str, *, indent: int, depth: int) -> str:
        """Start a line of known kind; its text is left in ``_line`` for the words."""
        if fence := _FENCE.fullmatch(body):
            return self._open_fence(fence[1], fence[2].strip(), indent=indent, depth=depth)
        out = self._before()
        prefix = _bars(depth) + " " * indent
        if _RULE.fullmatch(body):
            return f"{out}{prefix}{styled('─' * min(_RULE_WIDTH, self._width()), (DIM,))}\n"
        styles: tuple[str, ...] = ()
        mark = ""
        if heading := _HEADING.match(body):
            styles = (BOLD, UNDERLINE) if len(heading[1]) < 3 else (BOLD,)
            body = body[heading.end() :]
        elif bullet := _BULLET.match(body):
            mark, body = "• ", body[bullet.end() :]
        elif number := _NUMBER.match(body):
            mark, body = f"{number[1]} ", body[number.end() :]
        self._in_list = bool(mark) or (self._in_list and indent > 0)
        self._line = body
        self._inline = Inline(styles)
        self._words = Words(self._width, first=prefix + mark, rest=prefix + " " * len(mark))
        return out

    def _open_fence(self, mark: str, info: str, *, indent: int, depth: int) -> str:
        out = self._before()
        language = info.split()[0].lower() if info else ""
        self._fence = _Fence(mark=mark, indent=indent, quotes=depth, colors=CodeColors(language))
        return out + self._fence_line(f"{mark}{info}")

    def _fence_line(self, text: str) -> str:
        assert self._fence is not None
        prefix = _bars(self._fence.quotes) + " " * self._fence.indent
        return f"{prefix}{styled(text, (DIM,))}\n"

    def _code(self, line: str) -> str:
        """A whole line inside a fence, or the one that closes it."""
        fence = self._fence
        assert fence is not None
        for _ in range(fence.quotes):
            line = re.sub(r"^ {0,3}> ?", "", line)
        if fence.closed_by(line):
            out = self._fence_line(line.strip())
            self._fence = None
            return out
        inner = line[min(fence.indent, len(line) - len(line.lstrip(" "))) :]
        return f"{_bars(fence.quotes)}{' ' * fence.indent}{fence.colors.line(inner)}\n"

    def _row(self, line: str, body: str) -> str:
        """A whole line that starts with a bar: a row, or a head if a delimiter follows."""
        out = ""
        if len(self._table) == 1 and not is_delimiter(body):
            out = self._end_table()
        if not self._table:
            out += self._before()
        self._table.append(body)
        return out + (self._draw(self._rows(), whole=False) if len(self._table) > 1 else "")

    def _rows(self) -> list[str]:
        return table_lines(self._table, self._width())

    def _end_table(self) -> str:
        """Write the finished table; a single line that starts with a bar is text."""
        table = self._table
        if not table:
            return ""
        if len(table) > 1:
            out = self._draw(self._rows(), whole=True)
        else:
            words, inline = Words(self._width), Inline()
            out = words.add(inline.take(table[0], whole=True)) + words.end()
        self._table, self._drawn = [], []
        return out

    def _draw(self, lines: list[str], *, whole: bool) -> str:
        """Write the lines of a table over the previous ones; until ``whole``, only the last."""
        if not whole:
            size = self._size()
            if any(shown_width(line) > size.columns for line in lines):
                return ""
            lines = lines[-max(1, size.rows - 2) :]
        same = 0
        for old, new in zip(self._drawn, lines, strict=False):
            if old != new:
                break
            same += 1
        up = len(self._drawn) - same
        out = f"\x1b[{up}A\r\x1b[J" if up else ""
        self._drawn = lines
        return out + "".join(f"{line}\n" for line in lines[same:])

    def _width(self) -> int:
        return self._size().columns


def _bars(depth: int) -> str:
    """The prefix of a quotation."""
    return styled("│ ", (DIM,)) * depth
