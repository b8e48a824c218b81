"""The options shared by all commands that run a model."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import dataclass, fields
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, get_args, get_type_hints

import typer
from typer.models import OptionInfo, ParameterInfo

from ...errors import OptionError
from ...options import DType, GenerateOptions, LoadOptions
from ..environment import environment_of
from ..habits.answers import with_question
from ..output.help_pages import Command, known_options, path_of
from ..output.pictures import PictureMode
from .completers import COMPLETERS

_MODEL = "Model"
_SAMPLING = "Sampling"
_OUTPUT = "Output"


@dataclass(frozen=True, kw_only=True, slots=True)
class RunOptions:
    """The model, how it generates, and where the answer goes."""

    model: Annotated[
        str | None,
        typer.Option(
            "-m",
            "--model",
            metavar="NAME",
            help="Alias (tiny, e2b, e4b, 12b, 26b, 31b, e2b:8bit …), folder or hub id.",
            rich_help_panel=_MODEL,
        ),
    ] = None
    dtype: Annotated[
        DType,
        typer.Option(
            metavar="TYPE",
            help="Type to compute in: auto, float32, bfloat16 or float16; auto is float32 on a "
            "CPU, otherwise the checkpoint's type.",
            rich_help_panel=_MODEL,
        ),
    ] = "auto"
    offline: Annotated[
        bool,
        typer.Option("--offline", help="Never use the network.", rich_help_panel=_MODEL),
    ] = False
    max_tokens: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Maximum length of the answer, thoughts included. (default: 2048)",
            rich_help_panel=_SAMPLING,
        ),
    ] = None
    temperature: Annotated[
        float | None,
        typer.Option(
            min=0,
            metavar="T",
            help="Sampling temperature; 0 is greedy. (default: the model's)",
            rich_help_panel=_SAMPLING,
        ),
    ] = None
    top_p: Annotated[
        float | None,
        typer.Option(
            metavar="P",
            help="Nucleus sampling; above 0, at most 1. (default: the model's)",
            rich_help_panel=_SAMPLING,
        ),
    ] = None
    top_k: Annotated[
        int | None,
        typer.Option(
            min=0,
            metavar="K",
            help="Sample from the K likeliest tokens; 0 means all. (default: the model's)",
            rich_help_panel=_SAMPLING,
        ),
    ] = None
    seed: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=2**64 - 1,
            metavar="N",
            help="Seed for sampling.",
            rich_help_panel=_SAMPLING,
        ),
    ] = None
    think: Annotated[
        bool,
        typer.Option(
            "--think/--no-think",
            help="Let the model think before it answers; thoughts go to stderr.",
            rich_help_panel=_SAMPLING,
        ),
    ] = False
    schema: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="JSON Schema that the answer must match.",
            rich_help_panel=_SAMPLING,
        ),
    ] = None
    output: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            help="Write to a file, or to a folder if it is one or ends in a slash; - is standard "
            "output.",
            rich_help_panel=_OUTPUT,
        ),
    ] = None
    json: Annotated[
        bool,
        typer.Option("--json", help="Print one JSON object per input.", rich_help_panel=_OUTPUT),
    ] = False
    quiet: Annotated[
        bool,
        typer.Option(
            "-q", "--quiet", help="Nothing on stderr but errors.", rich_help_panel=_OUTPUT
        ),
    ] = False
    pictures: Annotated[
        PictureMode,
        typer.Option(
            metavar="MODE",
            help="Thumbnails in the terminal: auto, never, kitty or iterm; auto shows them if the "
            "terminal can.",
            rich_help_panel=_OUTPUT,
        ),
    ] = "auto"
    debug: Annotated[
        bool,
        typer.Option("--debug", help="Show tracebacks and log messages.", rich_help_panel=_OUTPUT),
    ] = False

    @property
    def thumbnails(self) -> PictureMode:
        """``pictures``, but "never" with --quiet, --json or an output file."""
        hidden = self.quiet or self.json or self.output not in (None, "-")
        return "never" if hidden else self.pictures

    @property
    def load_options(self) -> LoadOptions:
        return LoadOptions(dtype=self.dtype)

    def generate_options(self, *, default_temperature: float | None = None) -> GenerateOptions:
        """``default_temperature`` applies if the user sets no temperature.

        Raises OptionError if the schema cannot be read.
        """
        temperature = default_temperature if self.temperature is None else self.temperature
        defaults = GenerateOptions()
        return GenerateOptions(
            max_tokens=self.max_tokens or defaults.max_tokens,
            temperature=temperature,
            top_p=self.top_p,
            top_k=self.top_k,
            seed=self.seed,
            think=self.think,
            schema=None if self.schema is None else _read(self.schema),
        )


def _read(schema: Path) -> str:
    from ...plain_text import decode_text

    try:
        found = decode_text(schema.read_bytes())
    except OSError as exc:
        raise OptionError(f"{schema}: cannot be read ({exc.strerror or exc})") from exc
    if found is None or found.notice is not None:
        raise OptionError(f"{schema}: is not UTF-8 text")
    return found.text


SHARED = frozenset(field.name for field in fields(RunOptions))
"""The parameters of every command that runs a model."""

_FOUND = "settings"
"""The key in a context's ``meta`` for what is set, by parameter."""

_TYPED = "typed"
"""The key for the names of the parameters that are on the command line."""

_MAY_BE_EMPTY = frozenset({"system", "vocabulary"})
"""Options whose empty value takes back a setting."""

_UNKNOWN = "unknown variables"
"""The key for the notices about variables that set nothing."""


class ModelCommand(Command):
    """A command whose settings apply to the options that its command line leaves out."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        self.check_options(ctx, args)
        values, _, _ = self.make_parser(ctx).parse_args(args=list(args))
        typed = {name for name, value in values.items() if value is not None}
        ctx.meta[_TYPED] = typed
        ctx.meta[_FOUND] = {}
        if not ctx.resilient_parsing and "help" not in typed:
            _check_not_empty(values, {each.name: each for each in self.params})
        # Help and completion do not depend on settings and do not fail because of them.
        if not ctx.resilient_parsing and "help" not in typed:
            from ..settings.resolve import Settings

            settings = Settings(ctx, SHARED)
            ctx.meta[_FOUND] = settings.find_for_call(ctx.info_name, typed)
            ctx.meta[_UNKNOWN] = tuple(settings.unknown_variables())
        ctx.default_map = {name: each.value for name, each in ctx.meta[_FOUND].items()}
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        if not ctx.params["quiet"]:
            for notice in ctx.meta[_UNKNOWN]:
                environment_of(ctx).say(notice)
        try:
            return super().invoke(ctx)
        except OptionError as error:
            from ..settings.resolve import blamed

            raise blamed(error, ctx.meta[_FOUND].values()) from error


class AskingCommand(ModelCommand):
    """A command whose files may be followed by the question, without -p."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not ctx.resilient_parsing:
            args = with_question(path_of(ctx), args, known_options(self, ctx))
        return super().parse_args(ctx, args)


def _check_not_empty(values: Mapping[str, Any], parameters: Mapping[str, Any]) -> None:
    """Raise OptionError for an empty argument, as of a variable that is not set."""
    for name, value in values.items():
        given = value if isinstance(value, list | tuple) else [value]
        if "" in given and name not in _MAY_BE_EMPTY:
            raise OptionError(f"{_label(parameters[name])}: is empty; is a variable not set?")


def _label(parameter: Any) -> str:
    """What a person calls a parameter: its metavar if it is an argument, else its option."""
    if parameter.param_type_name == "argument":
        return str(parameter.metavar)
    return str(max(parameter.opts, key=len))


def is_typed(context: typer.Context, parameter: str) -> bool:
    """Whether a parameter is on the command line."""
    return parameter in context.meta[_TYPED]


def is_set_in_file(context: typer.Context, parameter: str) -> bool:
    """Whether a parameter has its value from a settings file."""
    found = context.meta[_FOUND].get(parameter)
    return found is not None and isinstance(found.source, Path)


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
    hints = get_type_hints(RunOptions, include_extras=True)
    shared = [
        _keyword(
            field.name,
            hints[field.name],
            default=field.default,
            hidden=field.name in refused,
            help=helps.get(field.name),
        )
        for field in fields(RunOptions)
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
        context.meta["debug"] = values["debug"]
        _refuse(context, values, refused)
        run = RunOptions(**{name: values.pop(name) for name in SHARED})
        command(run=run, env=environment_of(context), **values)

    wrapper.__signature__ = inspect.Signature([*own, *shared])  # type: ignore[attr-defined]
    wrapper.__annotations__ = {p.name: p.annotation for p in [*own, *shared]}
    return wrapper


_CONTEXT = "context_of_settings"


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
