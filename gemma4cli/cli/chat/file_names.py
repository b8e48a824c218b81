"""File names in a line that a person typed, or that a terminal wrote when files were dropped on it.

A shell would read some (quotes, backslashes), only a person others (plain spaces, a question mark
after the name). Everything that could be a name is looked up, the longest first.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote_to_bytes

from ...media.near_names import Folders

_MOST_LOOKUPS = 1000
"""Names that are looked up for one line."""

_MOST_WORDS, _MOST_BARE_WORDS = 24, 8
"""Spaces in a name; the second, if it does not begin as a path does."""

_LONGEST_PATH = 4096

_QUOTED = re.compile(r"""'([^'\n]*)'|"((?:\\.|[^"\\\n])*)"|\$'((?:\\.|[^'\\\n])*)'""")
_IN_QUOTES = re.compile(r'\\(["\\$`])')
_ANSI_C = re.compile(r"\\(?:x([0-9A-Fa-f]{1,2})|([0-7]{1,3})|(.))")
_FILE_URL = re.compile(r"file:(?://([^/]*))?(/.*)", re.DOTALL | re.IGNORECASE)
_WINDOWS_PATH = re.compile(r"([A-Za-z]):[\\/](.*)", re.DOTALL)
OPENING = "([{<\"'`,;:=“‘«‹„「『（【《，、"  # noqa: RUF001
CLOSING = ".,;:!?)]}>\"'`”’»›」』）】》。，、！？；：…"  # noqa: RUF001


@dataclass(frozen=True, kw_only=True, slots=True)
class FileName:
    """A name in a line: ``line[start:end]``. ``path`` exists."""

    start: int
    end: int
    path: Path


class Names:
    """Finds the names of existing files and folders in lines."""

    def __init__(self) -> None:
        self._folders = Folders()
        self._lookups = 0

    def at(self, line: str, start: int) -> FileName | None:
        """The longest name that begins at ``start``."""
        seen = set()
        for end, value in sorted((*_read(line, start), *_read(line, start, shell=False)))[::-1]:
            if (end, value) in seen or not _may_be_a_name(line, start, end, value):
                continue
            seen.add((end, value))
            if (path := self.existing(value)) is not None:
                return FileName(start=start, end=end, path=path)
        return None

    def existing(self, value: str) -> Path | None:
        """The path that a name stands for, if it exists or one that looks the same does."""
        for path in paths_of(value):
            self._lookups += 1
            if self._lookups > _MOST_LOOKUPS:
                return None
            if _exists(path):
                return path
            if (twin := self._folders.twin(path)) is not None:
                return twin
        return None

    def suggestion(self, value: str) -> str | None:
        """A file that could be meant by the name of one that does not exist."""
        return self._folders.similar(paths_of(value)[-1])


def word_at(line: str, start: int) -> tuple[int, str]:
    """The word at ``start``, without closing punctuation: its end and value.

    Quotes are a shell's where the word begins with one; elsewhere they may be apostrophes.
    """
    escaped = "\\" in line[start:].split(None, 1)[0] and not _WINDOWS_PATH.match(line, start)
    readings = _read(line, start, shell=line[start] in "'\"$" or escaped)
    end, value = next((e, v) for e, v in readings if e == len(line) or line[e].isspace())
    while end > start + 1 and line[end - 1] == value[-1:] and value[-1:] in CLOSING:
        end, value = end - 1, value[:-1]
    return end, value


def is_start(line: str, at: int) -> bool:
    """Whether a name may begin at a position."""
    if line[at].isspace() or at == 0:
        return not line[at].isspace()
    before = line[at - 1]
    return before.isspace() or before in OPENING or (line[at].isascii() and not before.isascii())


def path_of(word: str) -> Path:
    """The path that a word stands for, whether it exists or not."""
    found = Names().existing(word)
    return paths_of(word)[-1] if found is None else found


def paths_of(value: str) -> list[Path]:
    """What a name without quotes may stand for, the likeliest last."""
    if url := _FILE_URL.fullmatch(value):
        host = (url[1] or "").lower()
        if host in ("", "localhost", "127.0.0.1", os.uname().nodename.lower()):
            return [Path(os.fsdecode(unquote_to_bytes(url[2])))]
        return [Path(value)]
    if drive := _WINDOWS_PATH.fullmatch(value):  # as Windows names it in its Linux subsystem
        return [Path(value), Path("/mnt", drive[1].lower(), drive[2].replace("\\", "/"))]
    path = Path(value)
    if not value.startswith("~"):
        return [path]
    try:
        return [path, path.expanduser()]
    except (RuntimeError, ValueError):  # "~nobody", and names with a null character
        return [path]


def split_names(text: str) -> list[str]:
    """The file names after a command: existing ones, which may hold spaces, else words.

    The names are as typed, without quotes.
    """
    names, found = Names(), []
    at = 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        name = names.at(text, at)
        if name is not None and (name.end == len(text) or text[name.end].isspace()):
            found.append(str(name.path))
            at = name.end
            continue
        end, value = next(
            (end, value)
            for end, value in _read(text, at)
            if end == len(text) or text[end].isspace()
        )
        found.append(value)
        at = end
    return found


def _may_be_a_name(line: str, start: int, end: int, value: str) -> bool:
    """Whether a reading deserves a look: a bare word is a name only if it is the whole line."""
    if not value.strip() or "\0" in value or len(value) > _LONGEST_PATH:
        return False
    if not any(character.isalnum() for character in value) and value != "~":
        return False
    raw = line[start:end]
    marked = "/" in raw or "." in raw.strip(".") or "\\" in raw or raw[0] in "'\"$"
    return marked or raw == line.strip()


def _read(line: str, start: int, *, shell: bool = True) -> Iterator[tuple[int, str]]:
    """The readings of a name at ``start``, ever longer: where each ends, and its value.

    With ``shell``, quotes and backslashes have a shell's meaning.
    """
    value, at, words = "", start, 0
    most = _MOST_WORDS if line[start] in "/~.'\"\\" else _MOST_BARE_WORDS
    while at < len(line) and line[at] != "\n":
        character = line[at]
        if shell and character in "'\"$" and (quoted := _QUOTED.match(line, at)):
            value += _unquoted(quoted)
            at = quoted.end()
            yield at, value
            continue
        if shell and character == "\\" and at + 1 < len(line):
            value += line[at + 1]
            at += 2
            continue
        if _may_end(line, start, at):
            yield at, value
            words += character.isspace()
            if words > most:
                return
        value += character
        at += 1
    yield at, value


def _may_end(line: str, start: int, at: int) -> bool:
    """Whether a name may end before a position."""
    character = line[at]
    if at == start:
        return False
    if character.isspace():
        return True
    if character in CLOSING:
        after = line[at + 1 : at + 2]
        return character != "." or not after or after.isspace() or after in CLOSING
    return not character.isascii() and line[at - 1].isascii() and "." in line[start:at]


def _unquoted(match: re.Match[str]) -> str:
    if match[1] is not None:
        return match[1]
    if match[2] is not None:
        return _IN_QUOTES.sub(r"\1", match[2])
    return os.fsdecode(_ANSI_C.sub(_ansi_c, match[3]).encode("utf-8", "surrogateescape"))


def _ansi_c(escape: re.Match[str]) -> str:
    """One escape of ``$'...'``; bytes come as surrogates."""
    if escape[3] is not None:
        return {"n": "\n", "t": "\t"}.get(escape[3], escape[3])
    byte = int(escape[1], 16) if escape[1] else int(escape[2], 8) & 0xFF
    return chr(byte) if byte < 0x80 else chr(0xDC00 + byte)


def _exists(path: Path) -> bool:
    try:
        path.stat()
    except (OSError, ValueError):
        return False
    return True
