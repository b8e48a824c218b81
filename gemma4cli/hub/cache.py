"""Model names to folders: built in, on disk, or in the Hugging Face cache.

Never downloads anything; ``download`` does.
"""

from __future__ import annotations

import difflib
import logging
import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..checked_json import JsonError, read_object
from ..distributed.launch import processes
from ..errors import (
    AdapterError,
    CheckpointError,
    DownloadError,
    Gemma4Error,
    LoadError,
    ModelNotFoundError,
    unexpected,
)
from ..machine.device import device, float_size, is_cpu, memory_limit, memory_total, numerics
from ..machine.memory import Kept, Weights, Work, footprint
from ..models.config import FAMILIES, Gemma4Config
from ..models.names import canonical_names
from ..models.shares import bytes_by_name, shares_of
from ..options import DType
from . import snapshots
from .adapter_files import AdapterFile, read_adapter
from .adapters import find_adapter, is_only_adapter
from .catalog import BUILTIN, CATALOG, RUN_BYTES, alias_of, entry_of, published_models, recommended
from .download import WEIGHTS, repo_folder
from .not_a_checkpoint import refuse_file
from .resolved import ResolvedModel
from .safetensors_headers import weights_of
from .snapshots import CachedRepo, Snapshot, best_snapshot, find_repo

logger = logging.getLogger(__name__)

COMMON_WORK = Work(tokens=8192, images=(280,), clip_tokens=750, kept=Kept())
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
        problem: Why it cannot be loaded; None if it can.
        model: The model to load; None if it cannot be loaded.
        fault: What g4 did not expect when it looked at the model; None usually.
    """

    name: str
    repo: str | None
    folder: Path
    size: int
    needs: int
    fits: bool
    complete: bool = True
    problem: str | None = None
    model: ResolvedModel | None = field(default=None, repr=False, compare=False)
    fault: Gemma4Error | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishedModel:
    """The model of an alias. ``size`` is the download in bytes; ``needs`` is estimated from it."""

    name: str
    repo: str
    size: int
    needs: int
    fits: bool


def resolve(name: str, adapter: str | None = None) -> ResolvedModel:
    """Find the model of a name, and read its config and tensor headers.

    ``adapter`` is the name of an adapter for it: a folder, or a hub id. Without it, "MODEL+ADAPTER"
    names both, and an adapter given as a model is one for the model that its config names.
    Raises ModelNotFoundError, which says what to do next, CheckpointError for a broken one, and
    AdapterError.
    """
    if adapter is not None:
        return with_adapter(resolve(name), adapter)
    try:
        found = _find(name)
    except ModelNotFoundError:
        base, _, added = name.partition("+")
        if not base or not added:
            raise
        return with_adapter(resolve(base), added)
    if (folder := _only_adapter(name, found)) is not None:
        return _base_of(read_adapter(name, folder))
    return _model_of(name, found)


def with_adapter(model: ResolvedModel, name: str) -> ResolvedModel:
    """A model with the adapter of a name. Raises AdapterError."""
    if model.adapter is not None and model.adapter.name == name:
        return model
    if model.adapter is not None:
        raise AdapterError(
            name, f"{model.name} has an adapter already: merge that with g4 models merge"
        )
    return replace(model, name=f"{model.name}+{name}", adapter=find_adapter(name))


def _base_of(adapter: AdapterFile) -> ResolvedModel:
    """The model of an adapter that was given as a model. Raises AdapterError."""
    name = adapter.name
    if adapter.base is None:
        raise AdapterError(
            name, f"names no model that it is for: name that, -m MODEL --adapter {name}"
        )
    try:
        found = _find(adapter.base)
    except ModelNotFoundError as exc:
        hub = adapter.base.count("/") == 1 and not adapter.base.startswith((".", "/", "~"))
        pull = f"download that with: g4 models pull {adapter.base}, or " if hub else ""
        raise AdapterError(
            name,
            f"is an adapter for {adapter.base}, which is not on this machine: {pull}name another "
            f"copy of it: -m MODEL --adapter {name}",
        ) from exc
    if _only_adapter(adapter.base, found) is not None:
        raise AdapterError(
            name,
            f"is an adapter for {adapter.base}, which is an adapter too: name the model, "
            f"-m MODEL --adapter {name}",
        )
    model = _model_of(adapter.base, found)
    logger.warning("%s is an adapter (%s); its model is %s", name, adapter.summary, adapter.base)
    return replace(model, name=name, adapter=adapter)


def _only_adapter(name: str, found: Path | Snapshot) -> Path | None:
    """The folder of what was found, if that is an adapter and no model."""
    folder, model = (found, None) if isinstance(found, Path) else (found.folder, found.model)
    return folder if model is None and is_only_adapter(name, folder) else None


def _model_of(name: str, found: Path | Snapshot) -> ResolvedModel:
    """The model that was found. Raises LoadError."""
    if isinstance(found, Path):
        return ResolvedModel.of(name, found)
    if found.model is not None:
        return found.model
    assert found.error is not None
    raise found.error


def folder_of(name: str) -> Path:
    """The folder of a model name: an alias, a folder, or a repository in the cache.

    An alias has priority over a folder of the same name; "./tiny" is the folder.
    Raises ModelNotFoundError, which says what to do next.
    """
    found = _find(name)
    return found if isinstance(found, Path) else found.folder


def _find(name: str) -> Path | Snapshot:
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
    _checked(name, repo)
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


def _checked(name: str, repo: str) -> None:
    """Raise ModelNotFoundError for a string that cannot be a repository."""
    from huggingface_hub.errors import HFValidationError

    try:
        repo_folder(repo)
    except HFValidationError as exc:
        raise ModelNotFoundError(name, "it is not a valid repository name") from exc


def available() -> list[ModelEntry]:
    """Every built-in or cached Gemma 4, built-in ones first, then by size."""
    limit = memory_limit(device())
    builtin = [_builtin(name, folder, limit) for name, folder in BUILTIN.items()]
    return builtin + sorted(_cached_models(limit), key=lambda entry: entry.size)


def _builtin(name: str, folder: Path, limit: int) -> ModelEntry:
    model = ResolvedModel.of(name, folder)
    return _entry(name, None, Snapshot(folder=folder, missing=(), model=model, error=None), limit)


def published() -> list[PublishedModel]:
    """The models of all aliases, in the order of the catalog."""
    limit = memory_limit(device())
    count = processes(os.environ)
    widened = float_size() == 4
    found = []
    for name, entry in published_models().items():
        weights = entry.bytes * (2 if widened and name.endswith(":bf16") else 1)
        needs = weights // count + RUN_BYTES
        found.append(
            PublishedModel(
                name=name, repo=entry.repo, size=entry.bytes, needs=needs, fits=needs <= limit
            )
        )
    return found


def largest_that_fits() -> ResolvedModel | None:
    """The largest cached model that fits this machine's memory."""
    return largest_fitting(_cached_models(memory_limit(device())))


def largest_fitting(entries: Iterable[ModelEntry]) -> ResolvedModel | None:
    """The largest of the models that can be loaded and fit this machine's memory."""
    fitting = [entry for entry in entries if entry.fits and entry.model is not None]
    largest = max(fitting, key=lambda entry: entry.size, default=None)
    return None if largest is None else largest.model


def recommended_model() -> str | None:
    """The alias that suits this machine's memory; None if all are too large."""
    found = device()
    return recommended(memory_total(found), on_cpu=is_cpu(found))


def needs_of(model: ResolvedModel, work: Work, dtype: DType = "auto") -> int:
    """Bytes of memory that ``work`` takes with a model computed in ``dtype``.

    Of several processes, those of the one that needs most. Raises LoadError.
    """
    config = Gemma4Config.from_dict(model.config)
    computed = numerics(dtype)
    count = processes(os.environ)
    try:
        # Of several processes, each has it whole while it takes its part.
        added = 0 if model.adapter is None else model.adapter.size(float_size(dtype))
        if count > 1:
            return _needs_of_parts(model, config, work, dtype, count) + added
        weights = weights_of(model.headers, float_size(dtype), mapped=computed.native)
        return footprint(config, weights, computed, work).total + added
    except (ArithmeticError, ValueError) as exc:
        raise CheckpointError("config.json", f"has sizes that cannot be ({exc})") from exc


def _needs_of_parts(
    model: ResolvedModel, config: Gemma4Config, work: Work, dtype: DType, count: int
) -> int:
    names = canonical_names(model.headers)
    headers = {canonical: model.headers[name] for name, canonical in names.items()}
    sizes = {name: (each.shape, each.size(float_size(dtype))) for name, each in headers.items()}
    found = []
    for share in shares_of(config.text, sizes, count):
        held = Weights.of(bytes_by_name(share, sizes).items(), mapped=False)
        own = replace(config, text=share.sizes)
        found.append(footprint(own, held, numerics(dtype), work).total)
    return max(found)


def weights_needed(model: ResolvedModel, dtype: DType = "auto") -> int:
    """Bytes of memory that the weights of a model or a drafter take."""
    native = numerics(dtype).native
    return weights_of(model.headers, float_size(dtype), mapped=native).total


def _entry(name: str, repo: str | None, snapshot: Snapshot, limit: int) -> ModelEntry:
    """``limit`` is the memory for models, in bytes."""
    size = weight_bytes(snapshot.folder)
    needs, model, error = size, snapshot.model, snapshot.error
    if model is not None:
        try:
            needs = needs_of(model, COMMON_WORK)
        except LoadError as exc:
            model, error = None, exc
    missing = snapshot.missing
    return ModelEntry(
        name=name,
        repo=repo,
        folder=snapshot.folder,
        size=size,
        needs=needs,
        fits=needs <= limit,
        complete=not missing,
        problem=f"{missing[0]} is missing" if missing else str(error) if error else None,
        model=model,
    )


def _cached_models(limit: int) -> Iterator[ModelEntry]:
    for each in snapshots.cached_repos():
        name = alias_of(each.repo) or each.repo
        try:
            entry = _cached_entry(name, each, limit)
        except Exception as error:  # noqa: BLE001 - one odd model does not hide the others
            fault = unexpected(error)
            entry = ModelEntry(
                name=name,
                repo=each.repo,
                folder=each.root,
                size=0,
                needs=0,
                fits=False,
                problem=str(fault),
                fault=fault,
            )
        if entry is not None:
            yield entry


def _cached_entry(name: str, repo: CachedRepo, limit: int) -> ModelEntry | None:
    snapshot = best_snapshot(name, repo)
    if snapshot is None:
        return None
    if _is_gemma4(snapshot.folder) or _has_damaged_config(snapshot.folder):
        return _entry(name, repo.repo, snapshot, limit)
    return None


def cached_repos() -> list[str]:
    """Repositories in the cache with a Gemma 4, whole or not; fast enough for completion."""
    return [
        each.repo
        for each in snapshots.cached_repos()
        if any(_is_gemma4(folder) for folder in each.snapshots())
    ]


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
    _checked(name, repo)
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


def weight_bytes(folder: Path) -> int:
    """Bytes of the files of weights in a folder."""
    return sum(os.path.getsize(path) for path in folder.glob(WEIGHTS) if os.path.isfile(path))


def _has_damaged_config(folder: Path) -> bool:
    """Whether there is a config that cannot be read: it may be one of a Gemma 4."""
    try:
        read_object(folder / "config.json")
    except JsonError:
        return True
    except OSError:
        return os.path.lexists(folder / "config.json")
    return False


def _is_gemma4(folder: Path) -> bool:
    try:
        kind = read_object(folder / "config.json").get("model_type")
    except (OSError, JsonError):
        return False
    return isinstance(kind, str) and kind in FAMILIES
