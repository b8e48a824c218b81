"""Commands whose help shows names, not Python's types and ranges, and ends with examples."""

from __future__ import annotations

import os
import shutil
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from typing import Any, TypeVar

from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

from .examples import EXAMPLES, PROJECT

_NARROW = 60
"""On fewer columns a table has a word per line; help is a list then."""

_Shown = TypeVar("_Shown", bound=TyperCommand | TyperGroup)


class Command(TyperCommand):
    """A command with plain help."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        shown = _shown(self, ctx)
        if (columns := shutil.get_terminal_size().columns) < _NARROW:
            formatter.write("\n".join(_narrow_lines(shown, ctx, columns)))
        else:
            super(Command, shown).format_help(ctx, formatter)


class Group(TyperGroup):
    """A group of commands with plain help."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        shown = _shown(self, ctx)
        if (columns := shutil.get_terminal_size().columns) < _NARROW:
            formatter.write("\n".join(_narrow_lines(shown, ctx, columns)))
        else:
            super(Group, shown).format_help(ctx, formatter)

    def _main_shell_completion(
        self, ctx_args: Any, prog_name: str, complete_var: str | None = None
    ) -> None:
        # Typer wraps meanings at the terminal's width, but the scripts take each line for a word.
        with _columns(10_000):
            super()._main_shell_completion(
                ctx_args=ctx_args, prog_name=prog_name, complete_var=complete_var
            )


def _shown(command: _Shown, ctx: Any) -> _Shown:
    """A copy to show; the parameters that parse the command line keep their types and ranges."""
    shown = copy(command)
    paragraphs = (command.help or "").split("\n\n")
    shown.help = "\n\n".join(" ".join(each.split()) for each in paragraphs)
    shown.params = [_without_type(copy(each)) for each in command.get_params(ctx)]
    # It is one of these parameters already.
    shown.add_help_option = False
    shown.epilog = "\n\n".join(_ending(_path_of(ctx)))
    return shown


def _path_of(ctx: Any) -> str:
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
