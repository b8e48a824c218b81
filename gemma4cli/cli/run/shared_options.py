"""Adds the options of ``RunOptions`` to the function of a command."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import fields
from functools import cache, wraps
from pathlib import Path
from typing import Annotated, Any, get_args, get_type_hints

import typer
from typer.models import OptionInfo, ParameterInfo

from ...errors import OptionError
from ..environment import environment_of
from ..output.help_pages import DEBUG
from .completers import COMPLETERS
from .options import SHARED, RunOptions


def runs_a_model(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of ``RunOptions`` to a command, which is to be registered as a ModelCommand.

    It receives them as its parameter ``run``, and the outside world as ``env``.
    """
    return _with_run_options(command, refused={}, helps={})


def runs_a_model_differently(
    *, refused: Mapping[str, str], helps: Mapping[str, str]
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """``runs_a_model`` for a command to which some shared options do not apply as they are.

    ``refused`` says why there is no such option, and ``helps`` what one means to this command, each
    by parameter. A refused one is not listed in help, cannot be set, and is an error when typed.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        return _with_run_options(command, refused=refused, helps=helps)

    return decorate


def _with_run_options(
    command: Callable[..., None], *, refused: Mapping[str, str], helps: Mapping[str, str]
) -> Callable[..., None]:
    own_names = inspect.signature(command).parameters.keys()
    hints = _shared_types()
    shared = [
        _keyword(
            field.name,
            hints[field.name],
            default=field.default,
            hidden=field.name in refused,
            help=helps.get(field.name),
        )
        for field in fields(RunOptions)
        if field.name not in own_names  # an option that means something else to this command
    ]
    own_hints = get_type_hints(command, include_extras=True)
    own = [
        _keyword(name, own_hints[name], default=parameter.default)
        for name, parameter in inspect.signature(command).parameters.items()
        if name not in ("run", "env")
    ]
    asks_for_context = next((p.name for p in own if p.annotation is typer.Context), None)
    if asks_for_context is None:
        own.append(_keyword(_CONTEXT, typer.Context))

    @wraps(command)
    def wrapper(**values: Any) -> None:
        context = values[asks_for_context] if asks_for_context else values.pop(_CONTEXT)
        context.meta[DEBUG] = values["debug"]
        _refuse(context, values, refused)
        values = {name: _in_home(name, value) for name, value in values.items()}
        run = RunOptions(**{name: values.pop(name) for name in SHARED if name not in own_names})
        if run.server is not None:
            from .server_options import checked_for_server

            run = checked_for_server(context, run)
        command(run=run, env=environment_of(context), **values)

    wrapper.__signature__ = inspect.Signature([*own, *shared])  # type: ignore[attr-defined]
    wrapper.__annotations__ = {p.name: p.annotation for p in [*own, *shared]}
    return wrapper


_CONTEXT = "context_of_settings"


@cache
def _shared_types() -> dict[str, Any]:
    return get_type_hints(RunOptions, include_extras=True)


def _in_home(name: str, value: Any) -> Any:
    """A path with the home folder for ``~/``, which bash leaves in ``--output=~/x``."""
    if (isinstance(value, Path) or name == "output") and str(value).startswith("~/"):
        return type(value)(os.path.expanduser(value))
    return value


def _refuse(context: typer.Context, values: Mapping[str, Any], refused: Mapping[str, str]) -> None:
    """Raises OptionError for a refused option that is typed."""
    for field in fields(RunOptions):
        if field.name in refused and values[field.name] != field.default:
            (flag,) = [each.opts[-1] for each in context.command.params if each.name == field.name]
            raise OptionError(f"{refused[field.name]}: leave out {flag}")


def _keyword(
    name: str,
    annotation: Any,
    default: Any = inspect.Parameter.empty,
    *,
    hidden: bool = False,
    help: str | None = None,
) -> inspect.Parameter:
    """A keyword parameter. An option gets the completion for its name; choices ignore case."""
    option = next(iter(getattr(annotation, "__metadata__", ())), None)
    if isinstance(option, ParameterInfo):
        option = copy(option)
        option.case_sensitive = False
        if isinstance(option, OptionInfo):
            option.autocompletion = option.autocompletion or COMPLETERS.get(name)
            option.hidden = option.hidden or hidden
            option.help = help or option.help
        annotation = Annotated[get_args(annotation)[0], option]
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
    )
