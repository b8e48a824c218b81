"""Values of a command line as its parameters take them, mostly without Typer's conversion.

Typer converts with pydantic, whose import and validators take as long as all of the rest of the
command line. Most values need no conversion: options that are left out, text, and numbers as
anybody writes them. Typer gets the others, and everything that is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Literal, get_args, get_origin

_UNDECIDED = object()
_NUMBERS = {int: re.compile(r"[0-9]{1,15}"), float: re.compile(r"[0-9]{1,15}(\.[0-9]{1,15})?")}


def convert_without_typer(parameters: Iterable[Any]) -> None:
    """Make parameters leave to Typer only the values that need it; again, this changes nothing."""
    for each in parameters:
        if "get_runtime_param" not in vars(each):
            each.get_runtime_param = partial(_Conversion, each.get_runtime_param)


class _Conversion:
    """In place of Typer's object of this interface, which ``typers_own`` makes if it is needed."""

    def __init__(self, typers_own: Callable[[], Any]) -> None:
        self._typers_own = typers_own

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        """The value for the command. Raises the parser's BadParameter."""
        found = _converted(value, param)
        return self._typers_own().coerce(value, param, ctx) if found is _UNDECIDED else found


def _converted(value: Any, parameter: Any) -> Any:
    several = parameter.multiple or parameter.nargs != 1
    if value is None:
        return () if several else None
    kind, declared = parameter.type_descriptor.annotation, parameter.type_descriptor.parameter_info
    if several:
        is_text = kind == list[str] and isinstance(value, tuple | list)
        return list(value) if is_text and _are_text(value) else _UNDECIDED
    if declared.parser is not None:
        return _parsed(value, declared.parser)
    if kind is str:
        return value if isinstance(value, str) else _UNDECIDED
    if get_origin(kind) is Literal:
        return value if isinstance(value, str) and value in get_args(kind) else _UNDECIDED
    if kind in _NUMBERS:
        return _number(value, kind, declared.min, declared.max)
    return _UNDECIDED


def _are_text(values: tuple[Any, ...] | list[Any]) -> bool:
    return all(isinstance(each, str) for each in values)


def _parsed(value: Any, parser: Any) -> Any:
    try:
        return parser(value)
    except ValueError:
        return _UNDECIDED


def _number(value: Any, kind: type, low: float | None, high: float | None) -> Any:
    if not isinstance(value, str) or not _NUMBERS[kind].fullmatch(value):
        return _UNDECIDED
    number = kind(value)
    fits = (low is None or low <= number) and (high is None or number <= high)
    return number if fits else _UNDECIDED
