"""The program's commands and options, as both references list them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup

from gemma4cli.cli.app import app
from gemma4cli.cli.run.options import SHARED


def program() -> TyperGroup:
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup), "g4 has commands"
    return group


def commands(group: TyperGroup, prefix: str = "g4") -> Iterator[tuple[str, TyperCommand]]:
    """Every command with its full name, those of groups included."""
    for name, command in group.commands.items():
        if isinstance(command, TyperGroup):
            yield from commands(command, f"{prefix} {name}")
        elif isinstance(command, TyperCommand) and not command.hidden:
            yield f"{prefix} {name}", command


def runs_a_model(command: TyperCommand) -> bool:
    return {parameter.name for parameter in command.params} >= SHARED


def own_parameters(command: TyperCommand) -> list[Any]:
    """All but hidden parameters and the options shared by the commands that run a model."""
    shared = SHARED if runs_a_model(command) else frozenset()
    parameters: list[Any] = command.params
    return [each for each in parameters if each.name not in shared and not each.hidden]


def refused_parameters(command: TyperCommand) -> list[Any]:
    """The shared options that a command which runs a model does not have."""
    parameters: list[Any] = command.params
    return [each for each in parameters if each.hidden and each.name in SHARED]


def different_parameters(command: TyperCommand) -> list[Any]:
    """The shared options that mean something else to a command."""
    meanings = {each.name: each.help for each in shared_parameters(program())}
    parameters: list[Any] = command.params if runs_a_model(command) else []
    return [
        each
        for each in parameters
        if not each.hidden and each.help != meanings.get(each.name, each.help)
    ]


def shared_parameters(group: TyperGroup) -> list[Any]:
    some = next(command for _, command in commands(group) if runs_a_model(command))
    return [each for each in some.params if each.name in SHARED]


def arguments(command: TyperCommand) -> Iterator[tuple[str, bool, bool]]:
    """Each argument's name, whether it is required, and whether there may be several."""
    for each in command.params:
        if isinstance(each, TyperArgument):
            yield value_name(each), each.required, each.nargs != 1


def flags(option: Any) -> list[str]:
    return [*sorted(option.opts, key=len), *option.secondary_opts]


def value_name(parameter: Any) -> str:
    assert parameter.metavar, f"{parameter.name} has a metavar"
    return str(parameter.metavar)


def default_of(parameter: Any) -> str:
    """The default that the declaration gives; "" if it gives none or a flag is off by default."""
    if isinstance(parameter, TyperArgument) or parameter.default in (None, False):
        return ""
    return str(parameter.opts[0] if parameter.default is True else parameter.default)
