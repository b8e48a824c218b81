"""All inputs that a command's arguments name, and what the outputs for them are called.

Two inputs never share an output: names differ by their suffix if the inputs are in the same
folder, and by their folders otherwise.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import unquote, urlparse

from ..escapes import one_line
from .folders import files_in, stems_in
from .inputs import STDIN, Input, Kind, address_source, source_of, unread
from .names import absolute, checksum, folded, label_of, plain_stem, suffix_of_name

_ADDRESS = ("http://", "https://")


@dataclass(slots=True)
class Listing:
    """The inputs of ``arguments``, those of a folder sorted by path, for any number of iterations.

    Each of them lists the folders anew, so that nothing of a million files need stay in memory.
    Several inputs may have one label; see ``distinct``. ``say`` gets a notice for each folder below
    a named one that cannot be read, once.
    """

    arguments: Sequence[str]
    kind: Kind
    say: Callable[[str], None]
    _stems: dict[str, AbstractSet[str]] = field(default_factory=dict, init=False)
    _closed: set[str] = field(default_factory=set, init=False)

    def __iter__(self) -> Iterator[Input]:
        for argument in self.arguments:
            yield from self._of(argument)

    def places(self, given: Iterable[str]) -> Iterator[str]:
        """The places of those inputs that are called so, whether they are still there or not."""
        folders: list[str] = []
        files: dict[str, str] = {}
        for argument in self.arguments:
            if argument != STDIN and not _is_address(argument):
                path = str(source_of(argument).path)
                files[argument] = path
                if os.path.isdir(path):
                    folders.append(_beginning(path))
        for each in given:
            if each in files:
                yield files[each]
            elif suffix_of_name(os.path.basename(each)) not in self.kind.suffixes:
                continue
            elif (below := next(filter(each.startswith, folders), None)) is not None:
                yield each[len(below) :]

    def _of(self, argument: str) -> Iterator[Input]:
        if argument == STDIN:
            yield Input(given=STDIN, label="stdin", origin=source_of(STDIN))
            return
        if _is_address(argument):
            name = Path(unquote(urlparse(argument).path)).name
            source = address_source(argument)
            yield Input(given=source.name, label=plain_stem(name), origin=source)
            return
        source = source_of(argument)
        path = str(source.path)
        is_empty = True
        if os.path.isdir(path):
            below = _beginning(path)
            for inner, label in files_in(path, self.kind.suffixes, self._closer(path)):
                is_empty = False
                yield Input(given=f"{below}{inner}", label=label, below=below)
        if is_empty:
            yield Input(given=argument, label=self._label(Path(path)), origin=source)

    def _label(self, path: Path) -> str:
        folder = str(path.parent)
        if folder not in self._stems:
            self._stems[folder] = stems_in(folder, self.kind.suffixes)
        return label_of(path.name, self._stems[folder])

    def _closer(self, folder: str) -> Callable[[OSError], None]:
        def closed(problem: OSError) -> None:
            name = str(problem.filename)
            if name not in self._closed and name != folder:  # that is an input without a result
                self._closed.add(name)
                self.say(one_line(f"{name}: {unread(problem)}; its files are left out"))

        return closed


def _is_address(argument: str) -> bool:
    return argument.lower().startswith(_ADDRESS)


def _beginning(folder: str) -> str:
    """What the names of the files in a folder begin with."""
    if folder == os.curdir:
        return ""
    return folder if folder.endswith("/") else f"{folder}/"


def distinct(found: Sequence[Input]) -> Sequence[Input]:
    """The inputs with labels that differ, also where the file system ignores case.

    Equal ones get their suffixes, then as many parent folders as make them distinct, or else a
    checksum.
    """
    keys = [(_folder(each), folded(each.label)) for each in found]
    beside = Counter(keys)
    given = found = [
        _called(each, each.path.name) if each.path and beside[key] > 1 else each
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
            replace(each, label=_with_parents(each, depth)) if twin else each
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
    """The inputs; those whose labels another has, too, get a checksum of what they are called."""
    return [
        _called(each, f"{each.name.name}~{checksum(each.source.address or each.given)}")
        if twin
        else each
        for each, twin in zip(found, _twins(found), strict=True)
    ]


def _called(given: Input, name: str) -> Input:
    """The input with another last part of its label."""
    folder, slash, _ = given.label.rpartition("/")
    return replace(given, label=f"{folder}{slash}{name}")


def _folder(given: Input) -> str:
    return "" if given.path is None else absolute(os.path.dirname(given.path))


def _twins(found: Sequence[Input]) -> list[bool]:
    """Which inputs share their label with another."""
    counts = Counter(folded(each.label) for each in found)
    return [counts[folded(each.label)] > 1 for each in found]


def _depth(given: Input) -> int:
    return 0 if given.path is None else len(Path(absolute(str(given.path))).parents)


def _with_parents(given: Input, depth: int) -> str:
    if given.path is None:
        return given.label
    parents = Path(absolute(str(given.path))).parent.parts[1:]
    return "/".join((*parents[-depth:], given.name.name))
