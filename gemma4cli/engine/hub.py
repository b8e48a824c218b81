"""Model names to folders: built in, on disk, or in the Hugging Face cache.

Never downloads anything. The only place that knows huggingface_hub.
"""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import ModelNotFoundError
from ..models.config import FAMILIES
from .catalog import BUILTIN, CATALOG, alias_of, entry_of

_MEMORY_SHARE = 0.7
"""Of the machine's memory that a model's weights may fill to be taken without asking."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelEntry:
    """A model that can be run without a download. ``size`` is in bytes of weights."""

    name: str
    repo: str | None
    folder: Path
    size: int


def resolve(name: str) -> Path:
    """The folder of a model name: an alias, a folder, or a repository in the cache.

    An alias wins over a folder of the same name; "./tiny" is the folder.
    Raises ModelNotFoundError, with what to do next.
    """
    if name in BUILTIN:
        return BUILTIN[name]
    entry = entry_of(name)
    if entry is not None:
        return _cached(name, entry.repo)
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    alias, _, quant = name.lower().partition(":")
    if quant and alias in CATALOG:
        raise ModelNotFoundError(name, f"{alias} comes as {', '.join(CATALOG[alias])}")
    if name.count("/") == 1 and not name.startswith((".", "/", "~")):
        return _cached(name, name)
    close = difflib.get_close_matches(name, [*BUILTIN, *CATALOG], n=1)
    hint = f"did you mean {close[0]}?" if close else "name a folder, a hub id or an alias"
    raise ModelNotFoundError(name, f"{hint} (aliases: {', '.join([*BUILTIN, *CATALOG])})")


def _cached(name: str, repo: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(repo, local_files_only=True))
    except LocalEntryNotFoundError as exc:
        raise ModelNotFoundError(
            name, f"{repo} is not in the local cache; fetch it with: hf download {repo}"
        ) from exc
    except HFValidationError as exc:
        raise ModelNotFoundError(name, "it is no valid repository name") from exc


def available() -> list[ModelEntry]:
    """Every Gemma 4 that is built in or cached, built-in ones first, then by size."""
    builtin = [
        ModelEntry(name=name, repo=None, folder=folder, size=_weight_bytes(folder))
        for name, folder in BUILTIN.items()
    ]
    return builtin + sorted(_cached_models(), key=lambda entry: entry.size)


def largest_that_fits() -> ModelEntry | None:
    """The largest cached model whose weights leave room in this machine's memory."""
    limit = _MEMORY_SHARE * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    fitting = [entry for entry in _cached_models() if entry.size <= limit]
    return max(fitting, key=lambda entry: entry.size, default=None)


def _cached_models() -> Iterator[ModelEntry]:
    from huggingface_hub import CacheNotFound, constants, scan_cache_dir

    try:
        cache = scan_cache_dir(constants.HF_HUB_CACHE)
    except CacheNotFound:
        return
    for repo in cache.repos:
        if repo.repo_type != "model" or not repo.revisions:
            continue
        newest = max(repo.revisions, key=lambda revision: revision.last_modified)
        folder = newest.snapshot_path
        size = _weight_bytes(folder)
        if size and _is_gemma4(folder):
            name = alias_of(repo.repo_id) or repo.repo_id
            yield ModelEntry(name=name, repo=repo.repo_id, folder=folder, size=size)


def _weight_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("model*.safetensors"))


def _is_gemma4(folder: Path) -> bool:
    try:
        config = json.loads((folder / "config.json").read_bytes())
    except (OSError, ValueError):
        return False
    kind = config.get("model_type") if isinstance(config, dict) else None
    return isinstance(kind, str) and kind in FAMILIES
