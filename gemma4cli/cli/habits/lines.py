"""A command line as words: options that a command knows, others, and arguments."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

Known = Mapping[str, bool]
"""The options of a command, and whether each takes a value."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Word:
    """A word of a command line at ``index``, without the values that known options take.

    ``name`` is the option, "" for an argument. ``value`` is what was typed to it: with "=", in the
    same word after a short option, or as the next word, which ``used`` then counts.
    """

    index: int
    name: str
    value: str | None
    used: int
    known: bool

    @property
    def is_option(self) -> bool:
        return bool(self.name)


def normalized(option: str) -> str:
    """An option with dashes for underscores."""
    return option[:2] + option[2:].replace("_", "-")


def words(
    line: Sequence[str], known: Known, spelled: frozenset[str] = frozenset()
) -> Iterator[Word]:
    """The words of a line; after "--", all are arguments.

    ``spelled`` are unknown options of several letters, such as "-ngl". An unknown option may or may
    not take a value: its word has the next one as ``value``, which comes again as a word.
    """
    index = 0
    while index < len(line) and line[index] != "--":
        word = _word(line, index, known, spelled)
        yield word
        index += 1 + (word.used if word.known else 0)
    yield from (
        Word(index=at, name="", value=line[at], used=0, known=True)
        for at in range(index + 1, len(line))
    )


def _word(line: Sequence[str], index: int, known: Known, spelled: frozenset[str]) -> Word:
    text = line[index]
    following = line[index + 1] if index + 1 < len(line) else None
    if not text.startswith("-") or text == "-":
        return Word(index=index, name="", value=text, used=0, known=True)
    name, equals, value = text.partition("=")
    name = normalized(name)
    if name in spelled and name not in known:
        return _option(index, name, value if equals else None, following, known=False, takes=True)
    if text.startswith("--"):
        takes = known.get(name, True)
        given = value if equals else None
        return _option(index, name, given, following, known=name in known, takes=takes)
    return _short(index, text, following, known)


def _short(index: int, text: str, following: str | None, known: Known) -> Word:
    """A word such as "-q", "-n20" or "-qc": flags, of which the last may take a value."""
    for at, letter in enumerate(text[1:], 1):
        option, rest = f"-{letter}", text[at + 1 :] or None
        if option not in known and text[1:].isalpha() and len(text) > 2:
            # A name such as "-sys", not the value "ys" of "-s".
            return _option(index, text, None, following, known=False, takes=True)
        if option not in known:
            return _option(index, option, rest, following, known=False, takes=True)
        if known[option]:
            return _option(index, option, rest, following, known=True, takes=True)
    return Word(index=index, name=f"-{text[-1]}", value=None, used=0, known=True)


def _option(
    index: int, name: str, given: str | None, following: str | None, *, known: bool, takes: bool
) -> Word:
    used = int(takes and given is None and following is not None)
    value = following if used else given
    return Word(index=index, name=name, value=value, used=used, known=known)


def typed_line(path: str, line: Iterable[str]) -> str:
    """A command and its words as a shell takes them."""
    return shlex.join(["g4", *path.split(), *line])
