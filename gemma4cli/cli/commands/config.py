"""``g4 config``: every setting, its value and its source."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ...errors import OptionError
from ..environment import Environment, environment_of
from ..run.options import SHARED

if TYPE_CHECKING:
    from ..settings.keys import Setting
    from ..settings.resolve import Found, Settings

_WIDTH = 80
_KEY_WIDTH = 18
_VALUE_WIDTH = 24
_PATHS = "path"
_SET, _UNSET = "set", "unset"
_SHOWING = frozenset({"get", "list", "ls", "show", "view"})
"""What other programs call what ``g4 config`` does by itself."""

_HIDDEN = "***"
_DEFAULT = re.compile(r"\(default: ([^)]*)\)")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Row:
    """A setting for ``command``, or with None for all; without ``found`` it has its default."""

    command: str | None
    setting: Setting
    found: Found | None

    @property
    def value(self) -> Any:
        """The value that applies; for a default that is computed, what the option's help says."""
        if self.found is not None:
            return _visible(self.setting, self.found.value)
        option = self.setting.option
        documented = _DEFAULT.search(option.help or "") if option.default is None else None
        if documented is None:
            return option.default
        return int(documented[1]) if documented[1].isdecimal() else documented[1]

    @property
    def source(self) -> Literal["default", "file", "environment"]:
        if self.found is None:
            return "default"
        return "file" if isinstance(self.found.source, Path) else "environment"


def _visible(setting: Setting, value: Any) -> Any:
    """A value, unless it is a secret."""
    from ..settings.keys import SECRET

    return _HIDDEN if setting.key in SECRET else value


def _topics(context: typer.Context, incomplete: str) -> Iterator[tuple[str, str]]:
    from ..settings.keys import settings_by_command

    topics = dict.fromkeys(settings_by_command(context, SHARED), "its settings")
    topics |= {
        _PATHS: "the files that are read",
        _SET: "write a setting into a file",
        _UNSET: "take a setting out of a file",
    }
    return ((word, what) for word, what in topics.items() if word.startswith(incomplete))


def _keys(context: typer.Context, incomplete: str) -> Iterator[tuple[str, str]]:
    """What can be set, as ``g4 config set`` takes it."""
    from ..settings.keys import settings_by_command

    keys: dict[str, str] = {}
    for command, own in settings_by_command(context, SHARED).items():
        for key, setting in own.items():
            name = key if setting.option.name in SHARED else f"{command}.{key}"
            keys.setdefault(name, setting.option.help or "")
    return ((key, what) for key, what in keys.items() if key.startswith(incomplete))


def config(
    context: typer.Context,
    topic: Annotated[
        str | None,
        typer.Argument(
            metavar="COMMAND|path|set|unset",
            help="Show this command's settings only, or the files; or change a file.",
            autocompletion=_topics,
        ),
    ] = None,
    key: Annotated[
        str | None,
        typer.Argument(
            metavar="KEY",
            help="With set and unset: a setting such as max_tokens or chat.system.",
            autocompletion=_keys,
        ),
    ] = None,
    value: Annotated[
        str | None, typer.Argument(metavar="VALUE", help="With set: the setting's value.")
    ] = None,
    project: Annotated[
        bool,
        typer.Option(
            "--project", help="Change .g4.toml in this folder, not the user's config.toml."
        ),
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON, one object per line.")] = False,
) -> None:
    """Show every setting, its value and its source; or change one.

    An option is set by its name: max_tokens = 512 in .g4.toml (in this folder or one above it) or
    in the user's config.toml, or G4_MAX_TOKENS=512 in the environment. To set it for one command
    only, put it in a table named after that command, or use G4_CHAT_MAX_TOKENS. The command line
    wins, then the environment, then the nearest file.
    """
    from ..output.results import write_json
    from ..settings.resolve import Settings

    env = environment_of(context)
    if topic in _SHOWING:
        raise OptionError(f"there is no g4 config {topic}; type: g4 config")
    if topic in (_SET, _UNSET):
        _change(context, _arguments(topic, key, value), project=project)
        return
    if topic == _PATHS and key is None and not project:
        _show_paths(env, json=json)
        return
    settings = Settings(context, SHARED)
    if topic is not None and settings.is_key(topic):
        line = shlex.join(["g4", "config", _SET, topic, key or "VALUE"])
        raise OptionError(f"{topic} is a setting; g4 config shows it, and this sets it: {line}")
    if key is not None or project:
        raise OptionError(f"{key or '--project'} is for g4 config set and g4 config unset")
    if topic is not None and topic not in settings.commands:
        known = [*settings.commands, _PATHS, _SET, _UNSET]
        raise OptionError(f"{topic} has no settings: name one of {', '.join(known)}")
    for notice in (*settings.unknown_variables(), *settings.ignored(topic)):
        env.say(notice)
    rows = list(_everything(settings) if topic is None else _of(topic, settings))
    if json:
        for row in rows:
            write_json(env.stdout, _record(row))
    else:
        env.echo("\n".join(_lines(rows)))


def _arguments(action: str, key: str | None, value: str | None) -> tuple[str, str | None]:
    """The key, and the value to set; no value takes the key out. Raises OptionError."""
    wanted = "KEY VALUE, such as model e2b" if action == _SET else "KEY, such as model"
    if key is not None and action == _SET and value is None and "=" in key:
        key, _, value = (part.strip() for part in key.partition("="))
    if key is None or (value is None) != (action == _UNSET):
        raise OptionError(f"g4 config {action} takes {wanted}")
    return key, value


def _change(context: typer.Context, arguments: tuple[str, str | None], *, project: bool) -> None:
    """Set a value in a file, or with None take it out, and say what is in effect now."""
    from ..output.files import replaced_file
    from ..settings.edit import literal, with_value, without_value
    from ..settings.files import PROJECT_FILE, read_settings_file
    from ..settings.resolve import Settings
    from ..settings.trust import refusal
    from ..settings.values import checked

    env = environment_of(context)
    name, text = arguments
    command, setting = Settings(context, SHARED, read=False).setting_of(name)
    full = setting.key if command is None else f"{command}.{setting.key}"
    path = env.config_file if not project else (env.folder or Path()) / PROJECT_FILE
    before, values = read_settings_file(path)
    if text is None:
        table = values if command is None else values.get(command)
        if not isinstance(table, Mapping) or setting.key not in table:
            raise OptionError(f"{path}: {full} is not set there")
        after, done = without_value(before, command, setting.key), f"{full} is no longer set"
    else:
        value = checked(setting, text, full, full, context)
        if setting.option.multiple:
            (value,) = value
        if setting.key == "model":
            value = _model_name(text)
        if (why := refusal(path, setting.key, value)) is not None:
            raise OptionError(f"{path}: {full} {why}")
        after = with_value(before, command, setting.key, value)
        done = f"{full} = {literal(_visible(setting, value))}"
    if after is None:
        raise OptionError(f"{path}: its layout does not allow to change {full}; edit it by hand")
    with replaced_file(path) as file:
        file.write(after)
    env.say(f"{_short(path)}: {done}")
    try:
        found = Settings(context, SHARED).find(command, setting.key)
    except OptionError as error:  # another line of a file, which was there before
        env.say(f"{error}; commands refuse to run until that is mended")
        return
    if found is not None and found.source != path:
        env.say(
            f"{_short(found.source)} still sets it to "
            f"{_shown(_visible(setting, found.value))}, and wins"
        )


def _model_name(text: str) -> str:
    """The name as it is to be written. Raises ModelNotFoundError for what names no model."""
    from ...hub.catalog import BUILTIN
    from ...hub.names import repo_of

    folder = Path(text).expanduser()
    if text.lower() in BUILTIN:
        return text.lower()
    if os.path.isdir(folder):
        return str(folder.absolute())
    repo_of(text)
    return text


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
    if isinstance(value, list):
        value = ", ".join(value)
    text = str(value).lower() if isinstance(value, bool) else " ".join(str(value).split())
    return text if len(text) <= width else f"{text[: width - 1]}…"


def _short(source: Path | str) -> str:
    if isinstance(source, Path) and source.is_relative_to(Path.home()):
        return f"~/{source.relative_to(Path.home())}"
    return str(source)


def _record(row: _Row) -> Mapping[str, Any]:
    from ..settings.keys import variable

    key, value = row.setting.key, row.value
    return {
        "command": row.command,
        "key": key,
        "value": str(value) if isinstance(value, Path) else value,
        "source": row.source,
        "from": None if row.found is None else str(row.found.source),
        "variable": variable(row.command, key),
    }


def _show_paths(env: Environment, *, json: bool) -> None:
    from ..output.results import write_json
    from ..settings.files import settings_paths

    for path in settings_paths(env):
        exists = os.path.isfile(path)
        if json:
            write_json(env.stdout, {"path": str(path), "exists": exists})
        else:
            env.echo_row(f"{'found' if exists else '-':<6} {path}")
