"""Folders as arguments: the files in them that a command takes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from pathlib import Path


def files_in(folder: Path, suffixes: AbstractSet[str]) -> list[Path]:
    """All files below a folder with one of the suffixes (".png"), sorted by path.

    Hidden files and folders are skipped.
    """
    return sorted(file for file in _walk(folder) if file.suffix.lower() in suffixes)


def _walk(folder: Path) -> Iterator[Path]:
    for root, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(root, name) for name in files if not name.startswith("."))
