"""Which models this machine has, which there are to download, and which of them fit its memory."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ..checked_json import JsonError, read_object
from ..distributed.launch import processes
from ..errors import Gemma4Error, LoadError, unexpected
from ..machine.device import device, float_size, is_cpu, memory_limit, memory_total
from ..machine.memory import Kept, Work
from ..models.config import FAMILIES
from . import snapshots
from .catalog import BUILTIN, RUN_BYTES, alias_of, published_models, recommended
from .needs import needs_of
from .resolved import ResolvedModel
from .snapshots import CachedRepo, Snapshot, best_snapshot

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


def _entry(name: str, repo: str | None, snapshot: Snapshot, limit: int) -> ModelEntry:
    """``limit`` is the memory for models, in bytes."""
    size = snapshot.size
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
