"""``g4 config``: every setting, its value and its source."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ...errors import OptionError
from ..environment import Environment, environment_of
from ..run.options import SHARED

if TYPE_CHECKING:
    from ..settings.resolve import Found, Setting, Settings

_WIDTH = 80
_KEY_WIDTH = 18
_VALUE_WIDTH = 24
_PATHS = "path"
_OTHER_VARIABLES = frozenset({"G4_IGNORE_MEMORY"})
"""Variables that do not set an option."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Row:
    """A setting for ``command``, or with None for all; without ``found`` it has its default."""

    command: str | None
    setting: Setting
    found: Found | None

    @property
    def value(self) -> Any:
        return self.setting.option.default if self.found is None else self.found.value

    @property
    def source(self) -> Literal["default", "file", "environment"]:
        if self.found is None:
            return "default"
        return "file" if isinstance(self.found.source, Path) else "environment"


def _topics(context: typer.Context, incomplete: str) -> Iterator[tuple[str, str]]:
    from ..settings.resolve import settings_by_command

    topics = dict.fromkeys(settings_by_command(context, SHARED), "its settings")
    topics[_PATHS] = "the files that are read"
    return ((word, what) for word, what in topics.items() if word.startswith(incomplete))


def config(
    context: typer.Context,
    topic: Annotated[
        str | None,
        typer.Argument(
            metavar="COMMAND|path",
            help="Show this command's settings only; path shows the settings files.",
            autocompletion=_topics,
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON, one object per line.")] = False,
) -> None:
    """Show every setting, its value and its source.

    An option is set by its name: max_tokens = 512 in .g4.toml (in this folder or one above it) or
    in the user's config.toml, or G4_MAX_TOKENS=512 in the environment. To set it for one command
    only, put it in a table named after that command, or use G4_CHAT_MAX_TOKENS. The command line
    wins, then the environment, then the nearest file.
    """
    from ..output.results import write_json
    from ..settings.resolve import Settings

    env = environment_of(context)
    if topic == _PATHS:
        _show_paths(env, json=json)
        return
    settings = Settings(context, SHARED)
    if topic is not None and topic not in settings.commands:
        known = [*settings.commands, _PATHS]
        raise OptionError(f"{topic} has no settings: name one of {', '.join(known)}")
    _warn_of_variables(env, settings)
    rows = list(_everything(settings) if topic is None else _of(topic, settings))
    if json:
        for row in rows:
            write_json(env.stdout, _record(row))
    else:
        env.echo("\n".join(_lines(rows)))


def _of(command: str, settings: Settings) -> Iterator[_Row]:
    """All settings that apply to one command."""
    for key, setting in settings.commands[command].items():
        yield _Row(command=command, setting=setting, found=settings.find(command, key))


def _everything(settings: Settings) -> Iterator[_Row]:
    """The shared settings, then each command's own and those set for that command alone."""
    for key, setting in settings.shared.items():
        yield _Row(command=None, setting=setting, found=settings.find(None, key))
    for command in settings.commands:
        for row in _of(command, settings):
            own = row.setting.key not in settings.shared
            if own or (row.found is not None and not row.found.shared):
                yield row


def _lines(rows: list[_Row]) -> Iterator[str]:
    command = None
    for row in rows:
        if row.command != command:
            command = row.command
            yield f"[{command}]" if row is rows[0] else f"\n[{command}]"
        source = "default" if row.found is None else _short(row.found.source)
        line = f"{row.setting.key:<{_KEY_WIDTH}}{_shown(row.value):<{_VALUE_WIDTH}}  {source}"
        if len(line) <= _WIDTH:
            yield line
        else:
            yield f"{row.setting.key:<{_KEY_WIDTH}}{_shown(row.value, _WIDTH - _KEY_WIDTH)}"
            yield f"{'':<{_KEY_WIDTH}}{source}"


def _shown(value: Any, width: int = _WIDTH) -> str:
    """A value as in a file, on one line; "-" for None."""
    if value is None:
        return "-"
    text = str(value).lower() if isinstance(value, bool) else " ".join(str(value).split())
    return text if len(text) <= width else f"{text[: width - 1]}…"


def _short(source: Path | str) -> str:
    if isinstance(source, Path) and source.is_relative_to(Path.home()):
        return f"~/{source.relative_to(Path.home())}"
    return str(source)


def _record(row: _Row) -> Mapping[str, Any]:
    from ..settings.resolve import variable

    key, value = row.setting.key, row.value
    return {
        "command": row.command,
        "key": key,
        "value": str(value) if isinstance(value, Path) else value,
        "source": row.source,
        "from": None if row.found is None else str(row.found.source),
        "variable": variable(row.command, key),
    }


def _warn_of_variables(env: Environment, settings: Settings) -> None:
    import difflib

    from ..settings.resolve import PREFIX

    known = _OTHER_VARIABLES | {name for name, _ in settings.variables()}
    for name in sorted(set(env.variables) - known):
        if name.startswith(f"{PREFIX}_"):
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            env.say(f"{name} is not a setting of g4{hint}")


def _show_paths(env: Environment, *, json: bool) -> None:
    from ..output.results import write_json
    from ..settings.files import settings_paths

    for path in settings_paths(env):
        exists = path.is_file()
        if json:
            write_json(env.stdout, {"path": str(path), "exists": exists})
        else:
            env.echo(f"{'found' if exists else '-':<6} {path}")
