"""The files that settings are read from, nearest first. Knows no option."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ...errors import OptionError

PROJECT_FILE = ".g4.toml"


@dataclass(frozen=True, kw_only=True, slots=True)
class SettingsFile:
    """What one file says: keys, and tables of keys."""

    path: Path
    values: Mapping[str, object]


def settings_paths() -> Iterator[Path]:
    """Every file that is looked at: this folder's, those of the folders above, the user's."""
    try:
        here = Path.cwd()
    except FileNotFoundError:  # the folder was removed
        pass
    else:
        yield from (folder / PROJECT_FILE for folder in (here, *here.parents))
    home = os.environ.get("XDG_CONFIG_HOME")
    yield (Path(home) if home else Path.home() / ".config") / "g4" / "config.toml"


def read_settings_files() -> list[SettingsFile]:
    """Those that there are. Raises OptionError for a broken one."""
    read = ((path, _read(path)) for path in settings_paths())
    return [SettingsFile(path=path, values=values) for path, values in read if values is not None]


def _read(path: Path) -> dict[str, object] | None:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as exc:
        raise OptionError(f"{path}: cannot be read ({exc})") from exc
