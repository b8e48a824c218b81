"""Folders as arguments: the files in them that a command takes.

Names are plain text here: a ``Path`` takes some 500 bytes, and a folder may have a million files.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from typing import NamedTuple

from .names import common_stems, label_of, suffix_of_name

_OF_THE_SYSTEM = frozenset(
    {"@eaDir", "#recycle", "#snapshot", "@Recycle", "@Recently-Snapshot", "$RECYCLE.BIN"}
)
"""Folders that a NAS or Windows makes: thumbnails of pictures, and what was deleted."""


class Inner(NamedTuple):
    """A file in a folder: its path below that, and the path of its results without a suffix."""

    path: str
    label: str


def files_in(
    folder: str, suffixes: AbstractSet[str], closed: Callable[[OSError], None]
) -> Iterator[Inner]:
    """All files below a folder with one of the suffixes (".png"), in the order of their paths.

    A path is compared folder by folder: "a/b.png" comes before "a.png". Hidden files and folders,
    and those that a NAS makes, are skipped; links to folders are not followed. ``closed`` gets the
    error of each folder that cannot be read. In memory are the names in one folder at a time, and
    in those above it.
    """
    pending = [_entries(folder, "", suffixes, closed)]
    while pending:
        for found in pending[-1]:
            if isinstance(found, Inner):
                yield found
            else:
                pending.append(_entries(folder, found, suffixes, closed))
                break
        else:
            pending.pop()


def _entries(
    folder: str, below: str, suffixes: AbstractSet[str], closed: Callable[[OSError], None]
) -> Iterator[Inner | str]:
    """The files in one folder and the paths of those in it, sorted; ``below`` has a slash."""
    try:
        names, folders = _listed(f"{folder}/{below[:-1]}" if below else folder, suffixes)
    except OSError as exc:
        closed(exc)
        return
    common = common_stems(names)
    names += folders
    names.sort()
    for name in names:
        if name in folders:
            yield f"{below}{name}/"
        else:
            yield Inner(f"{below}{name}", f"{below}{label_of(name, common)}")


def _listed(
    folder: str, suffixes: AbstractSet[str], *, hidden: bool = False
) -> tuple[list[str], AbstractSet[str]]:
    """The files with such a suffix and the folders in a folder, in no order. Raises OSError."""
    names: list[str] = []
    folders: set[str] = set()
    with os.scandir(folder) as entries:
        for entry in entries:
            name = entry.name
            if name.startswith(".") and not hidden:
                continue
            if _is_folder(entry):
                if not entry.is_symlink() and name not in _OF_THE_SYSTEM:
                    folders.add(name)
            elif suffix_of_name(name) in suffixes:
                names.append(name)
    return names, folders


def stems_in(folder: str, suffixes: AbstractSet[str]) -> AbstractSet[str]:
    """What ``common_stems`` finds among the files of a folder; nothing if it cannot be listed."""
    try:
        return common_stems(_listed(folder, suffixes, hidden=True)[0])
    except (OSError, ValueError):  # a folder that cannot be listed may hold readable files
        return frozenset()


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself: as a file, it fails when its turn comes
        return False
