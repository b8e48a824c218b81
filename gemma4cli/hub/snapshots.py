"""The Hugging Face cache on disk: which repositories it has, and which snapshot of each to use.

Reads any copy of a cache: with links or whole files, with or without refs, on a read-only disk.
Listing and loading choose by the same function. huggingface_hub's own scan rejects such copies.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import CheckpointError, LoadError
from ..models.drafter_config import DrafterConfig, parse_config
from .download import WEIGHTS, cache_folder
from .not_a_checkpoint import refuse_folder
from .resolved import ResolvedModel
from .safetensors_headers import missing_files

_PREFIX = "models--"


@dataclass(frozen=True, kw_only=True, slots=True)
class CachedRepo:
    """A repository in the cache: its id on the hub, and its folder."""

    repo: str
    root: Path

    def snapshots(self) -> list[Path]:
        """The folders of its revisions, the most wanted first: refs/main, then the newest."""
        found = [each for each in _entries(self.root / "snapshots") if os.path.isdir(each)]
        try:
            main = (self.root / "refs" / "main").read_text("utf-8", "replace").strip()
        except OSError:
            main = ""
        return sorted(found, key=lambda folder: (folder.name != main, -_changed(folder)))


@dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot:
    """The snapshot of a repository to use.

    ``missing`` are the required files that it lacks. ``model`` is None if it cannot be loaded, and
    ``error`` says why.
    """

    folder: Path
    missing: tuple[str, ...]
    model: ResolvedModel | None
    error: LoadError | None

    @property
    def size(self) -> int:
        """Bytes of the files of weights."""
        files = self.folder.glob(WEIGHTS)
        return sum(os.path.getsize(path) for path in files if os.path.isfile(path))


def cached_repos() -> Iterator[CachedRepo]:
    """The models' repositories in the cache, in the order of their names."""
    for root in sorted(_entries(cache_folder())):
        name = root.name.removeprefix(_PREFIX)
        if name != root.name and name and os.path.isdir(root):
            yield CachedRepo(repo=name.replace("--", "/"), root=root)


def find_repo(repo: str) -> CachedRepo | None:
    """The repository of this id; of another case if there is none of exactly this one."""
    others = [each for each in cached_repos() if each.repo.lower() == repo.lower()]
    exact = (each for each in others if each.repo == repo)
    return next(exact, next(iter(others), None))


def best_snapshot(name: str, repo: CachedRepo) -> Snapshot | None:
    """The first snapshot that can be loaded, else a whole one, else any; None without snapshots.

    ``name`` is what the model is called.
    """
    found = []
    for folder in repo.snapshots():
        snapshot = _look(name, folder)
        if snapshot.model is not None:
            return snapshot
        found.append(snapshot)
    return min(found, key=lambda each: len(each.missing), default=None)


def _look(name: str, folder: Path) -> Snapshot:
    refused = refuse_folder(name, folder)
    if isinstance(refused, CheckpointError):  # something else, such as an adapter
        return Snapshot(folder=folder, missing=(), model=None, error=refused)
    missing = tuple(missing_files(folder))
    try:
        model = ResolvedModel.of(name, folder)
        if isinstance(parse_config(model.config), DrafterConfig):
            missing = tuple(each for each in missing if each != "tokenizer.json")
    except LoadError as error:
        return Snapshot(folder=folder, missing=missing, model=None, error=error)
    return Snapshot(folder=folder, missing=missing, model=None if missing else model, error=None)


def _entries(folder: Path) -> list[Path]:
    try:
        return [folder / name for name in os.listdir(folder)]
    except OSError:
        return []


def _changed(folder: Path) -> float:
    try:
        return folder.stat().st_mtime
    except OSError:
        return 0.0
