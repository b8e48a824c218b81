"""Files that no result replaces: inputs, those of the model, and what g4 keeps for itself."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from itertools import chain
from pathlib import Path

from ...errors import OptionError
from ..environment import Environment
from .options import RunOptions


def check_protected(
    env: Environment,
    run: RunOptions,
    paths: Iterable[Path],
    read: Iterable[Path],
) -> None:
    """Raise OptionError if a result would get into a folder of g4, or replace what a run reads.

    ``paths`` are those of the results, gone through again if one is an input. ``read`` are those of
    the inputs, looked at only if there is a result already.
    """
    kept: dict[_Identity, str] | None = None
    existing: set[int] = set()
    folders: set[Path] = set()
    for path in paths:
        if kept is None:  # not for results on standard output
            kept = _identities(_folders(env))
        if (identity := _identity(path)) is not None:
            existing.add(hash(identity))  # a number: there may be a million
        if path.parent in folders:
            continue
        folders.add(path.parent)
        for folder in Path(os.path.realpath(path)).parents:
            if (identity := _identity(folder)) in kept:
                raise OptionError(f"{path}: is where {kept[identity]}; name a file elsewhere")
    if existing:
        for each in _model_files(run):
            _check_other(each, "is a file of the model", existing, paths)
        for each in chain(read, run.files):
            _check_other(each, "is an input", existing, paths)


def _check_other(file: Path, what: str, existing: AbstractSet[int], paths: Iterable[Path]) -> None:
    """Raise OptionError if a file is that of a result; ``existing`` has hashes of these."""
    identity = _identity(file)
    if identity is None or hash(identity) not in existing:
        return
    for path in paths:
        if _identity(path) == identity:
            raise OptionError(f"{path}: {what} and would be replaced; name another file")


def _folders(env: Environment) -> Iterator[tuple[Path, str]]:
    from ...hub.download import cache_folder

    yield env.state_folder, "g4 keeps conversations and unfinished work"
    yield cache_folder(), "downloaded models are kept"


def _model_files(run: RunOptions) -> Iterator[Path]:
    """The files of a model that is named by its folder; others are in the cache."""
    from ...hub.download import FILES

    folder = Path(os.path.expanduser(run.model)) if run.model else None
    if folder is not None and os.path.isdir(folder):
        yield from (folder / name for name in FILES)
        yield from folder.glob("*.safetensors")


_Identity = tuple[int, int] | None


def _identities(named: Iterable[tuple[Path, str]]) -> dict[_Identity, str]:
    """The names of those that exist, by what is equal for all their paths."""
    found = {_identity(path): what for path, what in named}
    return {identity: what for identity, what in found.items() if identity is not None}


def _identity(path: Path) -> _Identity:
    """Equal for all names of a file: links, and spellings of a file system that ignores case."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino
