"""Errors to JSON and back, so that who asks raises what was raised where the model is.

The JSON is that of OpenAI's errors, with the class and its fields:

    {"message": ..., "type": ..., "class": "ContextLengthError", "fields": {"tokens": 9, ...}}
"""

from __future__ import annotations

from collections.abc import Mapping

from .. import errors
from ..errors import Gemma4Error, RemoteError

_LONGEST_MESSAGE = 4000


def fault_of(error: Gemma4Error) -> dict[str, object]:
    """An error as JSON data."""
    fields = {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in vars(error).items()
        if _is_plain(value) and not name.startswith("_")
    }
    return {"message": _line(str(error)), "class": type(error).__name__, "fields": fields}


def error_of(fault: object) -> Gemma4Error:
    """The error that JSON data stand for: of its class if g4 has it, otherwise RemoteError."""
    if not isinstance(fault, Mapping) or not isinstance(fault.get("message"), str):
        return RemoteError("the server has an error without a message")
    message = _line(fault["message"])
    kind = getattr(errors, str(fault.get("class")), None)
    if not (isinstance(kind, type) and issubclass(kind, Gemma4Error)):
        return RemoteError(f"the server says: {message}")
    # Not by its constructor, which would build the message from values that may be missing here.
    error = kind.__new__(kind, message)
    fields = fault.get("fields")
    for name, value in fields.items() if isinstance(fields, Mapping) else ():
        if isinstance(name, str) and _may_be_set(error, name) and _is_plain(value):
            setattr(error, name, tuple(value) if isinstance(value, list) else value)
    return error


def _is_plain(value: object) -> bool:
    if isinstance(value, list | tuple):
        return all(isinstance(each, str | int | float) for each in value)
    return isinstance(value, str | int | float | None)


def _may_be_set(error: Gemma4Error, name: str) -> bool:
    return name.isidentifier() and not name.startswith("_") and not hasattr(error, name)


def _line(message: str) -> str:
    return " ".join(message.split())[:_LONGEST_MESSAGE] or "an error without a message"
