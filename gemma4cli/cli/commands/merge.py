"""``g4 models merge``: the folder of the result, which is there whole or not at all."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

from ...distributed.launch import require_one
from ...errors import OutputError
from ...leftovers import prefix, remove_leftovers
from ..environment import Environment
from ..output.numbers import size_text

_SPARE = 100_000_000
"""Bytes of disk to leave free."""


def merge_into(
    env: Environment, name: str, adapter: str | None, output: Path, *, quiet: bool
) -> None:
    """Raises LoadError, and OutputError for a folder that is there or cannot be written."""
    from ...api import merge_adapter
    from ...hub.resolving import resolve

    require_one(env.variables, "g4 models merge")
    target = Path(os.path.expanduser(output))
    model = resolve(name, adapter)
    if os.path.lexists(target) and not _is_empty_folder(target):
        raise OutputError(target, "is there already: name a new folder")
    needed = sum(header.size() for header in model.headers.values())
    unfinished = target.absolute().parent / f"{prefix()}merged"
    try:
        unfinished.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(unfinished.parent)
        free = shutil.disk_usage(unfinished.parent).free
        if needed + _SPARE > free:
            raise OutputError(
                target, f"needs {size_text(needed)}, and its disk has {size_text(free)} free"
            )
        unfinished.mkdir()
        try:
            for _ in merge_adapter(model, unfinished):
                pass
            with suppress(FileNotFoundError):
                target.rmdir()
            unfinished.rename(target)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    except OSError as exc:
        raise OutputError(target, exc.strerror or str(exc)) from exc
    if not quiet:
        env.say(f"{model.name}: {size_text(needed)} merged; g4 chat -m {target}")
    env.echo_path(target)


def _is_empty_folder(path: Path) -> bool:
    try:
        return path.is_dir() and not any(path.iterdir())
    except OSError:
        return False
