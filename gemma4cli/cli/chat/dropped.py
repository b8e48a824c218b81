"""Files and addresses in what was typed, and the question without them."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...errors import MediaError
from ...media.kinds import MEDIA_SUFFIXES
from ...media.recognition import kind_of
from ...messages import MediaKind, Source
from .attachments import not_a_medium
from .file_names import CLOSING, OPENING, FileName, Names, is_start, paths_of, word_at

_LONGEST_LINE = 4000
"""Characters of a text in which names are looked for; of a longer one, the first and last line."""

_MOST_LINES = 3
"""Of a text in which names without a medium are reported; longer ones are quoted material."""

_AROUND = f"{OPENING}{CLOSING}-&\N{EN DASH}\N{EM DASH}"
_AFTER = f"{CLOSING}-\N{EN DASH}\N{EM DASH} ".translate(dict.fromkeys(map(ord, "\"'`")))
_BEFORE = OPENING.translate(dict.fromkeys(map(ord, "\"'`,;:=")))
"""What is left of a name that is taken out of the start of a question, and out of its end.

PowerShell writes an ampersand before a quoted name.
"""

_AROUND_SPACE = f"{_AROUND} \t"
_TOP_LEVEL = 3
"""Parts of an absolute path from which on it names more than a folder such as /tmp."""

_URL = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://\S*")
_HTTP = ("http://", "https://")


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """A name in a question that cannot be attached, and why."""

    name: str
    problem: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Dropped:
    """Typed text, and the media, addresses and other names in it.

    ``text`` is empty if nothing but media was typed. It has no names at its start and its end; in
    the middle of a sentence, a file's path is replaced by its name.
    """

    text: str
    files: tuple[tuple[MediaKind, Path], ...] = ()
    addresses: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class _Span:
    """A name in the text: a medium, an address, or a problem. ``shown`` is its short name."""

    start: int
    end: int
    shown: str
    kind: MediaKind | None = None
    path: Path | None = None
    problem: Problem | None = None


def find_dropped(typed: str, *, fetches: bool = False) -> Dropped:
    """Find the names of files among the words: bare, quoted, escaped, or as file URLs.

    Addresses of media are problems unless g4 ``fetches`` them.
    """
    spans = [span for offset, line in _lines(typed) for span in _spans(line, offset)]
    files = [span for span in spans if span.problem is None and (span.path or fetches)]
    problems = [span.problem for span in spans if span.problem is not None]
    if not fetches:
        problems += [
            Problem(name=span.shown, problem="is an address: --allow-urls lets g4 fetch it")
            for span in spans
            if span.path is None and span.problem is None and _is_medium(span.shown)
        ]
    if typed.count("\n") >= _MOST_LINES or "```" in typed:
        problems = []
    return Dropped(
        text=_without(typed, files) if files else typed,
        files=tuple((span.kind, span.path) for span in files if span.kind and span.path),
        addresses=tuple(typed[span.start : span.end] for span in files if span.path is None),
        problems=tuple(problems),
    )


def named_media(question: str) -> list[Path]:
    """The media files that a question names, for one that is not taken apart."""
    return [path for _, path in find_dropped(question).files]


def is_file(typed: str) -> bool:
    """Whether a line begins with the name of a file, so that it is not a command."""
    found = Names().at(typed, 0)
    return found is not None and os.path.isfile(found.path)


def _lines(typed: str) -> Iterator[tuple[int, str]]:
    """Where each line to look at begins, and the line."""
    lines = typed.split("\n")
    starts = [0]
    for line in lines[:-1]:
        starts.append(starts[-1] + len(line) + 1)
    found = list(zip(starts, lines, strict=True))
    if len(typed) > _LONGEST_LINE and len(found) > 1:
        found = [found[0], found[-1]]
    return ((start, line) for start, line in found if 0 < len(line) <= _LONGEST_LINE)


def _spans(line: str, offset: int) -> Iterator[_Span]:
    """The names in one line, which begins at ``offset`` of the text."""
    names = Names()
    at = 0
    while at < len(line):
        span = None
        if is_start(line, at):
            span = _url(line, at) or _span(line, at, names)
        if span is None:
            at += 1
            continue
        at = span.end
        if span.shown:
            yield _Span(
                start=offset + span.start,
                end=offset + span.end,
                shown=span.shown,
                kind=span.kind,
                path=span.path,
                problem=span.problem,
            )


def _url(line: str, at: int) -> _Span | None:
    """An address; one that is not of the web has an empty name, and is passed over."""
    match = _URL.match(line, at)
    if match is None or match[0].lower().startswith("file:"):
        return None
    from ...media.urls import shown_url

    address = match[0].rstrip(CLOSING)
    is_web = address.lower().startswith(_HTTP)
    return _Span(start=at, end=at + len(address), shown=shown_url(address) if is_web else "")


def _span(line: str, at: int, names: Names) -> _Span | None:
    found = names.at(line, at)
    if found is not None:
        return _existing(line, found)
    end, word = word_at(line, at)
    at_edge = not line[:at].strip(_AROUND_SPACE) or not line[end:].strip(_AROUND_SPACE)
    if word.startswith(tuple(OPENING)) or not _is_missing_file(word, at_edge=at_edge):
        return None
    hint = names.suggestion(word)
    problem = "no such file" + (f"; did you mean {hint}?" if hint else "")
    return _Span(start=at, end=end, shown=word, problem=Problem(name=word, problem=problem))


def _existing(line: str, found: FileName) -> _Span | None:
    """A medium, or the reason why a file or folder is none."""
    raw = line[found.start : found.end]
    kind, problem = _kind(found.path)
    is_top = found.path.is_absolute() and len(found.path.parts) < _TOP_LEVEL
    if problem and os.path.isdir(found.path) and ("/" not in raw or is_top):
        return None
    return _Span(
        start=found.start,
        end=found.end,
        shown=os.fsencode(found.path.name).decode("utf-8", "replace"),
        kind=kind,
        path=found.path,
        problem=Problem(name=raw, problem=problem) if problem else None,
    )


def _kind(path: Path) -> tuple[MediaKind | None, str]:
    """The kind of a medium, or what is wrong with it."""
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            return None, "is a folder; name a file in it"
        if not stat.S_ISREG(mode):
            return None, "is not a file"
        kind = kind_of(Source.of(path))
    except MediaError as error:
        return None, error.problem
    except OSError as error:
        return None, f"cannot be read: {error.strerror or error}"
    return kind, "" if kind else not_a_medium("/file")


def _is_missing_file(word: str, *, at_edge: bool) -> bool:
    """Whether a word that names nothing was meant to name a file.

    In the middle of a sentence about paths, only the suffix of a medium says so.
    """
    name = word.rpartition("/")[2]
    if "\0" in word or not any(character.isalnum() for character in name):
        return False
    if word.lower().startswith("file:/") or (not name.startswith(".") and _is_medium(name)):
        return True
    if not at_edge:
        return False
    parts = paths_of(word)[-1].parts
    is_absolute = (
        word.startswith("/") and len(parts) >= _TOP_LEVEL and os.path.isdir(Path(*parts[:2]))
    )
    return is_absolute or word.startswith(("~/", "./", "../"))


def _is_medium(name: str) -> bool:
    return _suffix(name) in MEDIA_SUFFIXES


def _suffix(name: str) -> str:
    return Path(name.partition("?")[0]).suffix.lower()


def _without(typed: str, spans: Sequence[_Span]) -> str:
    """The text without the names at its start and end, or with short names inside a sentence."""
    first, last = 0, len(spans)
    start, end = 0, len(typed)
    while first < last and not typed[start : spans[first].start].strip(f"{_AROUND_SPACE}\n"):
        quote = typed[start : spans[first].start][-1:]
        start, first = spans[first].end, first + 1
        start += bool(quote) and quote in "\"'`" and typed.startswith(quote, start)
    while last > first and not typed[spans[last - 1].end : end].strip(")]}>\"'` \t\n"):
        end, last = spans[last - 1].start, last - 1
    if first == last:
        rest = typed[start:end].strip()
        rest = rest.lstrip(_AFTER) if start else rest
        rest = rest.rstrip(f"{_BEFORE} ") if end < len(typed) else rest
        return rest if rest.strip(f"{_AROUND_SPACE}\n") else ""
    text, at = "", 0
    for span in spans:
        text += typed[at : span.start] + span.shown
        at = span.end
    return text + typed[at:]
