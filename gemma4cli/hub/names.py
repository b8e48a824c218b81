"""What the name of a model means: one that is built in, a folder, a repository in the cache.

Never downloads anything; ``download`` does.
"""

from __future__ import annotations

import difflib
import os
from pathlib import Path

from ..errors import ModelNotFoundError
from .catalog import BUILTIN, CATALOG, entry_of
from .download import repo_folder
from .not_a_checkpoint import refuse_file
from .snapshots import Snapshot, best_snapshot, find_repo


def folder_of(name: str) -> Path:
    """The folder of a model name: an alias, a folder, or a repository in the cache.

    An alias has priority over a folder of the same name; "./tiny" is the folder.
    Raises ModelNotFoundError, which says what to do next.
    """
    found = find(name)
    return found if isinstance(found, Path) else found.folder


def find(name: str) -> Path | Snapshot:
    """A folder, or the snapshot of a repository in the cache."""
    if (builtin := BUILTIN.get(name.lower())) is not None:
        return builtin
    entry = entry_of(name)
    if entry is not None:
        return _cached(name, entry.repo)
    path = Path(os.path.expanduser(name))
    if os.path.isdir(path):
        return path
    if os.path.exists(path):
        raise refuse_file(name, path)
    return _cached(name, repo_of(name))


def repo_of(name: str) -> str:
    """The repository of an alias or a hub id, cached or not.

    Raises ModelNotFoundError for anything else.
    """
    entry = entry_of(name)
    if entry is not None:
        return entry.repo
    alias, _, quant = name.lower().partition(":")
    if quant and alias in CATALOG:
        raise ModelNotFoundError(name, f"{alias} is available as {', '.join(CATALOG[alias])}")
    if name.count("/") == 1 and not name.startswith((".", "/", "~")):
        return name
    if name.lower() in BUILTIN:
        raise ModelNotFoundError(name, "it is built in; name a model on the hub")
    close = difflib.get_close_matches(name.lower(), [*BUILTIN, *CATALOG], n=1)
    hint = f"did you mean {close[0]}?" if close else "name a folder, a hub id or an alias"
    if name.startswith((".", "/", "~")):
        hint = "there is no such folder; name a folder, a hub id or an alias"
    raise ModelNotFoundError(name, f"{hint} (aliases: {', '.join([*BUILTIN, *CATALOG])})")


def _cached(name: str, repo: str) -> Snapshot:
    """The snapshot of a repository. Raises ModelNotFoundError if it is not there or not whole."""
    require_repo_name(name, repo)
    pull = f"g4 models pull {name}"
    found = find_repo(repo)
    if found is None:
        raise ModelNotFoundError(
            name, f"{repo} is not in the local cache; download it with: {pull}"
        )
    snapshot = best_snapshot(name, found)
    if snapshot is None or snapshot.missing:
        lacking = "" if snapshot is None else f" ({snapshot.missing[0]} is missing)"
        raise ModelNotFoundError(
            name, f"its download is unfinished{lacking}; resume it with: {pull}"
        )
    return snapshot


def require_repo_name(name: str, repo: str) -> None:
    """Raise ModelNotFoundError for a string that cannot be a repository."""
    from huggingface_hub.errors import HFValidationError

    try:
        repo_folder(repo)
    except HFValidationError as exc:
        raise ModelNotFoundError(name, "it is not a valid repository name") from exc
