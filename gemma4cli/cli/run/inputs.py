"""The files that a command's arguments name."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import OptionError
from ...messages import Source
from .names import absolute, repeated

if TYPE_CHECKING:
    from ...records import Record

STDIN = "-"


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
    """One input, in 250 bytes, since there may be a million: messages call it ``given``.

    ``label`` is the path of its outputs without a suffix, relative to the output folder. ``below``
    is what comes in ``given`` before the path below the folder that was named; None if there is no
    such folder. ``origin`` is its source, None for the file of the name ``given``.
    """

    given: str
    label: str
    below: str | None = None
    origin: Source | None = field(default=None, repr=False)

    @property
    def source(self) -> Source:
        """Has neither path nor data for standard input and for an address."""
        return self.origin or Source(name=self.given, path=Path(self.given))

    @property
    def path(self) -> Path | None:
        """The file, None for standard input and for an address."""
        return Path(self.given) if self.origin is None else self.origin.path

    @property
    def name(self) -> Path:
        """``label`` as a path."""
        return Path(self.label)

    @property
    def place(self) -> str:
        """The path below the folder that was named, or else as it was given, with slashes."""
        if self.below is not None:
            return self.given[len(self.below) :]
        return self.given if self.path is None else self.path.as_posix()


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
            return unread(exc)
        return f"contains no {self.plural}"


def unread(problem: OSError) -> str:
    """What is wrong with a folder that cannot be read."""
    return f"cannot be read ({problem.strerror or problem})"


def with_file_name(record: Record, given: Input) -> Record:
    """The record of an input with the field ``file_name``: its place, if it is a file."""
    if given.path is None:
        return record
    return {"input": record["input"], "file_name": given.place, **record}


def are_several(found: Collection[Input], arguments: Sequence[str]) -> bool:
    """Whether results are those of several inputs; a folder counts as such, whatever it holds."""
    return len(found) > 1 or any(map(os.path.isdir, arguments))


def check_named_once(given: Iterable[Input]) -> None:
    """Raise OptionError for a file that is named twice: its results would have one name.

    ``given`` is gone through several times.
    """
    if len({each.below for each in given}) == 1 and all(each.below is not None for each in given):
        return  # the files of one folder
    for name in sorted(repeated(lambda: map(_identity, given))):
        count = sum(_identity(each) == name for each in given)
        raise OptionError(f"{name.partition(_PAGE)[0]}: is named {count} times")


_PAGE = "\0"


def _identity(given: Input) -> str:
    """What is equal for two names of one input."""
    if given.origin is None:
        return absolute(given.given)
    path, address, page = given.origin.path, given.origin.address, given.origin.page
    name = address or given.given if path is None else absolute(str(path))
    return name if page is None else f"{name}{_PAGE}{page}"
