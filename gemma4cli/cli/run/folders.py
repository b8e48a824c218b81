"""Folders as arguments: the files in them that a command takes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from pathlib import Path


def files_in(
    folder: Path, suffixes: AbstractSet[str], closed: Callable[[OSError], None]
) -> list[Path]:
    """All files below a folder with one of the suffixes (".png"), sorted by path.

    Hidden files and folders are skipped. ``closed`` gets the error of each folder that cannot be
    read.
    """
    return sorted(file for file in _walk(folder, closed) if file.suffix.lower() in suffixes)


def _walk(folder: Path, closed: Callable[[OSError], None]) -> Iterator[Path]:
    for root, folders, files in os.walk(folder, onerror=closed):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        inside = Path(root)
        yield from (inside / name for name in files if not name.startswith("."))
