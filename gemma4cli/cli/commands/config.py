"""``g4 config``: what is set, and where."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from ...errors import OptionError
from ..environment import Environment, environment_of
from ..output.results import write_json
from ..run.options import SHARED
from ..settings.files import settings_paths
from ..settings.resolve import PREFIX, Found, Setting, Settings, variable

_WIDTH = 80
_KEY_WIDTH = 18
_VALUE_WIDTH = 24
_PATHS = "path"
_OTHER_VARIABLES = frozenset({"G4_IGNORE_MEMORY"})
"""Those that are no option's."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Row:
    """A setting as it stands for ``command``; None is for all. ``found`` is None by default."""

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
    program = context.find_root().command
    assert isinstance(program, TyperGroup), "config is a command of g4"
    settings = Settings.of(program, SHARED, environment_of(context), files=())
    topics = dict.fromkeys(settings.commands, "its settings")
    topics[_PATHS] = "the files that are looked at"
    return ((word, what) for word, what in topics.items() if word.startswith(incomplete))


def config(
    context: typer.Context,
    topic: Annotated[
        str | None,
        typer.Argument(
            metavar="COMMAND|path",
            help="Whose settings; path shows the files that are looked at.",
            autocompletion=_topics,
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="JSON, one object per line.")] = False,
) -> None:
    """Show every setting, its value and where it comes from.

    An option is set by its name: max_tokens = 512 in .g4.toml (in this folder
    or one above) or in the user's config.toml, or G4_MAX_TOKENS=512 in the
    environment. For one command alone it stands in the table of the command's
    name, or is called G4_CHAT_MAX_TOKENS. The command line wins, then the
    environment, then the nearest file.
    """
    if topic == _PATHS:
        _show_paths(environment_of(context), json=json)
        return
    program = context.find_root().command
    assert isinstance(program, TyperGroup), "config is a command of g4"
    env = environment_of(context)
    settings = Settings.of(program, SHARED, env)
    if topic is not None and topic not in settings.commands:
        known = [*settings.commands, _PATHS]
        raise OptionError(f"{topic} has no settings: name one of {', '.join(known)}")
    _warn_of_variables(env, settings)
    rows = list(_everything(settings, context) if topic is None else _of(topic, settings, context))
    if json:
        for row in rows:
            write_json(env.stdout, _record(row))
    else:
        env.echo("\n".join(_lines(rows)))


def _of(command: str, settings: Settings, context: typer.Context) -> Iterator[_Row]:
    """All that holds for one command."""
    for key, setting in settings.commands[command].items():
        yield _Row(command=command, setting=setting, found=settings.find(command, key, context))


def _everything(settings: Settings, context: typer.Context) -> Iterator[_Row]:
    """What is shared, once; then what is each command's own or is set for it alone."""
    for key in settings.shared:
        setting, found = settings.find_shared(key, context)
        yield _Row(command=None, setting=setting, found=found)
    for command in settings.commands:
        for row in _of(command, settings, context):
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
    """A value as a file would have it, on one line; "-" where nothing is set."""
    if value is None:
        return "-"
    text = str(value).lower() if isinstance(value, bool) else " ".join(str(value).split())
    return text if len(text) <= width else f"{text[: width - 1]}…"


def _short(source: Path | str) -> str:
    if isinstance(source, Path) and source.is_relative_to(Path.home()):
        return f"~/{source.relative_to(Path.home())}"
    return str(source)


def _record(row: _Row) -> Mapping[str, Any]:
    key, value = row.setting.key, row.value
    return {
        "command": row.command,
        "key": key,
        "value": str(value) if isinstance(value, Path) else value,
        "source": row.source,
        "from": None if row.found is None else str(row.found.source),
        "variable": variable(*([row.command] if row.command else []), key),
    }


def _warn_of_variables(env: Environment, settings: Settings) -> None:
    known = _OTHER_VARIABLES | set(settings.variables())
    for name in sorted(set(env.variables) - known):
        if name.startswith(f"{PREFIX}_"):
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            env.say(f"{name} is not a setting of g4{hint}")


def _show_paths(env: Environment, *, json: bool) -> None:
    for path in settings_paths(env):
        exists = path.is_file()
        if json:
            write_json(env.stdout, {"path": str(path), "exists": exists})
        else:
            env.echo(f"{'found' if exists else '-':<6} {path}")
