"""The TOML files that hold settings, nearest first."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ...bounded import read_bounded
from ...checked_json import MAX_DEPTH, JsonError, check
from ...errors import OptionError
from ..environment import Environment

PROJECT_FILE = ".g4.toml"
_MAX_BYTES = 64 * 1024
_PART = r"""(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+"""
_TOO_MANY_DOTS = re.compile(rf"(?<![\w-])(?:{_PART}){{{MAX_DEPTH}}}")
"""A key of more parts than tables may be deep: tomllib keeps each beginning of it, which takes
memory that grows with the square of its length."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SettingsFile:
    """The keys and tables of one file."""

    path: Path
    values: Mapping[str, object]


def settings_paths(env: Environment) -> Iterator[Path]:
    """Every file that may hold settings: in the current folder, its parents, then the user's."""
    if env.folder is not None:
        yield from (folder / PROJECT_FILE for folder in (env.folder, *env.folder.parents))
    yield env.config_file


def read_settings_files(env: Environment) -> list[SettingsFile]:
    """The files that exist. Raises OptionError for an unreadable one."""
    read = ((path, _read(path)) for path in settings_paths(env))
    return [SettingsFile(path=path, values=values) for path, values in read if values is not None]


def read_settings_file(path: Path) -> tuple[str, dict[str, object]]:
    """The text of a file and what it says; both are empty if it does not exist.

    Raises OptionError for an unreadable one.
    """
    values = _read(path)
    if values is None:
        return "", {}
    return _decoded(read_bounded(path, _MAX_BYTES, regular=True)), values


def _read(path: Path) -> dict[str, object] | None:
    try:
        data = read_bounded(path, _MAX_BYTES, regular=True)
        import tomllib

        text = _decoded(data)
        if _TOO_MANY_DOTS.search(text):
            raise JsonError(f"has a key of more than {MAX_DEPTH} parts")
        values = tomllib.loads(text)
        check(values)
        return values
    except (FileNotFoundError, NotADirectoryError):
        return None
    except RecursionError as exc:
        raise OptionError(f"{path}: cannot be read (its values are nested too deep)") from exc
    except OSError as exc:
        raise OptionError(f"{path}: cannot be read ({exc.strerror or exc})") from exc
    except (ValueError, JsonError) as exc:
        # Of tomllib's errors only that about a number's length has this type.
        problem = "a number has thousands of digits" if type(exc) is ValueError else exc
        raise OptionError(f"{path}: cannot be read ({problem})") from exc


def _decoded(data: bytes) -> str:
    """TOML is UTF-8; programs on Windows also write a byte-order mark, or UTF-16."""
    wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return data.decode("utf-16" if wide else "utf-8-sig")
