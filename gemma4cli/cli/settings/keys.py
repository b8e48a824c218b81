"""Which options can be set, and under which names."""

from __future__ import annotations

import inspect
import types
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Annotated, Any, Union, get_args, get_origin

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption

PREFIX = "G4"

OF_ONE_CALL: Mapping[str, frozenset[str]] = {
    "": frozenset({"help", "output", "json", "schema"}),
    "describe": frozenset(
        {"format", "extension", "file_names", "skip_existing", "restart", "shard"}
    ),
    "transcribe": frozenset(
        {"mic", "list_devices", "restart", "segments", "think", "shard", "file_names"}
    ),
    "video": frozenset({"from", "to", "save_frames", "restart"}),
    "chat": frozenset(
        {
            "prompt",
            "messages",
            "mic",
            "continue",
            "session",
            "list",
            "delete",
            "yes",
            "prompt_cache",
        }
    ),
}
"""Options for a single call, which cannot be set ("": of any command); nor can repeatable ones."""

_SEVERAL = frozenset({"adapter"})
"""Repeatable options that can be set all the same, to a text or in a file to a list of texts."""

MODELS = frozenset({"model", "adapter", "draft"})
"""Settings that name a folder or a repository of the hub; adapters perhaps after "NAME="."""

SECRET = frozenset({"token"})
"""Settings whose values are not shown."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """An option that can be set. ``kind`` is the type of its values, without None."""

    key: str
    option: TyperOption
    kind: Any


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
    of_one_call = OF_ONE_CALL[""] | OF_ONE_CALL.get(name, frozenset())
    assert command.callback is not None, "a command has a function"
    declared = inspect.signature(command.callback).parameters
    for option in command.params:
        if not isinstance(option, TyperOption) or option.hidden:
            continue
        if option.multiple and option.name not in _SEVERAL:
            continue
        key = max(option.opts, key=len).lstrip("-").replace("-", "_")
        if key not in of_one_call:
            kind = value_type(declared[option.name].annotation)
            yield key, Setting(key=key, option=option, kind=kind)


def variable(command: str | None, key: str) -> str:
    """The environment variable of a key, for one command or with None for all."""
    return "_".join(filter(None, (PREFIX, command, key))).replace("-", "_").upper()


def full_key(command: str | None, key: str) -> str:
    """A key with its command before it."""
    return key if command is None else f"{command}.{key}"


def value_type(annotation: Any) -> Any:
    """The type inside Annotated, without None."""
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) in (Union, types.UnionType):
        annotation = next(kind for kind in get_args(annotation) if kind is not types.NoneType)
    return annotation
