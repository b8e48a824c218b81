"""The files that a command's arguments name, and what the outputs for them are called.

Two inputs never share an output: names differ by their suffix if the inputs are in the same
folder, and by their folders otherwise.
"""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlparse

from ...errors import MediaError, OptionError
from ...messages import Source
from ..escapes import one_line
from .folders import files_in

if TYPE_CHECKING:
    from ...records import Record

STDIN = "-"
_ADDRESS = ("http://", "https://")


def source_of(argument: str) -> Source:
    """A media argument; "-" is standard input, and a name may look like that of the file."""
    from ...media.near_names import existing

    if argument == STDIN:
        return Source(name=argument)
    return Source(name=argument, path=existing(Path(argument)))


def address_source(url: str) -> Source:
    """A medium to download, called by its URL without credentials."""
    from ...media.urls import shown_url

    return Source(name=shown_url(url), address=url)


@dataclass(frozen=True, kw_only=True, slots=True)
class Input:
    """One input: messages call it ``given``.

    ``source`` has neither path nor data for standard input and for an address. ``name`` is the path
    of its outputs without a suffix, relative to the output folder. ``folder`` is the one that was
    named, in which the file was found.
    """

    given: str
    source: Source
    name: Path
    folder: Path | None = None

    @property
    def path(self) -> Path | None:
        """The file, None for standard input and for an address."""
        return self.source.path

    @property
    def place(self) -> str:
        """The path below the folder that was named, or else as it was given, with slashes."""
        if self.path is None:
            return self.given
        return (self.path.relative_to(self.folder) if self.folder else self.path).as_posix()


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """The files that a command looks for in a folder: "images" with suffixes such as ".png".

    A file named as an argument is always read.
    """

    plural: str
    suffixes: AbstractSet[str]

    def missing_in(self, folder: str | Path) -> str:
        """What is wrong with a folder in which no such files were found."""
        try:
            os.listdir(folder)
        except OSError as exc:
            return _unread(exc)
        return f"contains no {self.plural}"


def _unread(problem: OSError) -> str:
    return f"cannot be read ({problem.strerror or problem})"


def inputs(arguments: Sequence[str], kind: Kind, say: Callable[[str], None]) -> list[Input]:
    """The inputs that the arguments name; those of a folder are sorted by path.

    ``say`` gets a notice for each folder below a named one that cannot be read. Raises MediaError
    for a folder without such files if there is no other input.
    """
    namesakes = _Namesakes(kind)
    found = [each for argument in arguments for each in _found(argument, kind, namesakes, say)]
    if all(os.path.isdir(each.given) for each in found):
        # With other inputs, the folder fails when its turn comes, and they do not.
        raise MediaError(found[0].given, kind.missing_in(found[0].given))
    return _distinct(found)


def with_file_name(record: Record, given: Input) -> Record:
    """The record of an input with the field ``file_name``: its place, if it is a file."""
    if given.path is None:
        return record
    return {"input": record["input"], "file_name": given.place, **record}


def are_several(found: Sequence[Input], arguments: Sequence[str]) -> bool:
    """Whether results are those of several inputs; a folder counts as such, whatever it holds."""
    return len(found) > 1 or any(map(os.path.isdir, arguments))


def check_named_once(given: Sequence[Input]) -> None:
    """Raise OptionError for a file that is named twice: its results would have one name."""
    counts = Counter(
        (
            each.source.address or each.given if each.path is None else absolute(str(each.path)),
            each.source.page,
        )
        for each in given
    )
    for (name, _), count in counts.items():
        if count > 1:
            raise OptionError(f"{name}: is named {count} times")


def _found(
    argument: str, kind: Kind, namesakes: _Namesakes, say: Callable[[str], None]
) -> Iterator[Input]:
    from ...media.near_names import existing

    if argument == STDIN:
        yield Input(given=STDIN, source=source_of(STDIN), name=Path("stdin"))
        return
    if argument.lower().startswith(_ADDRESS):
        name = Path(unquote(urlparse(argument).path)).name
        source = address_source(argument)
        yield Input(given=source.name, source=source, name=Path(_plain_stem(name)))
        return
    path = existing(Path(argument))

    def closed(problem: OSError) -> None:
        if problem.filename != str(path):  # that one is an input without a result
            say(one_line(f"{problem.filename}: {_unread(problem)}; its files are left out"))

    files = files_in(path, kind.suffixes, closed) if os.path.isdir(path) else []
    for file in files:
        inner = file.relative_to(path)
        yield Input(
            given=str(file),
            source=Source(name=str(file), path=file),
            name=inner.with_name(namesakes.stem(file)),
            folder=path,
        )
    if not files:
        yield Input(
            given=argument, source=Source(name=argument, path=path), name=Path(namesakes.stem(path))
        )


def _plain_stem(name: str) -> str:
    """The name without its suffix; "..png" keeps it, since "." names no file."""
    stem = Path(name).stem
    return stem if stem.strip(".") else name or "file"


class _Namesakes:
    """Finds files of a kind with one stem in a folder; each folder is listed once."""

    def __init__(self, kind: Kind) -> None:
        self._suffixes = kind.suffixes
        self._counts: dict[Path, Counter[str]] = {}

    def stem(self, path: Path) -> str:
        """The name without its suffix, unless another such file in its folder has the same."""
        folder = path.parent
        if folder not in self._counts:
            self._counts[folder] = Counter(self._listed(folder))
        several = self._counts[folder][_folded(path.stem)] > 1
        return path.name if several else _plain_stem(path.name)

    def _listed(self, folder: Path) -> Iterator[str]:
        # A folder that cannot be listed may hold readable files.
        with suppress(OSError, ValueError), os.scandir(folder) as entries:
            for entry in entries:
                each = Path(entry.name)
                if each.suffix.lower() in self._suffixes:
                    yield _folded(each.stem)


def _distinct(found: list[Input]) -> list[Input]:
    """Names that differ, also where the file system ignores case.

    Equal names get their suffixes, then as many parent folders as make them distinct, or else a
    checksum.
    """
    keys = [(_folder(each), _folded(str(each.name))) for each in found]
    beside = Counter(keys)
    given = found = [
        replace(each, name=each.name.with_name(each.path.name))
        if each.path and beside[key] > 1
        else each
        for each, key in zip(found, keys, strict=True)
    ]
    twins = _twins(found)
    if not any(twins):
        return found
    for depth in range(1, 1 + max(map(_depth, found))):
        twins = _twins(found)
        if not any(twins):
            break
        found = [
            replace(each, name=_with_parents(each, depth)) if twin else each
            for each, twin in zip(found, twins, strict=True)
        ]
    # Folders do not help addresses, nor names that differ only in case.
    return with_checksums(
        [
            short if twin else each
            for short, each, twin in zip(given, found, _twins(found), strict=True)
        ]
    )


def with_checksums(found: Sequence[Input]) -> list[Input]:
    """The inputs; those whose names another has, too, get a checksum of what they are called."""
    return [
        replace(
            each,
            name=each.name.with_name(
                f"{each.name.name}~{checksum(each.source.address or each.given)}"
            ),
        )
        if twin
        else each
        for each, twin in zip(found, _twins(found), strict=True)
    ]


def checksum(text: str) -> str:
    """Eight digits that differ for names that differ."""
    import hashlib

    return hashlib.sha256(os.fsencode(text)).hexdigest()[:8]


def _folder(given: Input) -> str:
    return "" if given.path is None else absolute(os.path.dirname(given.path))


def _twins(found: Sequence[Input]) -> list[bool]:
    """Which inputs share their name with another."""
    counts = Counter(_folded(str(each.name)) for each in found)
    return [counts[_folded(str(each.name))] > 1 for each in found]


def _folded(name: str) -> str:
    """Equal for names that are one file to a file system that ignores case."""
    return unicodedata.normalize("NFC", name).casefold()


def _depth(given: Input) -> int:
    return 0 if given.path is None else len(Path(absolute(str(given.path))).parents)


def _with_parents(given: Input, depth: int) -> Path:
    if given.path is None:
        return given.name
    parents = Path(absolute(str(given.path))).parent.parts[1:]
    return Path(*parents[-depth:], given.name.name)


def absolute(path: str) -> str:
    """The absolute path; the path itself in a folder that was removed."""
    try:
        return os.path.abspath(path)
    except FileNotFoundError:
        return path
