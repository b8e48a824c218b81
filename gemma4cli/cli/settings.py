"""Which model to run where the command line and the environment name none.

A project's ``.g4.toml`` (in this folder or one above) wins over the user's
``$XDG_CONFIG_HOME/g4/config.toml``; both may hold ``model = "e2b"``.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator
from pathlib import Path

from ..errors import OptionError

PROJECT_FILE = ".g4.toml"


def configured_model() -> str | None:
    """The model that the nearest settings file names. Raises OptionError for a broken file."""
    for path in _files():
        name = _read(path).get("model")
        if name is None:
            continue
        if not isinstance(name, str) or not name:
            raise OptionError(f"{path}: model must be a name, not {name!r}")
        # "./model" is meant from where the file stands, not from where g4 runs.
        return str(path.parent / name) if name.startswith(("./", "../")) else name
    return None


def _files() -> Iterator[Path]:
    try:
        here = Path.cwd()
    except FileNotFoundError:  # the folder was removed
        pass
    else:
        yield from (folder / PROJECT_FILE for folder in (here, *here.parents))
    home = os.environ.get("XDG_CONFIG_HOME")
    yield (Path(home) if home else Path.home() / ".config") / "g4" / "config.toml"


def _read(path: Path) -> dict[str, object]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError) as exc:
        raise OptionError(f"{path}: cannot be read ({exc})") from exc
