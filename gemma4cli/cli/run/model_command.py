"""Commands that run a model: settings fill in what the command line leaves out."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import typer

from ...errors import OptionError
from ..environment import environment_of
from ..habits.questions import with_question
from ..output.help_pages import Command, known_options, path_of
from .options import SHARED

_FOUND = "settings"
"""The key in a context's ``meta`` for what is set, by parameter."""

_TYPED = "typed"
"""The key for the names of the parameters that are on the command line."""

_UNHEEDED = "unheeded settings"
"""The key for the notices about variables that set nothing, and what a project may not set."""


class ModelCommand(Command):
    """A command whose settings apply to the options that its command line leaves out."""

    def before_parsing(self, ctx: Any, args: list[str]) -> None:
        values, _, order = self.make_parser(ctx).parse_args(args=list(args))
        _refuse_several_adapters(order)
        typed = {name for name, value in values.items() if value is not None}
        ctx.meta[_TYPED] = typed
        ctx.meta[_FOUND] = {}
        # Help and completion do not depend on settings and do not fail because of them.
        if not ctx.resilient_parsing and "help" not in typed:
            from ..settings.resolve import Settings

            settings = Settings(ctx, SHARED)
            ctx.meta[_FOUND] = settings.find_for_call(ctx.info_name, typed)
            ctx.meta[_UNHEEDED] = (
                *settings.unknown_variables(),
                *settings.ignored(ctx.info_name, typed),
            )
        ctx.default_map = {name: each.value for name, each in ctx.meta[_FOUND].items()}

    def invoke(self, ctx: Any) -> Any:
        if not ctx.params["quiet"]:
            for notice in ctx.meta[_UNHEEDED]:
                environment_of(ctx).say(notice)
        try:
            return super().invoke(ctx)
        except OptionError as error:
            from ..settings.resolve import blamed

            raise blamed(error, ctx.meta[_FOUND].values()) from error


def _refuse_several_adapters(order: Iterable[Any]) -> None:
    """Raise OptionError for adapters of which only the last would count.

    Of other options the last one counts, but g4 serve takes several adapters.
    """
    given = [each for each in order if each.name == "adapter" and not each.multiple]
    if len(given) > 1:
        raise OptionError(
            "--adapter: a run uses one adapter, and several are given: name one; g4 serve has "
            "several at once, and /adapter in a chat goes on with another"
        )


class AskingCommand(ModelCommand):
    """A command whose files may be followed by the question, without -p."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not ctx.resilient_parsing:
            args = with_question(path_of(ctx), args, known_options(self, ctx))
        return super().parse_args(ctx, args)


def is_typed(context: typer.Context, parameter: str) -> bool:
    """Whether a parameter is on the command line."""
    return parameter in context.meta[_TYPED]


def is_set_in_file(context: typer.Context, parameter: str) -> bool:
    """Whether a parameter has its value from a settings file."""
    found = context.meta[_FOUND].get(parameter)
    return found is not None and isinstance(found.source, Path)
