"""Model names to folders: built in, on disk, or in the Hugging Face cache.

Never downloads anything; ``download`` does.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import DownloadError, LoadError, ModelNotFoundError
from ..machine.device import device, float_size, is_cpu, model_memory
from ..machine.memory import Numerics, Work, footprint
from ..models.config import FAMILIES, Gemma4Config
from ..options import DType
from .catalog import BUILTIN, CATALOG, RUN_BYTES, alias_of, entry_of, published_models, recommended
from .download import FILES, WEIGHTS, cache_folder, repo_folder
from .resolved import ResolvedModel
from .safetensors_headers import is_complete, weights_of

if TYPE_CHECKING:
    from huggingface_hub import CachedRepoInfo, HFCacheInfo

COMMON_WORK = Work(tokens=8192, images=(280,), clip_tokens=750)
"""The prompt that must fit in memory for a model to count as fitting: a conversation of 8,192
tokens with an image and half a minute of sound."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelEntry:
    """A model on this machine.

    Attributes:
        name: Its alias if it has one, else the hub id.
        repo: The hub id; None for a built-in model.
        folder: The folder with its files.
        size: Bytes of weights on disk.
        needs: Estimated bytes of memory for ``COMMON_WORK``.
        fits: Whether this machine has that much memory for models.
        complete: False if the download is unfinished; such a model cannot be run.
        model: The model to load; None if it cannot be loaded.
    """

    name: str
    repo: str | None
    folder: Path
    size: int
    needs: int
    fits: bool
    complete: bool = True
    model: ResolvedModel | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishedModel:
    """The model of an alias. ``size`` is the download in bytes; ``needs`` is estimated from it."""

    name: str
    repo: str
    size: int
    needs: int
    fits: bool


def resolve(name: str) -> ResolvedModel:
    """Find the model of a name, and read its config and tensor headers.

    Raises ModelNotFoundError, which says what to do next, and CheckpointError for a broken one.
    """
    return ResolvedModel.of(name, folder_of(name))


def folder_of(name: str) -> Path:
    """The folder of a model name: an alias, a folder, or a repository in the cache.

    An alias has priority over a folder of the same name; "./tiny" is the folder.
    Raises ModelNotFoundError, which says what to do next.
    """
    if (folder := BUILTIN.get(name.lower())) is not None:
        return folder
    entry = entry_of(name)
    if entry is not None:
        return _cached(name, entry.repo)
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
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
    raise ModelNotFoundError(name, f"{hint} (aliases: {', '.join([*BUILTIN, *CATALOG])})")


def _cached(name: str, repo: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    pull = f"g4 models pull {name}"
    unfinished = f"its download is unfinished; resume it with: {pull}"
    try:
        folder = Path(
            snapshot_download(repo, local_files_only=True, allow_patterns=[*FILES, WEIGHTS])
        )
    except LocalEntryNotFoundError as exc:
        is_started = getattr(exc, "snapshot_path", None) is not None
        missing = f"{repo} is not in the local cache; download it with: {pull}"
        raise ModelNotFoundError(name, unfinished if is_started else missing) from exc
    except HFValidationError as exc:
        raise ModelNotFoundError(name, "it is not a valid repository name") from exc
    if not is_complete(folder):
        raise ModelNotFoundError(name, unfinished)
    return folder


def available() -> list[ModelEntry]:
    """Every built-in or cached Gemma 4, built-in ones first, then by size."""
    limit = model_memory().limit
    builtin = [_entry(name, None, folder, limit) for name, folder in BUILTIN.items()]
    return builtin + sorted(_cached_models(limit), key=lambda entry: entry.size)


def published() -> list[PublishedModel]:
    """The models of all aliases, in the order of the catalog."""
    limit = model_memory().limit
    widened = float_size() == 4
    found = []
    for name, entry in published_models().items():
        needs = entry.bytes * (2 if widened and name.endswith(":bf16") else 1) + RUN_BYTES
        found.append(
            PublishedModel(
                name=name, repo=entry.repo, size=entry.bytes, needs=needs, fits=needs <= limit
            )
        )
    return found


def largest_that_fits() -> ResolvedModel | None:
    """The largest cached model that fits this machine's memory."""
    return largest_fitting(_cached_models(model_memory().limit))


def largest_fitting(entries: Iterable[ModelEntry]) -> ResolvedModel | None:
    """The largest of the models that can be loaded and fit this machine's memory."""
    fitting = [entry for entry in entries if entry.fits and entry.model is not None]
    largest = max(fitting, key=lambda entry: entry.size, default=None)
    return None if largest is None else largest.model


def recommended_model() -> str | None:
    """The alias that suits this machine's memory; None if all are too large."""
    return recommended(model_memory().total, on_cpu=is_cpu(device()))


def needs_of(model: ResolvedModel, work: Work, dtype: DType = "auto") -> int:
    """Bytes of memory that ``work`` takes with a model computed in ``dtype``. Raises LoadError."""
    config = Gemma4Config.from_dict(model.config)
    size = float_size(dtype)
    numerics = Numerics(item=size or 2, on_cpu=is_cpu(device()))
    return footprint(config, weights_of(model.headers, size), numerics, work).total


def _entry(name: str, repo: str | None, folder: Path, limit: int) -> ModelEntry:
    """``limit`` is the memory for models, in bytes."""
    size = _weight_bytes(folder)
    complete = is_complete(folder)
    model, needs = None, size
    if complete:
        try:
            found = ResolvedModel.of(name, folder)
            needs = needs_of(found, COMMON_WORK)
            model = found
        except LoadError:  # a broken model is listed; loading it reports what is wrong
            pass
    return ModelEntry(
        name=name,
        repo=repo,
        folder=folder,
        size=size,
        needs=needs,
        fits=needs <= limit,
        complete=complete,
        model=model,
    )


def _cached_models(limit: int) -> Iterator[ModelEntry]:
    for repo in _repos():
        newest = max(repo.revisions, key=lambda revision: revision.last_modified)
        folder = newest.snapshot_path
        if _is_gemma4(folder):
            name = alias_of(repo.repo_id) or repo.repo_id
            yield _entry(name, repo.repo_id, folder, limit)


def _repos() -> Iterator[CachedRepoInfo]:
    """The models in the cache that have at least one revision."""
    from huggingface_hub import CacheNotFound

    try:
        cache = _scan()
    except CacheNotFound:
        return
    yield from (repo for repo in cache.repos if repo.repo_type == "model" and repo.revisions)


def _scan() -> HFCacheInfo:
    from huggingface_hub import scan_cache_dir

    return scan_cache_dir(cache_folder())


def cached_repos() -> list[str]:
    """Repositories in the cache with a Gemma 4, found without huggingface_hub's slow scan."""
    configs = cache_folder().glob("models--*/snapshots/*/config.json")
    folders = {config.parents[2] for config in configs if _is_gemma4(config.parent)}
    return sorted(f.name.removeprefix("models--").replace("--", "/") for f in folders)


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
    if entry_of(name) is None and Path(name).expanduser().is_dir():
        raise ModelNotFoundError(name, "it is a folder outside the hub cache; delete it yourself")
    repo = repo_of(name)
    folder = _root(name, repo)
    if not folder.is_dir():
        raise ModelNotFoundError(name, f"{repo} is not in the local cache")
    return Removal(repo=repo, folder=folder, size=_disk_bytes(folder))


def _root(name: str, repo: str) -> Path:
    from huggingface_hub.errors import HFValidationError

    try:
        return repo_folder(repo)
    except HFValidationError as exc:
        raise ModelNotFoundError(name, "it is not a valid repository name") from exc


def remove(removal: Removal) -> None:
    """Delete a repository from the cache, unfinished downloads included. Raises DownloadError."""
    import shutil

    from huggingface_hub import CacheNotFound

    try:
        try:
            cache = _scan()
        except CacheNotFound:
            return
        # huggingface_hub's deletion first: it keeps files that revisions share. It selects by
        # revision hash, which copies of a repository have in common, so it gets only this one.
        for repo in cache.repos:
            if repo.repo_path == removal.folder.resolve():
                hashes = [revision.commit_hash for revision in repo.revisions]
                replace(cache, repos=frozenset({repo})).delete_revisions(*hashes).execute()
        if removal.folder.is_dir():
            shutil.rmtree(removal.folder)
    except OSError as exc:
        raise DownloadError(removal.repo, f"cannot be deleted ({exc.strerror or exc})") from exc


def _disk_bytes(folder: Path) -> int:
    """Bytes of the files below ``folder``, links not counted."""
    return sum(
        path.lstat().st_size
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink()
    )


def _weight_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob(WEIGHTS))


def _is_gemma4(folder: Path) -> bool:
    try:
        config: Any = json.loads((folder / "config.json").read_bytes())
    except (OSError, ValueError):
        return False
    kind = config.get("model_type") if isinstance(config, dict) else None
    return isinstance(kind, str) and kind in FAMILIES
