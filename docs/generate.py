"""The manual page, from the commands themselves: ``python docs/generate.py``."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, get_args, get_origin

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

from gemma4cli._version import __version__
from gemma4cli.cli.output.exit_codes import ExitCode
from gemma4cli.cli.run.options import SHARED
from gemma4cli.cli.settings.resolve import value_type

_INTRODUCTION = (
    "g4 runs Gemma 4 with MLX: it describes pictures, writes down speech, watches videos and "
    "talks. The answer, and nothing else, goes to standard output; progress, thoughts and notices "
    "go to standard error. A file named - is standard input. Nothing is downloaded unasked.",
    "The model is a folder, a repository of the Hugging Face hub that is in the local cache, or an "
    "alias (tiny, which is built in, e2b, e4b, 12b, 26b, 31b, e2b:8bit and the "
    "like). Where none is named, it is the largest Gemma 4 in the cache that fits the memory.",
)

_SETTINGS = (
    "Every option that is more than one call's has a setting of its name: --max-tokens is "
    "max_tokens. Settings are read from TOML files, with a table for what one command alone is to "
    "take, and from environment variables: G4_MAX_TOKENS for all commands, G4_CHAT_MAX_TOKENS for "
    "one. The command line wins, then the environment, then the project's files, the nearest "
    "first, then the user's. G4_QUIET=0 takes back a flag that a file sets. g4 config shows every "
    "setting, its value and where it comes from.",
)

_SETTINGS_EXAMPLE = """\
model = "e2b"
temperature = 0.7

[transcribe]
format = "srt"
language = "de"

[chat]
system = "Be brief."
"""

_VARIABLES: Mapping[str, str] = {
    "G4_OPTION, G4_COMMAND_OPTION": "Settings; see above.",
    "G4_IGNORE_MEMORY": "1 runs what takes more memory than there is.",
    "HF_HOME, HF_HUB_CACHE": "Where the hub's cache is, which models are taken from.",
    "NO_COLOR": "Colour is left out where it is set.",
    "XDG_CONFIG_HOME, XDG_STATE_HOME, XDG_CACHE_HOME": (
        "Where the user's settings, conversations and unfinished transcripts are kept."
    ),
}

_FILES: Mapping[str, str] = {
    ".g4.toml": "A project's settings, in the current folder or one above it.",
    "~/.config/g4/config.toml": "The user's settings.",
}

_STATUSES: Mapping[ExitCode, str] = {
    ExitCode.DONE: "Done.",
    ExitCode.FAILED: "Failed.",
    ExitCode.USAGE: "The command line or a setting is wrong.",
    ExitCode.INPUT: "An input is missing, unreadable or unsupported.",
    ExitCode.MODEL: "The model is missing, unsuited or cannot be loaded.",
    ExitCode.SOME_FAILED: "Some of several inputs failed.",
    ExitCode.INTERRUPTED: "Interrupted.",
}

_EXAMPLES = """\
g4 describe photo.jpg
g4 describe scan.png -p "What is the total?" -m 12b
g4 transcribe -f srt -o subtitles/ talks/
g4 video clip.mp4 -p "When does the door open?"
git diff | g4 chat -p "Write a commit message for this change."
"""


def manual(program: TyperGroup) -> str:
    """The page in the macros of man(7)."""
    return "".join(f"{line}\n" for line in _page(program))


def _page(program: TyperGroup) -> Iterator[str]:
    commands = list(_commands(program, "g4"))
    runners = [(name, each) for name, each in commands if _runs_a_model(each)]
    yield f'.TH G4 1 "" "g4 {__version__}" "User Commands"'
    yield ".SH NAME"
    yield rf"g4 \- {_text(program.help or '').rstrip('.')}"
    yield ".SH SYNOPSIS"
    for i, (name, command) in enumerate(commands):
        yield from ([".br"] if i else [])
        yield f"{_bold(name)} {' '.join(_synopsis(command))}".rstrip()
    yield ".SH DESCRIPTION"
    yield from _paragraphs(_INTRODUCTION)
    yield ".SH COMMANDS"
    for name, command in commands:
        yield f'.SS "{_text(name)}"'
        yield from _paragraphs((command.help or "").split("\n\n"))
        own = [p for p in command.params if not _runs_a_model(command) or p.name not in SHARED]
        yield from _parameters(command, own)
    yield ".SH OPTIONS OF ALL COMMANDS THAT RUN A MODEL"
    yield from _paragraphs([f"They are {', '.join(name for name, _ in runners)}."])
    _, some = runners[0]
    yield from _parameters(some, [p for p in some.params if p.name in SHARED])
    yield ".SH SETTINGS"
    yield from _paragraphs(_SETTINGS)
    yield from _block(_SETTINGS_EXAMPLE)
    for title, terms in (("ENVIRONMENT", _VARIABLES), ("FILES", _FILES)):
        yield f".SH {title}"
        yield from _terms({_bold(term): meaning for term, meaning in terms.items()})
    yield ".SH EXIT STATUS"
    yield from _terms({_bold(str(int(code))): meaning for code, meaning in _STATUSES.items()})
    yield ".SH EXAMPLES"
    yield from _block(_EXAMPLES)


def _commands(group: TyperGroup, prefix: str) -> Iterator[tuple[str, TyperCommand]]:
    """Every command with its full name, those of groups too."""
    for name, command in group.commands.items():
        if isinstance(command, TyperGroup):
            yield from _commands(command, f"{prefix} {name}")
        elif isinstance(command, TyperCommand) and not command.hidden:
            yield f"{prefix} {name}", command


def _runs_a_model(command: TyperCommand) -> bool:
    return {parameter.name for parameter in command.params} >= SHARED


def _synopsis(command: TyperCommand) -> Iterator[str]:
    if any(isinstance(each, TyperOption) for each in command.params):
        yield r"[\fIOPTION\fR]..."
    for argument in command.params:
        if isinstance(argument, TyperArgument):
            many = "..." if argument.nargs != 1 else ""
            name = f"{_italic(_placeholder(argument, command))}{many}"
            yield name if argument.required else f"[{name}]"


def _parameters(command: TyperCommand, parameters: Sequence[Any]) -> Iterator[str]:
    """Arguments, then options, each with what it means."""
    terms = {}
    for each in parameters:
        if each.hidden:
            continue
        if isinstance(each, TyperArgument):
            term = _italic(_placeholder(each, command))
        else:
            flags = [*sorted(each.opts, key=len), *each.secondary_opts]
            term = ", ".join(map(_bold, flags))
            if not each.is_flag:
                term += f" {_italic(_placeholder(each, command))}"
        terms[term] = f"{each.help or ''}{_default(each)}"
    yield from _terms(terms)


def _placeholder(parameter: Any, command: TyperCommand) -> str:
    """What stands for a value: its metavar, its choices, or its type."""
    if parameter.metavar is not None:
        return str(parameter.metavar)
    assert command.callback is not None, "a command has a function"
    kind = value_type(inspect.signature(command.callback).parameters[parameter.name].annotation)
    if get_origin(kind) is Literal:
        return "|".join(map(str, get_args(kind)))
    return {int: "N", float: "X"}.get(kind, "TEXT")


def _default(parameter: Any) -> str:
    if isinstance(parameter, TyperArgument) or parameter.default in (None, False):
        return ""
    default = parameter.opts[0] if parameter.default is True else parameter.default
    return f" (default: {default})"


def _terms(terms: Mapping[str, str]) -> Iterator[str]:
    for term, meaning in terms.items():
        yield ".TP"
        yield term
        yield _text(meaning) or r"\&"


def _paragraphs(paragraphs: Sequence[str]) -> Iterator[str]:
    for paragraph in paragraphs:
        yield ".PP"
        yield _text(" ".join(paragraph.split()))


def _block(text: str) -> Iterator[str]:
    """Lines as they are."""
    yield from (".PP", ".RS 4", ".EX")
    yield from map(_text, text.splitlines())
    yield from (".EE", ".RE")


def _bold(text: str) -> str:
    return rf"\fB{_text(text)}\fR"


def _italic(text: str) -> str:
    return rf"\fI{_text(text)}\fR"


def _text(text: str) -> str:
    """Text that groff takes for nothing else; a dash that is typed stays one when it is copied."""
    escaped = text.replace("\\", r"\e").replace("-", r"\-").replace("~", r"\(ti")
    for plain, sign in (("'", r"\(aq"), ("`", r"\(ga"), ("^", r"\(ha"), ('"', r"\(dq")):
        escaped = escaped.replace(plain, sign)
    return rf"\&{escaped}" if escaped.startswith(".") else escaped


def main() -> None:
    """Print the page of g4."""
    from gemma4cli.cli.app import app

    program = typer.main.get_command(app)
    assert isinstance(program, TyperGroup), "g4 has commands"
    sys.stdout.write(manual(program))


if __name__ == "__main__":
    main()
