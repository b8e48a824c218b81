"""Files of conversations: one on each line, or a list of them in JSON."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ..bounded import read_bounded
from ..checked_json import JsonError, parse
from ..conversations.file import Conversation, parse_conversation
from ..errors import ConversationError, TuningDataError
from ..plain_text import decode_text
from .other_forms import as_messages
from .samples import Fault

_LARGEST = 1 << 30
"""Bytes of a file of conversations: all of it is in memory once."""


def conversations_in(file: Path) -> Iterator[tuple[str, Conversation] | Fault]:
    """Each conversation with its origin, "data.jsonl:12", or what is wrong with it.

    Raises TuningDataError if nothing at all can be read.
    """
    try:
        found = decode_text(read_bounded(file, _LARGEST))
    except OSError as exc:
        raise TuningDataError(f"{file}: cannot be read ({exc.strerror or exc})") from exc
    if found is None or found.notice is not None:
        raise TuningDataError(
            f"{file}: is not UTF-8 text: give a file of JSON Lines, or a folder of media"
        )
    if file.suffix.lower() in (".csv", ".tsv"):
        raise TuningDataError(
            f"{file}: is a table: name its folder, where metadata{file.suffix.lower()} is read"
        )
    for origin, line in _values(file, found.text):
        try:
            value = parse(line) if isinstance(line, str) else line
        except JsonError as exc:
            # The origin has the number of the line; in itself each is "line 1".
            yield Fault(origin=origin, problem=str(exc).replace("line 1 column", "column"))
        else:
            yield conversation_of(value, origin, file.parent)


def conversation_of(value: object, origin: str, folder: Path) -> tuple[str, Conversation] | Fault:
    """A conversation in one of the known forms; its paths start from ``folder``."""
    try:
        return origin, parse_conversation(as_messages(value), folder=folder, name=origin)
    except JsonError as exc:
        return Fault(origin=origin, problem=str(exc))
    except ConversationError as exc:
        return Fault(origin=origin, problem=str(exc).removeprefix(f"{origin}: "))


def _values(file: Path, content: str) -> Iterator[tuple[str, object]]:
    """Each value with its origin; one that is still JSON is a text."""
    if content.lstrip("\ufeff \t\r\n").startswith("["):
        try:
            values = parse(content)
        except JsonError as exc:
            raise TuningDataError(f"{file}: {exc}") from exc
        yield from ((f"{file}[{number}]", value) for number, value in enumerate(values))
        return
    for number, line in enumerate(content.split("\n"), start=1):
        if line.strip():
            yield f"{file}:{number}", line
