"""Words into lines of a width as they arrive. Output is only appended to."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from rich.cells import cell_len

from .inline import Span

_SGR = re.compile(r"\x1b\[[0-9;]*m")
_SPACES_OR_LETTER = re.compile(r"\s+|\S")


def styled(text: str, styles: tuple[str, ...]) -> str:
    """``text`` between the sequences that start and end its style."""
    return f"\x1b[{';'.join(styles)}m{text}\x1b[0m" if styles and text else text


def shown_width(text: str) -> int:
    """Cells that styled text takes."""
    return cell_len(_SGR.sub("", text))


class Words:
    """One line of text, broken between words at the width of the terminal.

    ``width`` is called for each word. A word is held back until it is complete.
    """

    def __init__(self, width: Callable[[], int], *, first: str = "", rest: str = "") -> None:
        """``first`` is the prefix of the line, ``rest`` that of its continuation lines."""
        self._width = width
        self._first: str | None = first
        self._rest = rest
        self._indent = shown_width(rest)
        self._column = 0
        self._empty = True
        self._space: Span | None = None
        self._word: list[Span] = []
        self._word_width = 0

    def add(self, spans: Iterable[Span]) -> str:
        """The output once these spans are known."""
        out: list[str] = []
        for span in spans:
            for part in _SPACES_OR_LETTER.findall(span.text):
                if part.isspace():
                    out.append(self._flush())
                    self._space = self._longer_space(len(part), span.styles)
                else:
                    out.append(self._letter(part, span.styles))
        return "".join(out)

    def _longer_space(self, count: int, styles: tuple[str, ...]) -> Span:
        """The space since the last word, which may have come in parts."""
        if self._space is None:
            return Span(text=" " * count, styles=styles)
        return Span(text=self._space.text + " " * count, styles=self._space.styles)

    def end(self) -> str:
        """The rest of the line, and its end."""
        return f"{self._prefix()}{self._flush()}\n"

    def _letter(self, letter: str, styles: tuple[str, ...]) -> str:
        width = cell_len(letter)
        out = ""
        if width == 2 or self._word_width + width > max(8, self._width() - self._indent):
            # Scripts without spaces, and words longer than a line, are broken anywhere.
            out = self._flush()
        if self._word and self._word[-1].styles == styles:
            self._word[-1] = Span(text=self._word[-1].text + letter, styles=styles)
        else:
            self._word.append(Span(text=letter, styles=styles))
        self._word_width += width
        return out

    def _prefix(self) -> str:
        first, self._first = self._first, None
        if first is None:
            return ""
        self._column = shown_width(first)
        return first

    def _flush(self) -> str:
        """The output for the word that is held back."""
        if not self._word:
            return ""
        out = self._prefix()
        space = self._space.text if self._space and not self._empty else ""
        if not self._empty and self._column + len(space) + self._word_width > self._width():
            out += f"\n{self._rest}"
            self._column = self._indent
        elif space and self._space:
            out += styled(space, self._space.styles)
            self._column += len(space)
        out += "".join(styled(span.text, span.styles) for span in self._word)
        self._column += self._word_width
        self._empty = False
        self._space, self._word, self._word_width = None, [], 0
        return out
