"""Deleting a repository from the cache."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from ..errors import DownloadError, ModelNotFoundError
from .catalog import BUILTIN, entry_of
from .names import repo_of, require_repo_name
from .snapshots import find_repo


@dataclass(frozen=True, kw_only=True, slots=True)
class Removal:
    """The repository folder that a removal deletes, and how many bytes that frees."""

    repo: str
    folder: Path
    size: int


def plan_removal(name: str) -> Removal:
    """What ``g4 models rm NAME`` would delete.

    Raises ModelNotFoundError for a name that is not in the cache: a built-in model, a folder.
    """
    if name.lower() in BUILTIN:
        raise ModelNotFoundError(name, "it is built in; name a model in the hub cache")
    if entry_of(name) is None and os.path.isdir(Path(name).expanduser()):
        raise ModelNotFoundError(name, "it is a folder outside the hub cache; delete it yourself")
    repo = repo_of(name)
    require_repo_name(name, repo)
    found = find_repo(repo)
    if found is None:
        raise ModelNotFoundError(name, f"{repo} is not in the local cache")
    return Removal(repo=found.repo, folder=found.root, size=_disk_bytes(found.root))


def remove(removal: Removal) -> None:
    """Delete a repository from the cache, unfinished downloads included. Raises DownloadError."""
    try:
        shutil.rmtree(removal.folder.resolve())
        if removal.folder.is_symlink():
            removal.folder.unlink()
    except OSError as exc:
        raise DownloadError(removal.repo, f"cannot be deleted ({exc.strerror or exc})") from exc


def _disk_bytes(folder: Path) -> int:
    """Bytes of the files below ``folder``, links not counted."""
    return sum(
        path.lstat().st_size
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink()
    )
