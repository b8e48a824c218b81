"""Which drafter goes with a model."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ..checked_json import JsonError, read_object
from ..errors import LoadError
from ..models.config import Gemma4Config
from ..models.drafter_config import DRAFTERS, DrafterConfig
from . import snapshots
from .resolved import ResolvedModel
from .resolving import resolve
from .snapshots import CachedRepo, best_snapshot

_SUFFIX = "-assistant"
"""What published drafters are called, after the name of their model."""


def find_drafter(model: ResolvedModel, choice: str) -> ResolvedModel | None:
    """The drafter for a model.

    Args:
        model: The model.
        choice: A folder, a hub id, "none", or "auto" for one that is named after the model: in the
            folder beside the model's, or in the cache.

    Returns:
        The drafter; None if ``choice`` is "none", or "auto" and there is none.

    Raises:
        LoadError: The drafter that is named cannot be used, or is not on this machine.
    """
    if choice == "none":
        return None
    if choice != "auto":
        return resolve(choice)
    text = Gemma4Config.from_dict(model.config).text
    for drafter in _beside(model):
        try:
            if DrafterConfig.from_dict(drafter.config).misfit(text) is None:
                return drafter
        except LoadError:
            continue
    return None


@dataclass(frozen=True, kw_only=True, slots=True)
class CachedDrafter:
    """A drafter in the cache; ``size`` is bytes of weights, ``problem`` why it cannot be used."""

    repo: str
    folder: Path
    size: int
    problem: str | None


def cached_drafters() -> list[CachedDrafter]:
    """All drafters in the cache, by their names."""
    found = []
    for each in snapshots.cached_repos():
        snapshot = best_snapshot(each.repo, each) if _has_drafter(each) else None
        if snapshot is not None:
            missing = next((f"{name} is missing" for name in snapshot.missing), None)
            problem = str(snapshot.error) if snapshot.error is not None else missing
            size = snapshot.size
            found.append(
                CachedDrafter(repo=each.repo, folder=snapshot.folder, size=size, problem=problem)
            )
    return found


def drafter_names() -> list[str]:
    """The repositories of drafters in the cache, whole or not; fast enough for completion."""
    return [each.repo for each in snapshots.cached_repos() if _has_drafter(each)]


def _has_drafter(repo: CachedRepo) -> bool:
    return any(map(_is_drafter, repo.snapshots()))


def _beside(model: ResolvedModel) -> Iterator[ResolvedModel]:
    """Drafters named after ``model``, the longest name first."""
    folder = model.folder.with_name(model.folder.name + _SUFFIX)
    if os.path.isdir(folder):
        with suppress(LoadError):
            yield ResolvedModel.of(str(folder), folder)
    repo = _repo_of(model.folder)
    if repo is None:
        return
    named = sorted(snapshots.cached_repos(), key=lambda each: -len(each.repo))
    for each in named:
        base, suffix, _ = _bare(each.repo).partition(_SUFFIX)
        if suffix and _bare(repo).startswith(base) and _has_drafter(each):
            snapshot = best_snapshot(each.repo, each)
            if snapshot is not None and snapshot.model is not None:
                yield snapshot.model


def _bare(repo: str) -> str:
    """The name of a repository without its owner, in small letters."""
    return repo.rpartition("/")[2].lower()


def _repo_of(folder: Path) -> str | None:
    """The repository whose snapshot a folder is; None for a folder outside of the cache."""
    if folder.parent.name != "snapshots":
        return None
    root = folder.parent.parent
    return next((each.repo for each in snapshots.cached_repos() if each.root == root), None)


def _is_drafter(folder: Path) -> bool:
    try:
        return read_object(folder / "config.json").get("model_type") in DRAFTERS
    except (OSError, JsonError):
        return False
