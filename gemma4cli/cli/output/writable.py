"""Checks that results can be written, before a model is loaded."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryFile

from ...errors import OptionError
from ...leftovers import prefix, remove_leftovers
from .claims import ANOTHER_RUN, is_locked
from .files import is_direct


def check_writable(path: Path) -> None:
    """Raise OptionError if a file of this name cannot be written; its folders need not exist."""
    try:
        if os.path.isdir(path):
            raise OptionError(f"{path}: is a folder; name a file in it")
        if is_direct(path):
            if not os.access(path, os.W_OK):
                raise OptionError(f"{path}: cannot be written (Permission denied)")
            return
        if os.path.exists(path) and not os.access(path, os.W_OK):
            raise OptionError(f"{path}: is read-only; make it writable, or name another file")
        path = Path(os.path.realpath(path))
        if path.is_symlink():
            raise OptionError(f"{path}: is a link that leads nowhere")
        if is_locked(path):
            raise OptionError(f"{path}: {ANOTHER_RUN}; name a file for each run")
    except (OSError, RuntimeError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else None
        raise OptionError(f"{path}: cannot be written ({reason or exc})") from exc
    check_folder(path.parent)


def check_folder(folder: Path) -> None:
    """Raise OptionError if no file can be created in a folder, which need not exist yet."""
    existing = _existing(folder)
    if not existing.is_dir():
        what = "is a file, not a folder" if existing == folder else "cannot be created"
        why = "" if existing == folder else f" ({existing} is a file)"
        raise OptionError(f"{folder}: {what}{why}")
    try:
        with TemporaryFile(dir=existing, prefix=prefix()):
            pass
    except OSError as exc:
        raise OptionError(f"{existing}: cannot be written to ({exc.strerror})") from exc
    remove_leftovers(existing)


def _existing(folder: Path) -> Path:
    """The folder, or else the nearest one above it that exists."""
    while not os.path.lexists(folder) and folder != folder.parent:
        folder = folder.parent
    return folder
