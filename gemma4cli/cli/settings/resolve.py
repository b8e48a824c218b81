"""Values for the options that a command line leaves out; click gets them as ``default_map``.

Every option has a setting of its name: ``--max-tokens`` is the key ``max_tokens``. In a file, the
options that all commands share are at the top level and those of one command in a table. Variables
are ``G4_MAX_TOKENS`` for all commands and ``G4_CHAT_MAX_TOKENS`` for one. Options are read from the
commands themselves, so a new one can be set at once. A variable without a command's name also sets
an option that only some commands have: ``G4_FORMAT``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from ...errors import OptionError
from ..environment import environment_of
from ..habits.similar import similar
from .files import SettingsFile, read_settings_files
from .keys import OF_ONE_CALL, PREFIX, Setting, full_key, settings_by_command, variable
from .trust import refusal
from .values import checked

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

ScopedKey = tuple[str | None, str]
"""A command, or None for all commands, and a key."""

Given = tuple[Path | str, object]
"""The file or the name of the variable that sets something, and the value there."""

_NO_SETTINGS = frozenset(
    {
        "G4_IGNORE_MEMORY",
        "G4_KEPT_PROMPTS_MB",
        "G4_MAX_STREAM_MB",
        "G4_NO_NATIVE",
        "G4_PROMPT_CACHE_MB",
        "G4_SERVER_TOKEN",
        "G4_URL_TIMEOUT",
    }
)
"""Variables of g4 that set no option."""


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
        self._ignored: dict[ScopedKey, tuple[object, str]] = {}
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
                    value = checked(setting, value, source, full_key(scope, key), self._context)
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

    def ignored(self, command: str | None, typed: AbstractSet[str] = frozenset()) -> Iterator[str]:
        """A line for each value of a project that is ignored: for one command, or None for all.

        Options that are ``typed`` need no value, nor those set to the same elsewhere.
        """
        for (scope, key), (value, line) in self._ignored.items():
            own = self.commands[command].get(key) if command else None
            applies = own and scope in (command, None) and own.option.name not in typed
            if command is None or applies:
                found = self.find(command or scope, key)
                if found is None or found.value != value:
                    yield line

    def unknown_variables(self) -> Iterator[str]:
        """A line for each variable that begins like a setting and is none, with a hint."""
        given = environment_of(self._context).variables
        known = _NO_SETTINGS | {name for name, _ in self.variables()}
        of_one_call = {key for keys in OF_ONE_CALL.values() for key in keys}
        for name in sorted(set(given) - known):
            key = name.removeprefix(f"{PREFIX}_").lower()
            if not given[name] or not name.startswith(f"{PREFIX}_"):
                continue
            if key in of_one_call:
                yield f"{name} has no effect: --{key.replace('_', '-')} is for the command line"
                continue
            commands = [each for each in self.commands if key.startswith(f"{each}_")]
            scope = variable(commands[0] if commands else None, "") + "_"
            keys = [each.removeprefix(scope).lower() for each in known if each.startswith(scope)]
            close = [
                scope + each.upper() for each in similar(name.removeprefix(scope).lower(), keys)
            ]
            yield f"{name} is not a setting of g4; {_hint(close)}"

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
                if (why := refusal(file.path, key, table[key])) is not None:
                    full = full_key(command, key)
                    line = f"{file.path}: {full} {why}"
                    self._ignored.setdefault((command, key), (table[key], line))
                    continue
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

    def is_key(self, name: str) -> bool:
        """Whether a name is that of a setting."""
        try:
            self.setting_of(name)
        except OptionError:
            return False
        return name not in self.commands

    def _unknown(self, command: str | None, key: str) -> str:
        """Why a key is wrong, with a hint."""
        if key in OF_ONE_CALL[""] | OF_ONE_CALL.get(command or "", frozenset()):
            return f"{full_key(command, key)} cannot be set: it is for the command line"
        if owners := [f"[{name}]" for name, own in self.commands.items() if key in own]:
            hint = f"write {key} into {' or '.join(owners)}"
        else:
            known = self.commands[command] if command else [*self.shared, *self.commands]
            hint = _hint(similar(key.replace("-", "_"), known))
        return f"there is no {full_key(command, key)}; {hint}"


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


def _hint(close: Iterable[str]) -> str:
    found = " or ".join(close)
    return f"did you mean {found}?" if found else "g4 config lists all settings"
