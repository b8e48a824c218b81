"""What is set outside the command line: by environment variables, project files, the user's file.

Every option can be set, by the name that it has on the command line: ``--max-tokens`` is the key
``max_tokens``. Options that commands share stand at a file's top level, a command's own in its
table; a table may also set a shared one for its command alone. The variable of a key is ``G4_``
and the key, with the command between for one command: ``G4_MAX_TOKENS``, ``G4_CHAT_MAX_TOKENS``.
Options are read from the commands themselves, so that a new one is known at once.
"""

from __future__ import annotations

import difflib
import inspect
import re
import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption

from ...errors import OptionError
from ..environment import Environment, environment_of
from .files import SettingsFile, read_settings_files

PREFIX = "G4"

_OF_ONE_CALL: Mapping[str, frozenset[str]] = {
    "": frozenset({"help", "output", "json"}),
    "describe": frozenset({"schema"}),
    "transcribe": frozenset({"mic", "list_devices", "restart", "think"}),
    "video": frozenset({"from", "to", "save_frames"}),
    "chat": frozenset(
        {"prompt", "messages", "mic", "continue", "session", "list", "delete", "yes"}
    ),
}
"""Options that say what one call is about ("" is any command's); no default makes sense for them.

Nor does one for those that may be given again, such as ``--image``.
"""

_NOT_INHERITED = frozenset({("transcribe", "temperature")})
"""Shared keys that a command takes from its own table only: transcripts are greedy."""

_ONLY_BESIDE = {
    ("transcribe", "device"): "mic",
    ("transcribe", "skip_existing"): "output",
    ("chat", "device"): "mic",
}
"""A setting, and the parameter without which the command would refuse it."""

_GIVES_WAY = {
    ("transcribe", "format"): "json",
    ("transcribe", "skip_existing"): "mic",
    ("chat", "system"): "messages",
}
"""A setting, and the parameter beside which the command would refuse it."""

_KEPT = {("chat", "model"): ("goes_on", "session")}
"""A setting, and the parameters that mean something kept, which knows better than a file."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """An option that can be set. ``kind`` is the type of its values, without None."""

    key: str
    option: TyperOption
    kind: Any

    @property
    def flags(self) -> tuple[str, ...]:
        return (*self.option.opts, *self.option.secondary_opts)

    @property
    def declared_variables(self) -> tuple[str, ...]:
        """Variables that the option names itself, beside those by rule."""
        declared = self.option.envvar
        return (declared,) if isinstance(declared, str) else tuple(declared or ())


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """A setting's value, checked; and the file, or the name of the variable, that has it.

    ``shared`` says that it is meant for all commands.
    """

    setting: Setting
    value: Any
    source: Path | str
    shared: bool


class Settings:
    """Every setting of every command, and what the files say about them."""

    def __init__(
        self,
        commands: Mapping[str, Mapping[str, Setting]],
        shared: Sequence[str],
        files: Sequence[SettingsFile],
        variables: Mapping[str, str],
    ) -> None:
        """Raises OptionError for a key that no command has."""
        self.commands = commands
        self.shared = shared
        self.files = files
        self._variables = variables
        for file in files:
            self._check_keys(file)

    @classmethod
    def of(
        cls,
        program: TyperGroup,
        shared: AbstractSet[str],
        env: Environment,
        files: Sequence[SettingsFile] | None = None,
    ) -> Settings:
        """Those of a program's commands that have all the options named ``shared``.

        ``files`` are read where they are not given. Raises OptionError.
        """
        commands = {
            name: settings_of(name, command)
            for name, command in program.commands.items()
            if isinstance(command, TyperCommand)
            and shared <= {parameter.name for parameter in command.params}
        }
        keys = dict.fromkeys(
            setting.key
            for settings in commands.values()
            for setting in settings.values()
            if setting.option.name in shared
        )
        return cls(
            commands,
            tuple(keys),
            read_settings_files(env) if files is None else files,
            env.variables,
        )

    def variables(self) -> Iterator[str]:
        """The names of all variables that mean something."""
        yield from (variable(key) for key in self.shared)
        for command, settings in self.commands.items():
            for key, setting in settings.items():
                yield from (variable(command, key), *setting.declared_variables)

    def find(self, command: str, key: str, context: typer.Context) -> Found | None:
        """What is set for a command; None where nothing is. Raises OptionError."""
        inherits = key in self.shared and (command, key) not in _NOT_INHERITED
        return self._find(self.commands[command][key], command, context, inherits=inherits)

    def find_shared(self, key: str, context: typer.Context) -> tuple[Setting, Found | None]:
        """What is set for all commands; None where nothing is. Raises OptionError."""
        setting = next(own[key] for own in self.commands.values() if key in own)
        return setting, self._find(setting, None, context, inherits=True)

    def _find(
        self, setting: Setting, command: str | None, context: typer.Context, *, inherits: bool
    ) -> Found | None:
        key = setting.key
        # For one command before for all, in the environment and in each file.
        scopes = [*([command] if command else []), *([None] if inherits else [])]
        names = {variable(*([scope] if scope else []), key): scope is None for scope in scopes}
        names |= dict.fromkeys(setting.declared_variables, False)
        for name, shared in names.items():
            if text := self._variables.get(name):
                value = _checked(setting, text, name, context)
                return Found(setting=setting, value=value, source=name, shared=shared)
        for file in self.files:
            for scope in scopes:
                table = file.values if scope is None else file.values.get(scope, {})
                if not isinstance(table, Mapping) or key not in table:
                    continue
                where = f"{file.path}: {key if scope is None else f'{scope}.{key}'}"
                given = _in_file(setting, table[key], where, file.path.parent)
                value = _checked(setting, given, where, context)
                return Found(setting=setting, value=value, source=file.path, shared=scope is None)
        return None

    def _check_keys(self, file: SettingsFile) -> None:
        for key, value in file.values.items():
            if key in self.commands:
                if not isinstance(value, Mapping):
                    raise OptionError(f"{file.path}: {key} is a table: write [{key}]")
                for inner in value:
                    if inner not in self.commands[key]:
                        raise OptionError(f"{file.path}: {self._unknown(inner, key)}")
            elif key not in self.shared:
                raise OptionError(f"{file.path}: {self._unknown(key, None)}")

    def _unknown(self, key: str, command: str | None) -> str:
        """Why a key, in a command's table or at the top level, is none, and what is near."""
        full = key if command is None else f"{command}.{key}"
        if key in _OF_ONE_CALL[""] | _OF_ONE_CALL.get(command or "", frozenset()):
            return f"{full} cannot be set: it is for the command line"
        owners = [name for name, settings in self.commands.items() if key in settings]
        if owners:
            return f"there is no {full}; write {key} into {' or '.join(f'[{o}]' for o in owners)}"
        known = self.commands[command] if command else [*self.shared, *self.commands]
        close = difflib.get_close_matches(key.replace("-", "_"), known, n=1)
        hint = f"did you mean {close[0]}?" if close else "g4 config lists all that there are"
        return f"there is no {full}; {hint}"


def variable(*path: str) -> str:
    """The environment variable of a key, or of a command and its key."""
    return "_".join((PREFIX, *path)).replace("-", "_").upper()


def settings_of(name: str, command: TyperCommand) -> dict[str, Setting]:
    """What can be set of one command, by key."""
    of_one_call = _OF_ONE_CALL[""] | _OF_ONE_CALL.get(name, frozenset())
    assert command.callback is not None, "a command has a function"
    declared = inspect.signature(command.callback).parameters
    found = {}
    for option in command.params:
        if not isinstance(option, TyperOption) or option.multiple or option.hidden:
            continue
        key = max(option.opts, key=len).lstrip("-").replace("-", "_")
        if key not in of_one_call:
            kind = value_type(declared[option.name].annotation)
            found[key] = Setting(key=key, option=option, kind=kind)
    return found


def settings_for(context: typer.Context, shared: AbstractSet[str]) -> dict[str, Found]:
    """What is set of the options that this call's command line leaves out, by parameter.

    Raises OptionError.
    """
    program = context.find_root().command
    command = context.info_name or ""
    if not isinstance(program, TyperGroup) or command not in program.commands:
        return {}
    settings = Settings.of(program, shared, environment_of(context))
    chosen = {}
    for key, setting in settings.commands[command].items():
        if _is_typed(setting.option.name, context) or not _applies(command, key, context):
            continue
        found = settings.find(command, key, context)
        kept = any(context.params[name] for name in _KEPT.get((command, key), ()))
        if found is not None and not (kept and isinstance(found.source, Path)):
            chosen[setting.option.name] = found
    return chosen


def _is_typed(parameter: str, context: typer.Context) -> bool:
    """Whether a parameter stands on the command line."""
    source = context.get_parameter_source(parameter)
    return source is not None and source.name == "COMMANDLINE"


def _applies(command: str, key: str, context: typer.Context) -> bool:
    """Whether a setting goes with what is typed."""
    needed, refused = _ONLY_BESIDE.get((command, key)), _GIVES_WAY.get((command, key))
    return (needed is None or bool(context.params[needed])) and (
        refused is None or not context.params[refused]
    )


def blamed(error: OptionError, chosen: Iterable[Found]) -> OptionError:
    """The error, and where the settings were made that its text speaks of."""

    def is_meant(found: Found) -> bool:
        words = (str(found.value), *found.setting.flags)
        return any(re.search(rf"(?<![\w-]){re.escape(w)}(?![\w-])", str(error)) for w in words if w)

    meant = [f"{found.setting.key} is set in {found.source}" for found in chosen if is_meant(found)]
    return OptionError(f"{error} ({'; '.join(meant)})") if meant else error


def configured_model(env: Environment) -> str | None:
    """The model that files name where a kept conversation could have named one and did not."""
    for file in read_settings_files(env):
        own = file.values.get("chat")
        for table in (own if isinstance(own, Mapping) else {}, file.values):
            name = table.get("model")
            if isinstance(name, str) and name:
                return _from_folder(name, file.path.parent)
    return None


def value_type(annotation: Any) -> Any:
    """The type inside Annotated and beside None."""
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) in (Union, types.UnionType):
        annotation = next(kind for kind in get_args(annotation) if kind is not types.NoneType)
    return annotation


def _in_file(setting: Setting, given: object, where: str, folder: Path) -> object:
    """A file's value of the right type. Paths start from the file's folder, not from where g4 runs.

    Raises OptionError.
    """
    kinds: tuple[type, ...]
    if get_origin(setting.kind) is Literal:
        kinds = tuple({type(choice) for choice in get_args(setting.kind)})
    else:
        kinds = {float: (float, int), Path: (str,)}.get(setting.kind, (setting.kind,))
    if type(given) not in kinds or (given == "" and setting.option.metavar == "NAME"):
        raise OptionError(f"{where} must be {_noun(setting)}, not {given!r}")
    if isinstance(given, str):
        if setting.kind is Path:
            return str(folder / Path(given).expanduser())
        if setting.key == "model":
            return _from_folder(given, folder)
    return given


def _from_folder(model: str, folder: Path) -> str:
    """ "./model" is meant from where the file stands; other names are as they are."""
    return str(folder / model) if model.startswith(("./", "../")) else model


def _checked(setting: Setting, given: object, where: str, context: typer.Context) -> Any:
    """The value as the command line would take it. Raises OptionError."""
    try:
        return setting.option.process_value(context, given)
    except typer.BadParameter as exc:
        if get_origin(setting.kind) is Literal:
            raise OptionError(f"{where} must be {_noun(setting)}, not {given!r}") from exc
        raise OptionError(f"{where} is {given!r}: {exc.message}") from exc


def _noun(setting: Setting) -> str:
    if get_origin(setting.kind) is Literal:
        return f"one of {', '.join(map(str, get_args(setting.kind)))}"
    nouns = {bool: "true or false", int: "a whole number", float: "a number"}
    return nouns.get(setting.kind, "a name" if setting.option.metavar == "NAME" else "text")
