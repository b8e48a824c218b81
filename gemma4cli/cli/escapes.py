"""What a terminal is shown of text from outside, such as names, errors and answers.

Names and errors have everything escaped that is not visible by itself: control characters, which
drive a terminal, bidirectional controls, which reorder the text around them, and characters without
a width, which make two names look alike. Answers keep the latter two, because some languages and
emoji need them, but an answer's direction ends with its line.
"""

from __future__ import annotations

import io
import re
from typing import TextIO

# C0, DEL and C1: they can move the cursor, ring the bell, set the title or change colors.
_CONTROLS = r"\x00-\x1f\x7f-\x9f"
# Format characters, fillers and selectors, but not those of emoji (U+FE0E and U+FE0F).
_INVISIBLE = (
    "\xad\u034f\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u115f\u1160\u17b4\u17b5"
    "\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufe00-\ufe0d\ufeff\uffa0"
    "\ufff0-\ufffb\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3"
    "\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
# Python reads a byte that is not UTF-8 as U+DC80 to U+DCFF; others cannot be encoded at all.
_SURROGATES = "\ud800-\udfff"
_UNSHOWN = re.compile(f"[{_CONTROLS}{_INVISIBLE}{_SURROGATES}]")
_UNSHOWN_IN_BLOCK = re.compile(rf"(?![\t\n])[{_CONTROLS}{_INVISIBLE}{_SURROGATES}]")
_UNSHOWN_IN_ANSWER = re.compile(rf"(?![\t\n])[{_CONTROLS}]")
_SURROGATE = re.compile(f"[{_SURROGATES}]")
_NAMED = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}

_EMBEDDING_END, _ISOLATE_END = "\u202c", "\u2069"
_ENDS = dict.fromkeys("\u202a\u202b\u202d\u202e", _EMBEDDING_END)
_ENDS |= dict.fromkeys("\u2066\u2067\u2068", _ISOLATE_END)
_DIRECTION = re.compile("[\u202a-\u202e\u2066-\u2069\n\u2028\u2029]")


def one_line(text: str) -> str:
    """``text``, such as a file's name, on one line.

    What is not visible by itself is escaped, and so are bytes that are not UTF-8: ``\\n``,
    ``\\x1B``, ``\\u202E``, ``\\xE9``.
    """
    return _UNSHOWN.sub(_escaped, text)


def block(text: str) -> str:
    """``text`` escaped like one line, but with its line breaks and tabs."""
    return _UNSHOWN_IN_BLOCK.sub(_escaped, text)


def in_json(line: str) -> str:
    """A JSON document in which what is not visible by itself is an escape of JSON's own.

    That changes no value: outside strings, JSON has no such character but line breaks.
    """
    return _UNSHOWN_IN_BLOCK.sub(
        lambda found: "".join(f"\\u{unit:04x}" for unit in _units(found[0])), line
    )


def printable(text: str, stream: TextIO) -> str:
    """A whole answer, or several lines of it, for ``stream``; see ``Printable``."""
    shown = Printable(stream)
    return shown.feed(text) + shown.finish()


class Printable:
    """An answer for ``stream`` as it comes.

    On a terminal, control characters are replaced, and the end of a line or of the answer ends what
    changes its direction. Other streams get the text as it is, but bytes of names that are not
    UTF-8 are escaped everywhere: ``\\xE9``.
    """

    def __init__(self, stream: TextIO) -> None:
        self._is_terminal = stream.isatty()
        self._open: list[str] = []

    def feed(self, text: str) -> str:
        """The next part of the answer."""
        text = _SURROGATE.sub(_escaped, text)
        if not self._is_terminal:
            return text
        text = _UNSHOWN_IN_ANSWER.sub("\N{REPLACEMENT CHARACTER}", text)
        return _DIRECTION.sub(self._turned, text)

    def finish(self) -> str:
        """What ends the directions that are open."""
        ends = "".join(reversed(self._open))
        self._open.clear()
        return ends

    def _turned(self, found: re.Match[str]) -> str:
        sign = found[0]
        if sign in _ENDS:
            self._open.append(_ENDS[sign])
        elif sign == _EMBEDDING_END:
            if self._open[-1:] == [sign]:
                self._open.pop()
        elif sign == _ISOLATE_END:
            while sign in self._open and self._open.pop() != sign:
                pass  # the end of an isolate ends the embeddings in it
        else:
            return self.finish() + sign
        return sign


class Escaping(io.TextIOBase):
    """Standard error for everything but g4's own messages: what is written is escaped.

    Tracebacks of threads, warnings and messages of libraries quote names and data.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._stream.encoding

    @property
    def errors(self) -> str | None:  # type: ignore[override]
        return self._stream.errors

    def write(self, text: str) -> int:
        self._stream.write(block(text))
        return len(text)

    def flush(self) -> None:
        self._stream.flush()

    def fileno(self) -> int:
        return self._stream.fileno()

    def isatty(self) -> bool:
        return self._stream.isatty()

    def writable(self) -> bool:
        return True


def _escaped(found: re.Match[str]) -> str:
    sign = found[0]
    code = ord(sign)
    if sign in _NAMED:
        return _NAMED[sign]
    if 0xDC80 <= code <= 0xDCFF or code <= 0xFF:
        return f"\\x{code & 0xFF:02X}"
    return f"\\u{code:04X}" if code <= 0xFFFF else f"\\U{code:08X}"


def _units(sign: str) -> list[int]:
    """The one or two UTF-16 units of a character."""
    data = sign.encode("utf-16-be", "surrogatepass")
    return [int.from_bytes(data[at : at + 2]) for at in range(0, len(data), 2)]
