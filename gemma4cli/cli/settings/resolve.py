"""Values for the options that a command line leaves out; click gets them as ``default_map``.

Every option has a setting of its name: ``--max-tokens`` is the key ``max_tokens``. In a file, the
options that all commands share are at the top level and those of one command in a table. Variables
are ``G4_MAX_TOKENS`` for all commands and ``G4_CHAT_MAX_TOKENS`` for one. Options are read from the
commands themselves, so a new one can be set at once. A variable without a command's name also sets
an option that only some commands have: ``G4_FORMAT``.
"""

from __future__ import annotations

import difflib
import inspect
import re
import types
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption

from ...errors import OptionError
from ..environment import environment_of
from .files import SettingsFile, read_settings_files

PREFIX = "G4"

_OF_ONE_CALL: Mapping[str, frozenset[str]] = {
    "": frozenset({"help", "output", "json", "schema"}),
    "describe": frozenset({"format", "skip_existing", "restart"}),
    "transcribe": frozenset({"mic", "list_devices", "restart", "segments", "think"}),
    "video": frozenset({"from", "to", "save_frames", "restart"}),
    "chat": frozenset(
        {"prompt", "messages", "mic", "continue", "session", "list", "delete", "yes"}
    ),
}
"""Options for a single call, which cannot be set ("": of any command); nor can repeatable ones."""

_NOT_INHERITED = frozenset({("transcribe", "temperature")})
"""Shared keys that a command takes from its own table only: transcripts are greedy."""

_DEPENDS: Mapping[tuple[str, str], Mapping[str, bool]] = {
    ("transcribe", "device"): {"mic": True},
    ("transcribe", "track"): {"mic": False},
    ("transcribe", "channels"): {"mic": False},
    ("transcribe", "skip_existing"): {"output": True, "mic": False},
    ("transcribe", "format"): {"json": False},
    ("chat", "device"): {"mic": True},
    ("chat", "system"): {"messages": False},
}
"""Settings that the command rejects unless a parameter is typed (True) or not typed (False)."""

_TOML_TYPES: Mapping[type, tuple[str, set[type]]] = {
    bool: ("true or false", {bool}),
    int: ("a whole number", {int}),
    float: ("a number", {float, int}),
}
"""What a file must have for an option's type, in words and in Python; text for all others."""

ScopedKey = tuple[str | None, str]
"""A command, or None for all commands, and a key."""

Given = tuple[Path | str, object]
"""The file or the name of the variable that sets something, and the value there."""

_NO_SETTINGS = frozenset({"G4_IGNORE_MEMORY"})
"""Variables of g4 that set no option."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """An option that can be set. ``kind`` is the type of its values, without None."""

    key: str
    option: TyperOption
    kind: Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """A setting's checked value, and the file or the name of the variable that it comes from.

    ``shared``: it was set for all commands.
    """

    setting: Setting
    value: Any
    source: Path | str
    shared: bool


class Settings:
    """The settings of every command that has all the options named ``shared``."""

    def __init__(
        self, context: typer.Context, shared: AbstractSet[str], *, read: bool = True
    ) -> None:
        """Reads the files, unless ``read`` is off, and the variables.

        Raises OptionError for an unreadable file and for an unknown key.
        """
        env = environment_of(context)
        self._context = context
        self.commands = settings_by_command(context, shared)
        every = [each for own in self.commands.values() for each in own.values()]
        # Of those that mean something else to another command, the first.
        self.shared: dict[str, Setting] = {}
        for each in every:
            if each.option.name in shared:
                self.shared.setdefault(each.key, each)
        variables = {
            scoped: (name, env.variables[name])
            for name, scoped in self.variables()
            if env.variables.get(name)
        }
        files = read_settings_files(env) if read else []
        self._given: list[Mapping[ScopedKey, Given]] = [variables, *map(self._by_scope, files)]

    def variables(self) -> Iterator[tuple[str, ScopedKey]]:
        """The names of all environment variables that have a meaning, and what they set."""
        keys = dict.fromkeys(
            [*self.shared, *(key for own in self.commands.values() for key in own)]
        )
        yield from ((variable(None, key), (None, key)) for key in keys)
        for command, own in self.commands.items():
            yield from ((variable(command, key), (command, key)) for key in own)

    def find(self, command: str | None, key: str) -> Found | None:
        """What is set for a command, or with None for all commands. Raises OptionError."""
        setting = self.shared[key] if command is None else self.commands[command][key]
        # Files have those of single commands in tables only.
        scopes = (command,) if (command, key) in _NOT_INHERITED else (command, None)
        for given in self._given:
            for scope in scopes:
                if (scope, key) in given:
                    source, value = given[scope, key]
                    value = checked(setting, value, source, _full(scope, key), self._context)
                    return Found(setting=setting, value=value, source=source, shared=scope is None)
        return None

    def find_for_call(self, command: str, typed: AbstractSet[str]) -> dict[str, Found]:
        """What is set of the parameters that were not typed, by parameter. Raises OptionError."""
        found = {}
        for key, setting in self.commands.get(command, {}).items():
            conditions = {setting.option.name: False, **_DEPENDS.get((command, key), {})}
            applies = all((other in typed) is must for other, must in conditions.items())
            if applies and (each := self.find(command, key)) is not None:
                found[setting.option.name] = each
        return found

    def unknown_variables(self) -> Iterator[str]:
        """A line for each variable that begins like a setting and is none, with a hint."""
        given = environment_of(self._context).variables
        known = _NO_SETTINGS | {name for name, _ in self.variables()}
        of_one_call = {key for keys in _OF_ONE_CALL.values() for key in keys}
        for name in sorted(set(given) - known):
            key = name.removeprefix(f"{PREFIX}_").lower()
            if not given[name] or not name.startswith(f"{PREFIX}_"):
                continue
            if key in of_one_call:
                yield f"{name} has no effect: --{key.replace('_', '-')} is for the command line"
                continue
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]}?" if close else "g4 config lists all settings"
            yield f"{name} is not a setting of g4; {hint}"

    def _by_scope(self, file: SettingsFile) -> Mapping[ScopedKey, Given]:
        given: dict[ScopedKey, Given] = {}
        for name, value in file.values.items():
            command = name if name in self.commands else None
            table = {name: value} if command is None else value
            if not isinstance(table, Mapping):
                raise OptionError(f"{file.path}: {name} is a table: write [{name}]")
            for key in table:
                if key not in (self.shared if command is None else self.commands[command]):
                    raise OptionError(f"{file.path}: {self._unknown(command, key)}")
                given[command, key] = file.path, table[key]
        return given

    def setting_of(self, name: str) -> tuple[str | None, Setting]:
        """The setting of a name such as "max_tokens" or "chat.system", and its command.

        A key that only one command has needs no command. Raises OptionError.
        """
        head, dot, rest = name.strip().lstrip("-").replace("-", "_").partition(".")
        command, key = (head, rest) if dot else (None, head)
        if command is not None and command not in self.commands:
            known = ", ".join(self.commands)
            raise OptionError(f"there is no command {command} with settings: name one of {known}")
        own = self.shared if command is None else self.commands[command]
        if key in own:
            return command, own[key]
        owners = [each for each, keys in self.commands.items() if key in keys]
        if command is None and len(owners) == 1:
            return owners[0], self.commands[owners[0]][key]
        if command is None and owners:
            names = " or ".join(f"{owner}.{key}" for owner in owners)
            raise OptionError(f"{key} is a setting of several commands: name {names}")
        raise OptionError(self._unknown(command, key))

    def _unknown(self, command: str | None, key: str) -> str:
        """Why a key is wrong, with a hint."""
        if key in _OF_ONE_CALL[""] | _OF_ONE_CALL.get(command or "", frozenset()):
            return f"{_full(command, key)} cannot be set: it is for the command line"
        if owners := [f"[{name}]" for name, own in self.commands.items() if key in own]:
            hint = f"write {key} into {' or '.join(owners)}"
        else:
            known = self.commands[command] if command else [*self.shared, *self.commands]
            close = difflib.get_close_matches(key.replace("-", "_"), known, n=1)
            hint = f"did you mean {close[0]}?" if close else "g4 config lists all settings"
        return f"there is no {_full(command, key)}; {hint}"


def settings_by_command(
    context: typer.Context, shared: AbstractSet[str]
) -> dict[str, dict[str, Setting]]:
    """What can be set, by command and key; for the commands with all the options ``shared``."""
    program = context.find_root().command
    commands = program.commands if isinstance(program, TyperGroup) else {}
    return {
        name: dict(settings_of(name, command))
        for name, command in commands.items()
        if isinstance(command, TyperCommand) and shared <= {p.name for p in command.params}
    }


def settings_of(name: str, command: TyperCommand) -> Iterator[tuple[str, Setting]]:
    """What can be set of one command, by key."""
    of_one_call = _OF_ONE_CALL[""] | _OF_ONE_CALL.get(name, frozenset())
    assert command.callback is not None, "a command has a function"
    declared = inspect.signature(command.callback).parameters
    for option in command.params:
        if not isinstance(option, TyperOption) or option.multiple or option.hidden:
            continue
        key = max(option.opts, key=len).lstrip("-").replace("-", "_")
        if key not in of_one_call:
            kind = value_type(declared[option.name].annotation)
            yield key, Setting(key=key, option=option, kind=kind)


def variable(command: str | None, key: str) -> str:
    """The environment variable of a key, for one command or with None for all."""
    return "_".join(filter(None, (PREFIX, command, key))).replace("-", "_").upper()


def value_type(annotation: Any) -> Any:
    """The type inside Annotated, without None."""
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) in (Union, types.UnionType):
        annotation = next(kind for kind in get_args(annotation) if kind is not types.NoneType)
    return annotation


def blamed(error: OptionError, found: Iterable[Found]) -> OptionError:
    """The error, with the sources of the settings whose value or option its text mentions."""

    def is_mentioned(each: Found) -> bool:
        option = each.setting.option
        words = filter(None, (str(each.value), *option.opts, *option.secondary_opts))
        return any(re.search(rf"(?<![\w-]){re.escape(w)}(?![\w-])", str(error)) for w in words)

    sources = [
        f"{each.setting.key} is set in {each.source}" for each in filter(is_mentioned, found)
    ]
    return OptionError(f"{error} ({'; '.join(sources)})") if sources else error


def checked(
    setting: Setting, value: object, source: Path | str, key: str, context: typer.Context
) -> Any:
    """The value as the command line would take it. Raises OptionError."""
    where = f"{source}: {key}" if isinstance(source, Path) else source
    name_only = setting.option.metavar == "NAME"
    choices = get_args(setting.kind) if get_origin(setting.kind) is Literal else ()
    required, kinds = _TOML_TYPES.get(setting.kind, ("a name" if name_only else "text", {str}))
    if setting.option.metavar == "TIME":
        required, kinds = "a time", {float, int, str}
    if choices:
        required, kinds = f"one of {', '.join(map(str, choices))}", {type(c) for c in choices}
    wrong = OptionError(f"{where} must be {required}, not {value!r}")
    if isinstance(source, Path):
        if type(value) not in kinds or (value == "" and name_only):
            raise wrong
        value = _from_folder(setting, value, source.parent)
    try:
        return setting.option.process_value(context, value)
    except typer.BadParameter as exc:
        raise (wrong if choices else OptionError(f"{where} is {value!r}: {exc.message}")) from exc


def _from_folder(setting: Setting, value: object, folder: Path) -> object:
    """A path, or a model like "./mine", relative to its file's folder; other values unchanged."""
    text = str(value)
    is_path = setting.kind is Path or (setting.key == "model" and text.startswith(("./", "../")))
    return str(folder / Path(text).expanduser()) if is_path else value


def _full(command: str | None, key: str) -> str:
    return key if command is None else f"{command}.{key}"
