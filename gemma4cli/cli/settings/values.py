"""Values of settings, checked as the command line checks them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import typer

from ...checked_json import shown
from ...errors import OptionError
from ..output.usage_errors import plain
from .keys import MODELS, Setting

_TOML_TYPES: Mapping[type, tuple[str, set[type]]] = {
    bool: ("true or false", {bool}),
    int: ("a whole number", {int}),
    float: ("a number", {float, int}),
}
"""What a file must have for an option's type, in words and in Python; text for all others."""


def checked(
    setting: Setting, value: object, source: Path | str, key: str, context: typer.Context
) -> Any:
    """The value as the command line would take it. Raises OptionError."""
    if setting.option.multiple:
        values = value if isinstance(value, list) and isinstance(source, Path) else [value]
        return [text for each in values for text in _checked(setting, each, source, key, context)]
    return _checked(setting, value, source, key, context)


def _checked(
    setting: Setting, value: object, source: Path | str, key: str, context: typer.Context
) -> Any:
    where = f"{source}: {key}" if isinstance(source, Path) else source
    name_only = setting.option.metavar == "NAME"
    choices = get_args(setting.kind) if get_origin(setting.kind) is Literal else ()
    required, kinds = _TOML_TYPES.get(setting.kind, ("a name" if name_only else "text", {str}))
    if setting.option.metavar == "TIME":
        required, kinds = "a time", {float, int, str}
    if choices:
        required, kinds = f"one of {', '.join(map(str, choices))}", {type(c) for c in choices}
    wrong = OptionError(f"{where} must be {required}, not {shown(value)}")
    if isinstance(source, Path):
        if type(value) not in kinds or (value == "" and name_only):
            raise wrong
        value = _from_folder(setting, value, source.parent)
    try:
        several = setting.option.multiple
        return setting.option.process_value(context, [value] if several else value)
    except typer.BadParameter as exc:
        raise (
            wrong if choices else OptionError(f"{where} is {shown(value)}: {plain(exc.message)}")
        ) from exc


def _from_folder(setting: Setting, value: object, folder: Path) -> object:
    """A path, or a model like "./mine", relative to its file's folder; other values unchanged."""
    text = str(value)
    label, sign, named = text.rpartition("=") if setting.key == "adapter" else ("", "", text)
    if setting.kind is Path:
        return str(folder / Path(text).expanduser())
    if setting.key in MODELS and named.startswith(("./", "../")):
        return f"{label}{sign}{folder / named}"
    return value
