"""Names of adapters to their files: a folder, a file in it, or a repository in the cache."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import AdapterError
from .adapter_files import AdapterFile, base_of, is_adapter, read_adapter
from .adapter_names import CONFIG
from .not_a_checkpoint import archive_problem, refuse_folder
from .snapshots import cached_repos, find_repo


@dataclass(frozen=True, kw_only=True, slots=True)
class CachedAdapter:
    """An adapter in the hub cache.

    Attributes:
        repo: Its repository.
        folder: The folder with its files.
        base: The model it was trained on, as its config calls it.
        file: The adapter; None if it cannot be read.
        problem: Why it cannot.
    """

    repo: str
    folder: Path
    base: str | None
    file: AdapterFile | None
    problem: str | None = None


def cached_adapters() -> Iterator[CachedAdapter]:
    """The adapters in the cache, by their names; those of models that g4 cannot run among them."""
    for repo, folder in _cached():
        file, problem = None, None
        try:
            file = read_adapter(repo, folder)
        except AdapterError as error:
            problem = error.problem
        yield CachedAdapter(
            repo=repo, folder=folder, base=base_of(folder), file=file, problem=problem
        )


def adapter_names() -> list[str]:
    """The repositories of adapters in the cache; fast enough for completion."""
    return [repo for repo, _ in _cached()]


def _cached() -> Iterator[tuple[str, Path]]:
    """Repositories with an adapter, and the folder of it that ``find_adapter`` takes."""
    for repo in cached_repos():
        folder = next(filter(is_adapter, repo.snapshots()), None)
        if folder is not None:
            yield repo.repo, folder


def find_adapter(name: str) -> AdapterFile:
    """Raises AdapterError, which says what to do next."""
    path = Path(os.path.expanduser(name))
    if os.path.isdir(path):
        return read_adapter(name, _folder(name, path))
    if os.path.exists(path):
        if path.suffix != ".safetensors" and path.name != CONFIG:
            raise AdapterError(name, archive_problem(path) or "is no adapter: name its folder")
        return read_adapter(name, path if path.suffix == ".safetensors" else path.parent)
    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise AdapterError(name, "there is no such folder; name a folder or a hub id")
    repo = find_repo(name)
    if repo is None:
        raise AdapterError(
            name, f"is not in the local cache; download it with: g4 models pull {name}"
        )
    for folder in repo.snapshots():
        if is_adapter(folder):
            return read_adapter(name, folder)
    raise AdapterError(name, "has no adapter: a model is named with -m")


def _folder(name: str, path: Path) -> Path:
    """The folder of the adapter: this one, or that of the only checkpoint of a training run."""
    if is_adapter(path):
        return path
    inner = sorted(each.name for each in path.iterdir() if each.is_dir() and is_adapter(each))
    if not inner and any(path.glob("*.npz")):
        raise AdapterError(
            name,
            "its weights are in NumPy's format, that of mlx-lm before 0.6, which knew no Gemma 4: "
            "train it again, with g4 tune or a newer mlx-lm",
        )
    if not inner:
        raise AdapterError(name, "has no adapter_config.json: name the folder of an adapter")
    if len(inner) > 1:
        listed = ", ".join(inner[:5]) + (" …" if len(inner) > 5 else "")
        raise AdapterError(name, f"holds several adapters; name one: {listed}")
    return path / inner[0]


def is_only_adapter(name: str, folder: Path) -> bool:
    """Whether a folder is an adapter without the model that it changes."""
    return is_adapter(folder) and refuse_folder(name, folder) is not None
