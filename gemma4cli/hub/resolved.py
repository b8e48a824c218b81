"""A model that was found: its name, folder, config and tensor headers, read once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from ..checked_json import JsonError, read_object
from ..errors import CheckpointError
from .adapter_files import AdapterFile
from .not_a_checkpoint import refuse_folder
from .safetensors_headers import TensorHeaders, read_headers


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ResolvedModel:
    """A checkpoint on this machine.

    ``name`` is what the user gave; with an ``adapter`` "MODEL+ADAPTER", unless the adapter was
    given as a model. ``config`` is config.json, ``headers`` lists every tensor; no weight is read.
    """

    name: str
    folder: Path
    config: Mapping[str, Any] = field(repr=False)
    headers: TensorHeaders = field(repr=False)
    adapter: AdapterFile | None = None

    @property
    def plain(self) -> Self:
        """The model without its adapter."""
        if self.adapter is None:
            return self
        name = self.name.removesuffix(f"+{self.adapter.name}")
        if name == self.name:  # the adapter was given as a model
            name = self.adapter.base or name
        return replace(self, name=name, adapter=None)

    @classmethod
    def of(cls, name: str, folder: Path) -> Self:
        """Read the config and headers in a folder.

        Raises ModelNotFoundError or CheckpointError, which says what the folder is instead.
        """
        error = refuse_folder(name, folder)
        if error is not None:
            raise error
        config = read_json(folder, "config.json")
        return cls(name=name, folder=folder, config=config, headers=read_headers(folder))


def read_json(folder: Path, name: str) -> dict[str, Any]:
    """A JSON object from a checkpoint folder. Raises CheckpointError if missing or broken."""
    try:
        return read_object(folder / name)
    except OSError as exc:
        raise CheckpointError(name, f"cannot be read ({exc.strerror or exc})") from exc
    except JsonError as exc:
        raise CheckpointError(name, str(exc)) from exc
