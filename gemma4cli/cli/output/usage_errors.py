"""What the parser complains about, as one line in the words of this program."""

from __future__ import annotations

import re
from typing import Any

from .examples import EXAMPLES

_PLAIN = (
    (r"Option '(\S+)' requires an argument", r"\1 needs a value"),
    (r"Option '(\S+)' does not take a value", r"\1 takes no value"),
    (
        r"(Input should be a valid|Unable to parse input string as an) integer.*",
        "must be a whole number",
    ),
    (r"(Input should be a valid|Unable to parse input string as a) number.*", "must be a number"),
    (r"Input should be a finite number", "must be a finite number"),
    (r"Input should be greater than or equal to (\S+)", r"must be at least \1"),
    (r"Input should be less than or equal to (\S+)", r"must be at most \1"),
    (r"Value error, (.*)", r"\1"),
)
"""Messages of typer and pydantic, whole and without a period, and what to say instead."""

_EXTRA = re.compile(r"Got unexpected extra argument\(s\) \((.*)\)")


def plain(message: str) -> str:
    """A message of the parser in the words of this program."""
    message = message.strip().removesuffix(".")
    for pattern, instead in _PLAIN:
        if (found := re.fullmatch(pattern, message)) is not None:
            return found.expand(instead)
    return message


def label(parameter: Any) -> str:
    """What a person calls a parameter: its metavar if it is an argument, else its option."""
    if parameter.param_type_name == "argument":
        return str(parameter.metavar)
    return str(max(parameter.opts, key=len))


def usage_line(error: Any, path: str) -> str:
    """What is wrong with the command line of a command, and what to do.

    ``error`` is a usage error of the parser, ``path`` the command without "g4".
    """
    name, parameter = path or "g4", getattr(error, "param", None)
    if parameter is not None and not error.message:
        examples = EXAMPLES.get(path, ())
        hint = f"; for example: {examples[0]}" if examples else ""
        return f"{name} needs {label(parameter)}{hint}"
    if parameter is not None:
        said = plain(error.message)
        return f"{label(parameter)}{' ' if said.startswith('must ') else ': '}{said}"
    if (extra := _EXTRA.fullmatch(error.message)) is not None:
        return f"{name} does not take {extra[1]}; {see_help(path)}"
    return plain(error.format_message())


def see_help(path: str) -> str:
    """Where the options of a command are, or the commands of the program ("")."""
    return f"g4 {path} -h lists the options" if path else "g4 -h lists the commands"
