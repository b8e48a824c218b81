"""Commands whose help shows names, not Python's types and ranges, and ends with examples."""

from __future__ import annotations

import os
import shutil
import textwrap
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from copy import copy
from typing import Any, TypeVar

from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

from ...errors import OptionError
from ..environment import environment_of
from ..habits.argument_answers import argument_answer
from ..habits.lines import words
from ..habits.option_answers import option_answer, unknown_option
from ..habits.similar import similar
from .conversion import convert_without_typer
from .examples import EXAMPLES, PROJECT
from .usage_errors import label, see_help

_NARROW = 60
"""On fewer columns a table has a word per line; help is a list then."""

DEBUG = "debug"
"""The key in a context's ``meta`` for whether tracebacks are shown."""

_MAY_BE_EMPTY = frozenset({"system", "vocabulary", "value"})
"""Parameters whose empty value takes back a setting."""

_Shown = TypeVar("_Shown", bound=TyperCommand | TyperGroup)


class Command(TyperCommand):
    """A command with plain help, which knows what other programs call its options."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        convert_without_typer(self.get_params(ctx))
        args = self._without_debug(ctx, args)
        self.check_options(ctx, args)
        self.before_parsing(ctx, args)
        return super().parse_args(ctx, args)

    def _without_debug(self, ctx: Any, args: list[str]) -> list[str]:
        """Commands that do not log take --debug, too: errors advise it."""
        if "--debug" in known_options(self, ctx):
            return args
        end = args.index("--") if "--" in args else len(args)
        return [arg for arg in args[:end] if arg != "--debug"] + args[end:]

    def before_parsing(self, ctx: Any, args: list[str]) -> None:
        """What a kind of command does with a line whose options are known."""

    def check_options(self, ctx: Any, args: list[str]) -> None:
        """Raises OptionError with what to type for an option from habit, or a usage error."""
        if ctx.resilient_parsing:
            return
        path, known = path_of(ctx), known_options(self, ctx)
        if (word := unknown_option(args, known)) is not None:
            for arg in args:
                if arg.startswith(word.name) and os.path.isfile(arg):
                    raise OptionError(f"{arg}: begins with a dash; name the file as ./{arg}")
        if (answer := option_answer(path, args, known)) is not None:
            raise OptionError(answer)
        if word is not None:
            raise OptionError(_unknown_option(path, word.name, known))
        if (answer := argument_answer(path, args, known)) is not None:
            raise OptionError(answer)
        self._check_not_empty(ctx, args)

    def _check_not_empty(self, ctx: Any, args: list[str]) -> None:
        """Raise OptionError for an empty argument, as of a variable that is not set."""
        values, _, _ = self.make_parser(ctx).parse_args(args=list(args))
        if values.get("help"):
            return
        parameters = {each.name: each for each in self.params}
        for name, value in values.items():
            given = value if isinstance(value, list | tuple) else [value]
            if "" in given and name not in _MAY_BE_EMPTY:
                raise OptionError(f"{label(parameters[name])}: is empty; is a variable not set?")

    def format_help(self, ctx: Any, formatter: Any) -> None:
        shown = _shown(self, ctx)
        if (columns := shutil.get_terminal_size().columns) < _NARROW:
            formatter.write("\n".join(_narrow_lines(shown, ctx, columns)))
        else:
            with _pipe_breaks():
                super(Command, shown).format_help(ctx, formatter)

    def get_usage(self, ctx: Any) -> str:
        return super(Command, _shown(self, ctx)).get_usage(ctx)


class Group(TyperGroup):
    """A group of commands with plain help, which knows what other programs call them.

    ``help`` before a command is ``--help`` after it.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        convert_without_typer(self.get_params(ctx))
        known = known_options(self, ctx)
        first = next(words(args, known), None)
        if first is not None and first.is_option and not first.known and not ctx.resilient_parsing:
            from ..habits.command_answers import leading_options_answer

            answer = leading_options_answer(path_of(ctx), args, self._grammar(ctx))
            raise OptionError(answer or _unknown_option(path_of(ctx), first.name, known))
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, *rest = args
        if name == "help" and not ctx.resilient_parsing:
            if rest:
                return self.resolve_command(ctx, [*rest, "--help"])
            environment_of(ctx).echo(ctx.get_help())
            ctx.exit()
        if name in self.commands or ctx.resilient_parsing:
            return super().resolve_command(ctx, args)
        from ..habits.command_answers import command_answer

        if (answer := command_answer(path_of(ctx), args, self._grammar(ctx))) is not None:
            raise OptionError(answer)
        path = path_of(ctx)
        hint = (
            _meant(name, self.commands) or f"{' '.join(filter(None, ('g4', path)))} -h lists them"
        )
        raise OptionError(f"{path or 'g4'} has no command {name!r}; {hint}")

    def _grammar(self, ctx: Any) -> dict[str, dict[str, bool]]:
        """The options of each command in the group, and whether they take a value."""
        return {
            name: known_options(command, ctx)
            for name, command in self.commands.items()
            if isinstance(command, TyperCommand | TyperGroup)
        }

    def format_help(self, ctx: Any, formatter: Any) -> None:
        shown = _shown(self, ctx)
        if (columns := shutil.get_terminal_size().columns) < _NARROW:
            formatter.write("\n".join(_narrow_lines(shown, ctx, columns)))
        else:
            with _pipe_breaks():
                super(Group, shown).format_help(ctx, formatter)

    def get_usage(self, ctx: Any) -> str:
        return super(Group, _shown(self, ctx)).get_usage(ctx)

    def _main_shell_completion(
        self, ctx_args: Any, prog_name: str, complete_var: str | None = None
    ) -> None:
        # Typer wraps meanings at the terminal's width, but the scripts take each line for a word.
        with _columns(10_000):
            super()._main_shell_completion(
                ctx_args=ctx_args, prog_name=prog_name, complete_var=complete_var
            )


def known_options(command: Any, ctx: Any) -> dict[str, bool]:
    """The options of a command, and whether each takes a value."""
    return {
        flag: not (each.is_flag or each.count)
        for each in command.get_params(ctx)
        if isinstance(each, TyperOption)
        for flag in (*each.opts, *each.secondary_opts)
    }


def _unknown_option(path: str, name: str, known: Collection[str]) -> str:
    return f"{path or 'g4'} has no {name}; {_meant(name, known) or see_help(path)}"


def _meant(name: str, names: Collection[str]) -> str:
    found = similar(name, names)
    return f"did you mean {' or '.join(found)}?" if found else ""


def _shown(command: _Shown, ctx: Any) -> _Shown:
    """A copy to show; the parameters that parse the command line keep their types and ranges."""
    shown = copy(command)
    paragraphs = (command.help or "").split("\n\n")
    shown.help = "\n\n".join(" ".join(each.split()) for each in paragraphs)
    shown.params = [_without_type(copy(each)) for each in command.get_params(ctx)]
    # It is one of these parameters already.
    shown.add_help_option = False
    shown.epilog = "\n\n".join(_ending(path_of(ctx)))
    return shown


def path_of(ctx: Any) -> str:
    """The words of a command after the program's name."""
    words: list[str] = []
    while ctx.parent is not None:
        words.insert(0, ctx.info_name)
        ctx = ctx.parent
    return " ".join(words)


def _ending(path: str) -> Iterator[str]:
    if path in EXAMPLES:
        yield "\n".join(["Examples:", *(f"$ {line}" for line in EXAMPLES[path])])
    if not path:
        yield f"g4 COMMAND --help shows the options of a command.\n{PROJECT}"


def _without_type(parameter: Any) -> Any:
    parameter.min = parameter.max = None
    if isinstance(parameter, TyperArgument):
        # The name is shown in another column.
        parameter.display_type_rich = lambda ctx: None  # type: ignore[method-assign]
        dots = "..." if parameter.nargs != 1 else ""
        name = f"{parameter.metavar or parameter.name}{dots}"
        usage = name if parameter.required else f"[{name}]"
        parameter.get_usage_pieces = lambda ctx: [usage]  # type: ignore[method-assign]
    elif isinstance(parameter, TyperOption) and parameter.is_flag:
        parameter.metavar = ""
        parameter.show_default = False
    return parameter


def _narrow_lines(shown: TyperCommand | TyperGroup, ctx: Any, columns: int) -> Iterator[str]:
    """The help of a command for a narrow terminal: what each thing means is below its name."""

    def wrapped(text: str, indent: str = "") -> list[str]:
        return textwrap.wrap(
            text,
            columns,
            initial_indent=indent,
            subsequent_indent=indent,
            break_on_hyphens=False,
        )

    yield from wrapped(" ".join(shown.get_usage(ctx).split()))
    for paragraph in (shown.help or "").split("\n\n"):
        yield from ("", *wrapped(paragraph))
    title = None
    for name, panel, meaning in _entries(shown, ctx):
        if panel != title:
            title = panel
            yield from ("", f"{panel}:")
        yield from (*wrapped(name, "  "), *wrapped(meaning, "    "))
    for line in (shown.epilog or "").splitlines():
        yield from [""] if line.endswith(":") else []
        yield from wrapped(line) or [""]


def _entries(shown: TyperCommand | TyperGroup, ctx: Any) -> Iterator[tuple[str, str, str]]:
    """Name, panel and meaning of each argument, option and command."""
    parameters: list[Any] = [each for each in shown.params if not getattr(each, "hidden", False)]
    panels = dict.fromkeys(_panel_of(each) for each in parameters)
    for panel in panels:
        for each in parameters:
            if _panel_of(each) == panel:
                flags = ", ".join([*sorted(each.opts, key=len), *each.secondary_opts])
                is_argument = isinstance(each, TyperArgument)
                name = each.metavar if is_argument else f"{flags} {each.metavar or ''}".rstrip()
                yield name or each.name, panel, each.help or ""
    if isinstance(shown, TyperGroup):
        for name, command in shown.commands.items():
            if not command.hidden:
                yield name, "Commands", command.get_short_help_str(1_000)


def _panel_of(parameter: Any) -> str:
    other = "Arguments" if isinstance(parameter, TyperArgument) else "Options"
    return parameter.rich_help_panel or other


@contextmanager
def _pipe_breaks() -> Iterator[None]:
    """Within this, a closed pipe is an error as for other output; Rich ends the program with 1."""
    try:
        yield
    except SystemExit as end:
        if isinstance(end.__context__, BrokenPipeError):
            raise end.__context__ from None
        raise


@contextmanager
def _columns(columns: int) -> Iterator[None]:
    """Within this, texts are laid out for a terminal of this width."""
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = str(columns)
    try:
        yield
    finally:
        if before is None:
            del os.environ["COLUMNS"]
        else:
            os.environ["COLUMNS"] = before
