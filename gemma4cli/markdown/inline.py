"""Markdown inside a line: emphasis, code, links. Text to spans, as early as they are certain.

Whether characters are a marker depends on the text after them, so text is held back from an open
marker to its closing marker, to the end of the line, or for ``LONGEST`` characters. Anything that
is not markup is shown unchanged: brackets, asterisks in formulas, HTML. Pure; of a terminal, it
knows only the styles.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

LONGEST = 300
"""Characters after which an unclosed marker is plain text."""

BOLD, DIM, ITALIC, UNDERLINE, CODE, STRUCK = "1", "2", "3", "4", "36", "9"
"""Parameters of the terminal's "select graphic rendition"."""

_PLAIN = re.compile(r"[^\\`*_~\[!]+")
_RUN = re.compile(r"`+|\*+|_+|~+")
_ESCAPABLE = frozenset("\\`*_~#+-.!|>")
_EMPHASIS = {
    "*": (ITALIC,),
    "_": (ITALIC,),
    "**": (BOLD,),
    "__": (BOLD,),
    "~~": (STRUCK,),
    "***": (BOLD, ITALIC),
    "___": (BOLD, ITALIC),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """Text in one style."""

    text: str
    styles: tuple[str, ...] = ()


def spans_of(text: str, styles: tuple[str, ...] = ()) -> list[Span]:
    """The spans of a whole line."""
    return Inline(styles).take(text, whole=True)


class Inline:
    """One line that arrives in parts."""

    def __init__(self, styles: tuple[str, ...] = ()) -> None:
        self._styles = styles
        self._held = ""
        self._before = ""

    def take(self, text: str, *, whole: bool) -> list[Span]:
        """The spans that are certain once ``text`` is known; with ``whole``, it ends the line."""
        self._held += text
        spans: list[Span] = []
        at = 0
        while at < len(self._held):
            atom = _Reader(self._held, whole=whole, before=self._before).atom(at, self._styles)
            if atom is None:
                break
            found, end = atom
            spans += found
            self._before, at = self._held[end - 1], end
        self._held = self._held[at:]
        return spans


Atom = tuple[list[Span], int]
"""Spans, and the index after them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Window:
    """Where a closing marker is searched for.

    ``settled`` means that further text cannot contain one, ``cut`` that ``LONGEST`` is the reason.
    """

    end: int
    settled: bool
    cut: bool


class _Reader:
    """Reads ``text``, the line so far; ``before`` is the character before it."""

    def __init__(self, text: str, *, whole: bool, before: str = "") -> None:
        self._text = text
        self._whole = whole
        self._before = before

    def atom(self, at: int, styles: tuple[str, ...]) -> Atom | None:
        """The element at index ``at``; None if it depends on text that has not arrived."""
        text = self._text
        if plain := _PLAIN.match(text, at):
            return [Span(text=plain[0], styles=styles)], plain.end()
        if text[at] == "\\":
            return self._escape(at, styles)
        if text[at] == "[":
            return self._link(at, styles) or self._literal(at, at + 1, styles)
        if text[at] == "!":
            if at + 1 == len(text):
                return ([Span(text="!", styles=styles)], at + 1) if self._whole else None
            if text[at + 1] == "[" and (link := self._link(at + 1, styles)) is not None:
                return link
            return self._literal(at, at + 1, styles)
        run = _RUN.match(text, at)
        assert run is not None, "all other characters are plain"
        if run.end() == len(text) and not self._whole:
            return None
        if text[at] == "`":
            return self._code(at, run.end(), styles)
        return self._emphasis(at, run.end(), styles)

    def _literal(self, at: int, end: int, styles: tuple[str, ...]) -> Atom | None:
        """The characters themselves, once it is certain that they are not markup."""
        if not self._undecided(at):
            return [Span(text=self._text[at:end], styles=styles)], end
        return None

    def _undecided(self, at: int) -> bool:
        """Whether a bracket at ``at`` may still become a link."""
        start = at + 1 if self._text[at] == "!" else at
        if self._text[start : start + 1] != "[":
            return False
        window = self._window(start)
        if window.settled:
            return False
        closed = _closing(self._text, start, window.end, "[", "]")
        if closed is None or closed + 1 == window.end:
            return True
        if self._text[closed + 1] != "(":
            return False
        return _closing(self._text, closed + 1, window.end, "(", ")") is None

    def _escape(self, at: int, styles: tuple[str, ...]) -> Atom | None:
        if at + 1 == len(self._text) and not self._whole:
            return None
        following = self._text[at + 1 : at + 2]
        if following and following in _ESCAPABLE:
            return [Span(text=following, styles=styles)], at + 2
        return [Span(text="\\", styles=styles)], at + 1

    def _window(self, at: int) -> _Window:
        cut = len(self._text) > at + LONGEST
        return _Window(end=min(len(self._text), at + LONGEST), settled=cut or self._whole, cut=cut)

    def _runs(self, start: int, window: _Window, mark: str) -> Iterator[tuple[int, int]]:
        """Runs of ``mark`` outside code; a last one that may still grow is left out."""
        at = start
        while found := _RUN.search(self._text, at, window.end):
            at = found.end()
            if at == window.end and (window.cut or not window.settled):
                return
            if found[0][0] == mark:
                yield found.start(), found.end()
            elif found[0][0] == "`":
                at = self._after_code(found.start(), found.end(), window) or at

    def _after_code(self, start: int, end: int, window: _Window) -> int | None:
        """The index after code that starts with a run of backticks, if it is closed."""
        for closing in re.finditer("`+", self._text[end : window.end]):
            if len(closing[0]) == end - start:
                return end + closing.end()
        return None

    def _code(self, at: int, inner: int, styles: tuple[str, ...]) -> Atom | None:
        window = self._window(at)
        for start, end in self._runs_of_backticks(inner, window):
            if end - start == inner - at:
                code = self._text[inner:start]
                if code.startswith(" ") and code.endswith(" ") and code.strip():
                    code = code[1:-1]
                return [Span(text=code, styles=(*styles, CODE))], end
        if window.settled:
            return [Span(text=self._text[at:inner], styles=styles)], inner
        return None

    def _runs_of_backticks(self, start: int, window: _Window) -> Iterator[tuple[int, int]]:
        for found in re.compile("`+").finditer(self._text, start, window.end):
            if found.end() < window.end or (window.settled and not window.cut):
                yield found.start(), found.end()

    def _emphasis(self, at: int, inner: int, styles: tuple[str, ...]) -> Atom | None:
        mark = self._text[at:inner]
        before = self._text[at - 1] if at else self._before
        following = self._text[inner : inner + 1]
        opens = mark in _EMPHASIS and following and not following.isspace()
        if not opens or _is_word(before):
            return [Span(text=mark, styles=styles)], inner
        window = self._window(at)
        closed = self._closing_run(mark, inner, window)
        if closed is not None:
            content = self._text[inner:closed]
            return spans_of(content, (*styles, *_EMPHASIS[mark])), closed + len(mark)
        if window.settled:
            return [Span(text=mark, styles=styles)], inner
        return None

    def _closing_run(self, mark: str, inner: int, window: _Window) -> int | None:
        """The index of the run that closes ``mark``."""
        text, length = self._text, len(mark)
        inside: list[int] = []
        for start, end in self._runs(inner, window, mark[0]):
            size = end - start
            closes = not text[start - 1].isspace() and not _is_word(text[end : end + 1])
            if closes and start > inner and size == length:
                return start
            # "**a *b***": the first of the three asterisks closes the inner emphasis.
            if closes and size > length and inside.count(size - length) % 2:
                return start + size - length
            inside.append(size)
        return None

    def _link(self, at: int, styles: tuple[str, ...]) -> Atom | None:
        """``[label](target)`` as the label followed by the target."""
        window = self._window(at)
        closed = _closing(self._text, at, window.end, "[", "]")
        if closed is None or self._text[closed + 1 : closed + 2] != "(":
            return None
        end = _closing(self._text, closed + 1, window.end, "(", ")")
        if end is None:
            return None
        label, target = self._text[at + 1 : closed], self._text[closed + 2 : end].strip()
        # A title in quotes may follow the address.
        address = re.fullmatch(r"""<?([^\s<>]+)>?(?:\s+["'(].*)?""", target)
        if address is None or not label:
            return None
        spans = spans_of(label, (*styles, UNDERLINE))
        if address[1] != label:
            spans.append(Span(text=f" ({address[1]})", styles=(*styles, DIM)))
        return spans, end + 1


def _closing(text: str, at: int, end: int, opening: str, closing: str) -> int | None:
    """The index of the bracket that closes the one at ``at``."""
    depth = 0
    for index in range(at, end):
        if text[index] == opening:
            depth += 1
        elif text[index] == closing:
            depth -= 1
            if not depth:
                return index
    return None


def _is_word(character: str) -> bool:
    """Whether a marker next to this character belongs to arithmetic or a name.

    ASCII only: in scripts without spaces, markers are next to letters.
    """
    return character.isascii() and character.isalnum()
