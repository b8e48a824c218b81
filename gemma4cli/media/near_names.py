"""Names that look like those of files but are spelled otherwise in the file system.

macOS puts U+202F before the AM of a screenshot's name, and letters with marks may be one character
or two. Neither can be seen, so such a name stands for the file.
"""

from __future__ import annotations

import os
import unicodedata
from difflib import get_close_matches
from itertools import islice
from pathlib import Path

_MOST_ENTRIES = 20_000
"""Of a folder; with more, only exact names are found."""

_INVISIBLE = dict.fromkeys(map(ord, "\u00ad\u200b\u200c\u200d\u200e\u200f\u2060\ufeff"))


def folded(name: str) -> str:
    """A name with what cannot be seen made equal: kinds of space, composition, invisible marks."""
    composed = unicodedata.normalize("NFC", name).translate(_INVISIBLE)
    return "".join(" " if character.isspace() else character for character in composed)


class Folders:
    """Looks names up in folders, each of which is listed once."""

    def __init__(self) -> None:
        self._names: dict[Path, dict[str, list[str]]] = {}

    def twin(self, path: Path) -> Path | None:
        """The file or folder whose path looks like ``path``; None if there is none, or several."""
        folder, below = path.parent, [path.name]
        while not _exists(folder):  # a loop: a path may have more names than Python has frames
            if folder.parent == folder:  # the current folder, if it is closed
                return None
            below.append(folder.name)
            folder = folder.parent
        for name in reversed(below):
            found = self._listed(folder).get(folded(name), [])
            if len(found) != 1:
                return None
            folder /= found[0]
        return folder

    def similar(self, path: Path) -> str | None:
        """A name in the path's folder that could have been meant."""
        names = [name for same in self._listed(path.parent).values() for name in same]
        lowered = {name.lower(): name for name in names}
        found = get_close_matches(path.name.lower(), lowered, n=1, cutoff=0.8)
        return lowered[found[0]] if found else None

    def _listed(self, folder: Path) -> dict[str, list[str]]:
        if folder not in self._names:
            names: dict[str, list[str]] = {}
            try:
                with os.scandir(folder) as entries:
                    for entry in islice(entries, _MOST_ENTRIES):
                        names.setdefault(folded(entry.name), []).append(entry.name)
            except (OSError, ValueError):
                pass
            self._names[folder] = names
        return self._names[folder]


def existing(path: Path) -> Path:
    """The path, or the one that exists and looks the same, or that ``~`` means."""
    if _exists(path):
        return path
    found = Folders().twin(path)
    if found is None and path.parts[:1] == ("~",):
        home = Path(os.path.expanduser(path))
        return home if _exists(home) else path
    return found or path


def suggestion(path: Path) -> str | None:
    """The name of a file in the folder of a missing one that could have been meant."""
    return Folders().similar(path)


def _exists(path: Path) -> bool:
    try:
        path.lstat()
    except (OSError, ValueError):
        return False
    return True
