"""Names to models that can be loaded, with their adapters."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from ..errors import AdapterError, ModelNotFoundError
from .adapter_files import AdapterFile, read_adapter
from .adapters import find_adapter, is_only_adapter
from .names import find
from .resolved import ResolvedModel
from .snapshots import Snapshot

logger = logging.getLogger(__name__)


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
        found = find(name)
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
        found = find(adapter.base)
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
