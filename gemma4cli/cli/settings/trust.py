"""What a project's file may not set: it comes with the project, from whoever wrote that.

Only the user's own file, variables and the command line say whether addresses are fetched and who
may call a server, and name a model, an adapter or a drafter by a path outside the project.
"""

from __future__ import annotations

import os
from pathlib import Path

from .files import PROJECT_FILE
from .keys import MODELS

_OF_SERVERS = ("host", "port", "token", "allow_origin")
"""Who may call a server, and who gets what its clients send."""


def refusal(path: Path, key: str, value: object) -> str | None:
    """Why a value in the settings file ``path`` is ignored; None if it is not."""
    if path.name != PROJECT_FILE:
        return None
    if (key in ("allow_urls", "allow_media_urls") and value is True) or key in _OF_SERVERS:
        flag = key.replace("_", "-")
        return f"is ignored: use --{flag}, or your own settings (g4 config path)"
    if key == "server":
        return "is ignored: what you ask would go there; use --server, or your own settings"
    values = value if isinstance(value, list) else [value]
    names = [each for each in values if isinstance(each, str)] if key in MODELS else []
    if key == "adapter":
        names += [each.rpartition("=")[2] for each in names]
    if any(_is_outside(each, path.parent) for each in names):
        return "is ignored, since it lies outside the project: use an option, or your own settings"
    return None


def _is_outside(name: str, folder: Path) -> bool:
    """Whether a model's name is a path, and of a place outside ``folder``, links followed."""
    expanded = os.path.expanduser(name)
    is_path = os.path.isabs(expanded) or name.startswith(".") or ".." in Path(name).parts
    try:
        if not is_path and not os.path.isdir(expanded):
            return False
        # Only paths like ./mine are relative to the file's folder.
        base = folder if name.startswith(("./", "../")) else Path()
        place = Path(os.path.realpath(base / expanded))
        return not place.is_relative_to(os.path.realpath(folder))
    except (OSError, ValueError):  # too long, or with a NUL
        return True
