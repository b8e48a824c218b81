"""The manual page, in the macros of man(7)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from g4_commands import (
    arguments,
    commands,
    default_of,
    different_parameters,
    flags,
    own_parameters,
    runs_a_model,
    shared_parameters,
    value_name,
)
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

from gemma4cli._version import __version__
from gemma4cli.cli.output.examples import EXAMPLES
from gemma4cli.cli.output.exit_codes import ExitCode

_INTRODUCTION = (
    "g4 runs Gemma 4 with MLX: it describes images and videos, answers questions about them, "
    "transcribes speech and chats. Only the answer goes to standard output; progress, thoughts and "
    "notices go to standard error. A file named - is standard input. Nothing is downloaded unless "
    "asked for.",
    "The model is a folder, a Hugging Face hub repository in the local cache, or an alias (tiny, "
    "which is built in, e2b, e4b, 12b, 26b, 31b, e2b:8bit and so on). By default, it is the "
    "largest Gemma 4 in the cache that fits in memory.",
)

_SETTINGS = (
    "Every option that makes sense for more than one call can be set under its name: --max-tokens "
    "is max_tokens. Settings are read from TOML files, which may have a table for each command, "
    "and from environment variables: G4_MAX_TOKENS for all commands, G4_CHAT_MAX_TOKENS for one. "
    "The command line wins, then the environment, then the project's files, nearest first, then "
    "the user's. G4_QUIET=0 turns off a flag that a file turns on. g4 config shows every setting, "
    "its value and where it comes from.",
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
    "G4_IGNORE_MEMORY": "1 runs models that do not fit in memory.",
    "G4_KEPT_PROMPTS_MB": "The most that a server keeps of prompts, in MB; 0 keeps none.",
    "G4_MAX_STREAM_MB": "The most that is read from a pipe, in MB.",
    "G4_PROMPT_CACHE_MB": "The most that a prompt cache takes, in MB; 0 keeps none.",
    "G4_NO_NATIVE": "1 computes with MLX alone on a Linux CPU, or installs g4 so.",
    "HF_HOME, HF_HUB_CACHE": "Where the hub cache is.",
    "NO_COLOR": "No color if set.",
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
    ExitCode.MODEL: "The model is missing, unsuitable or cannot be loaded.",
    ExitCode.SOME_FAILED: "Some of several inputs failed.",
    ExitCode.HUNG_UP: "Ended by SIGHUP.",
    ExitCode.INTERRUPTED: "Interrupted.",
    ExitCode.TERMINATED: "Ended by SIGTERM.",
}


def manual(program: TyperGroup) -> str:
    """The page in the macros of man(7)."""
    return "".join(f"{line}\n" for line in _page(program))


def _page(program: TyperGroup) -> Iterator[str]:
    listed = list(commands(program))
    runners = [name for name, command in listed if runs_a_model(command)]
    yield f'.TH G4 1 "" "g4 {__version__}" "User Commands"'
    yield ".SH NAME"
    yield rf"g4 \- {_text(program.help or '').rstrip('.')}"
    yield ".SH SYNOPSIS"
    for i, (name, command) in enumerate(listed):
        yield from ([".br"] if i else [])
        yield f"{_bold(name)} {' '.join(_synopsis(command))}".rstrip()
    yield ".SH DESCRIPTION"
    yield from _paragraphs(_INTRODUCTION)
    yield ".SH COMMANDS"
    for name, command in listed:
        yield f'.SS "{_text(name)}"'
        yield from _paragraphs((command.help or "").split("\n\n"))
        yield from _parameters([*own_parameters(command), *different_parameters(command)])
    yield ".SH OPTIONS OF ALL COMMANDS THAT RUN A MODEL"
    yield from _paragraphs(
        [f"These are {', '.join(runners)}; some lack those that do not apply to them."]
    )
    yield from _parameters(shared_parameters(program))
    yield ".SH SETTINGS"
    yield from _paragraphs(_SETTINGS)
    yield from _block(_SETTINGS_EXAMPLE)
    for title, terms in (("ENVIRONMENT", _VARIABLES), ("FILES", _FILES)):
        yield f".SH {title}"
        yield from _terms({_bold(term): meaning for term, meaning in terms.items()})
    yield ".SH EXIT STATUS"
    yield from _terms({_bold(str(int(code))): meaning for code, meaning in _STATUSES.items()})
    yield ".SH EXAMPLES"
    names = [name.removeprefix("g4 ") for name, _ in listed]
    yield from _block("\n".join(line for name in names for line in EXAMPLES.get(name, ())))


def _synopsis(command: TyperCommand) -> Iterator[str]:
    if any(isinstance(each, TyperOption) for each in command.params):
        yield r"[\fIOPTION\fR]..."
    for name, required, several in arguments(command):
        term = f"{_italic(name)}{'...' if several else ''}"
        yield term if required else f"[{term}]"


def _parameters(parameters: Sequence[Any]) -> Iterator[str]:
    """Arguments, then options, each with what it means."""
    terms = {}
    for each in parameters:
        if isinstance(each, TyperArgument):
            term = _italic(value_name(each))
        else:
            term = ", ".join(map(_bold, flags(each)))
            if not each.is_flag:
                term += f" {_italic(value_name(each))}"
        default = default_of(each)
        terms[term] = f"{each.help or ''}{f' (default: {default})' if default else ''}"
    yield from _terms(terms)


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
