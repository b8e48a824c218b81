"""What clients may call the models of ``g4 serve``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import OptionError

if TYPE_CHECKING:
    from ...hub.adapter_files import AdapterFile

_RESERVED = "default"
"""What stands for the first model in requests."""


def labeled(given: str) -> tuple[str | None, str]:
    """The name before "=" in ``--adapter NAME=FOLDER``, if there is one, and what is after it."""
    label, sign, folder = given.partition("=")
    if not sign or not folder or "/" in label or not label or os.path.exists(given):
        return None, given
    return label, folder


def names_of_all(
    model: str, adapters: Sequence[AdapterFile], labels: Sequence[str | None]
) -> list[tuple[str, ...]]:
    """The names of a model with each of the adapters, and at last of the model itself.

    With an adapter it has the adapter's label, by default the last part of its name, alone and
    after "MODEL+". Raises OptionError for a label that two have.
    """
    plain = names_of(model)
    chosen = [
        label or Path(adapter.name).expanduser().resolve().name
        for adapter, label in zip(adapters, labels, strict=True)
    ]
    taken = {*plain, _RESERVED}
    for label, adapter in zip(chosen, adapters, strict=True):
        if label in taken:
            raise OptionError(
                f"--adapter: two models would be called {label}: choose a name for this one, "
                f"--adapter NAME={adapter.name}"
            )
        taken.add(label)
    return [*((each, *(f"{name}+{each}" for name in plain)) for each in chosen), plain]


def names_of(name: str) -> tuple[str, ...]:
    """What clients may call a model: as the user does, without folders, and as the hub does."""
    from ...hub.catalog import alias_of, entry_of

    own = Path(name).resolve().name if os.path.isdir(name) else name
    entry = entry_of(name)
    repo = name if entry is None else entry.repo
    found = (own, repo.rpartition("/")[2] if entry else own, repo if entry else own, alias_of(repo))
    return tuple(dict.fromkeys(each for each in found if each is not None))
