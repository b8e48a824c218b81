"""Commands whose help shows names, not Python's types and ranges."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import Any

from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption


class Command(TyperCommand):
    """A command with plain help."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        shown = copy(self)
        shown.help = _unwrapped(self.help)
        shown.params = _plain(self.get_params(ctx))
        # It is one of these parameters already.
        shown.add_help_option = False
        super(Command, shown).format_help(ctx, formatter)


class Group(TyperGroup):
    """A group of commands with plain help."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        shown = copy(self)
        shown.params = _plain(self.get_params(ctx))
        shown.add_help_option = False
        super(Group, shown).format_help(ctx, formatter)


def _unwrapped(text: str | None) -> str:
    """Paragraphs of one line each, for the terminal's width to break."""
    return "\n\n".join(" ".join(each.split()) for each in (text or "").split("\n\n"))


def _plain(parameters: Sequence[Any]) -> list[Any]:
    """Copies to show; those that parse the command line keep their ranges."""
    return [_without_type(copy(each)) for each in parameters]


def _without_type(parameter: Any) -> Any:
    parameter.min = parameter.max = None
    if isinstance(parameter, TyperArgument):
        # The name is shown in another column.
        parameter.display_type_rich = lambda ctx: None  # type: ignore[method-assign]
    elif isinstance(parameter, TyperOption) and parameter.is_flag:
        parameter.metavar = ""
    return parameter
