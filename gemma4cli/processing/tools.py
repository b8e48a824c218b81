"""Gemma 4's syntax for functions: their declarations, calls and results.

    declaration:get_weather{description:<|"|>...<|"|>,parameters:{properties:{...},type:...}}
    call:get_weather{city:<|"|>Paris<|"|>,days:3}
    response:get_weather{value:<|"|>21 degrees<|"|>}

Strings are enclosed in ``<|"|>`` control tokens, so they may contain any character. Keys are sorted
case-insensitively. For incomplete schemas the output matches that of the published chat template,
even if it looks odd.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..errors import ConversationError
from .prompt_tokens import Control, PromptPart, Text

_QUOTE = Control('<|"|>')
_STANDARD_KEYS = frozenset({"description", "type", "properties", "required", "nullable"})


def declaration(tool: Mapping[str, Any]) -> Iterator[PromptPart]:
    """One function that the model may call, in the OpenAI form with a JSON schema.

    {"type": "function", "function": {"name": "now", "description": "The time"}}
    ->  <|tool> declaration:now{description: <|"|> The time <|"|> } <tool|>
    """
    function = tool.get("function")
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise ConversationError('a tool must be {"type": "function", "function": {"name": ...}}')
    yield Control("<|tool>")
    yield Text(f"declaration:{function['name']}{{description:")
    yield from _quoted(function.get("description", ""))
    parameters = function.get("parameters")
    if parameters:
        yield Text(",parameters:{")
        yield from _parameters(_mapping(parameters, "parameters"))
    if "response" in function:
        yield Text(",response:{")
        yield from _response(_mapping(function["response"], "response"))
    yield Text("}")
    yield Control("<tool|>")


def call(name: str, arguments: Mapping[str, Any]) -> Iterator[PromptPart]:
    """A call that the model made.

    ("get_weather", {"city": "Paris", "days": 3})
    ->  <|tool_call> call:get_weather{city: <|"|> Paris <|"|> ,days:3} <tool_call|>
    """
    yield Control("<|tool_call>")
    yield Text(f"call:{name}{{")
    yield from _entries(arguments, quote_keys=False)
    yield Text("}")
    yield Control("<tool_call|>")


def argument(value: Any) -> Iterator[PromptPart]:
    """A value as a call has it: ``["Paris", 3]``  ->  ``[ <|"|> Paris <|"|> ,3]``."""
    return _value(value, quote_keys=False)


def result(name: str, text: str) -> Iterator[PromptPart]:
    """The result of a call.

    ("get_weather", "21 degrees")
    ->  <|tool_response> response:get_weather{value: <|"|> 21 degrees <|"|> } <tool_response|>
    """
    yield Control("<|tool_response>")
    yield Text(f"response:{name}{{value:")
    yield from _quoted(text)
    yield Text("}")
    yield Control("<tool_response|>")


def _parameters(schema: Mapping[str, Any]) -> Iterator[PromptPart]:
    """The schema of all parameters, after its opening brace.

    The closing brace is written with the type, so a schema without a type stays open, as in the
    template.
    """
    required = schema.get("required")
    if properties := schema.get("properties"):
        yield Text("properties:{")
        yield from _properties(_mapping(properties, "properties"))
        yield Text("},")
    if required:
        yield from _required(required)
        yield Text(",")
    if schema.get("type"):
        yield Text("type:")
        yield from _quoted(_upper(schema))
        yield Text("}")


def _response(schema: Mapping[str, Any]) -> Iterator[PromptPart]:
    """The schema of a function's result, after its opening brace; only its type closes it."""
    if schema.get("description"):
        yield Text("description:")
        yield from _quoted(schema["description"])
        yield Text(",")
    if _upper(schema) == "OBJECT":
        yield Text("type:")
        yield from _quoted("OBJECT")
        yield Text("}")


def _properties(properties: Mapping[str, Any]) -> Iterator[PromptPart]:
    """Named schemas, separated by commas: ``city:{description:...,type:...},days:{...}``."""
    first = True
    for key, value in sorted_entries(properties):
        if not first:
            yield Text(",")
        first = False
        yield Text(f"{key}:{{")
        # A schema may be just true or false, without fields.
        yield from _property(value if isinstance(value, Mapping) else {})


def _property(schema: Mapping[str, Any]) -> Iterator[PromptPart]:
    """One schema after its opening brace; every field ends in a comma, then comes the type."""
    kind = _upper(schema)
    if schema.get("description"):
        yield Text("description:")
        yield from _quoted(schema["description"])
        yield Text(",")
    if kind == "STRING" and schema.get("enum"):
        yield Text("enum:")
        yield from _value(schema["enum"])
        yield Text(",")
    items = schema.get("items")
    if kind == "ARRAY" and isinstance(items, Mapping) and items:
        yield Text("items:{")
        yield from _items(items)
        yield Text("},")
    if schema.get("nullable"):
        yield Text("nullable:true,")
    if kind == "OBJECT":
        yield from _object(schema)
    yield Text("type:")
    yield from _quoted(kind)
    yield Text("}")


def _object(schema: Mapping[str, Any]) -> Iterator[PromptPart]:
    """The properties of an object, or its nonstandard keys if it declares none."""
    inner = schema.get("properties")
    if not isinstance(inner, Mapping):
        inner = {key: value for key, value in schema.items() if key not in _STANDARD_KEYS}
    yield Text("properties:{")
    yield from _properties(inner)
    yield Text("},")
    if schema.get("required"):
        yield from _required(schema["required"])
        yield Text(",")


def _items(items: Mapping[str, Any]) -> Iterator[PromptPart]:
    """The schema of an array's items: all its keys, sorted, without null values."""
    first = True
    for key, value in sorted_entries(items):
        if value is None:
            continue
        if not first:
            yield Text(",")
        first = False
        if key == "properties":
            yield Text("properties:{")
            yield from _properties(value if isinstance(value, Mapping) else {})
            yield Text("}")
        elif key == "required":
            yield from _required(value)
        elif key == "type":
            yield Text("type:")
            kinds = [str(kind).upper() for kind in value] if isinstance(value, list) else None
            yield from _value(str(value).upper() if kinds is None else kinds)
        else:
            yield Text(f"{key}:")
            yield from _value(value)


def _required(names: Any) -> Iterator[PromptPart]:
    """``required:[<|"|>city<|"|>,<|"|>days<|"|>]``."""
    if isinstance(names, str) or not isinstance(names, Sequence):
        raise ConversationError("a tool's required must be a list of names")
    yield Text("required:[")
    for index, name in enumerate(names):
        if index:
            yield Text(",")
        yield from _quoted(name)
    yield Text("]")


def _value(value: Any, *, quote_keys: bool = True) -> Iterator[PromptPart]:
    """A JSON value: strings and, in declarations, keys are enclosed in quote tokens."""
    if value is None:
        yield Text("null")
    elif isinstance(value, str):
        yield from _quoted(value)
    elif isinstance(value, bool):
        yield Text("true" if value else "false")
    elif isinstance(value, Mapping):
        yield Text("{")
        yield from _entries(value, quote_keys=quote_keys)
        yield Text("}")
    elif isinstance(value, Sequence):
        yield Text("[")
        for index, item in enumerate(value):
            if index:
                yield Text(",")
            yield from _value(item, quote_keys=quote_keys)
        yield Text("]")
    else:
        yield Text(str(value))


def _entries(mapping: Mapping[str, Any], *, quote_keys: bool) -> Iterator[PromptPart]:
    """``key:value,key:value``, without the braces."""
    first = True
    for key, value in sorted_entries(mapping):
        if not first:
            yield Text(",")
        first = False
        if quote_keys:
            yield from _quoted(key)
        else:
            yield Text(str(key))
        yield Text(":")
        yield from _value(value, quote_keys=quote_keys)


def _quoted(value: Any) -> tuple[PromptPart, ...]:
    return (_QUOTE, Text(str(value)), _QUOTE)


def sorted_entries(mapping: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """The entries in the order in which declarations and calls have them."""
    return sorted(mapping.items(), key=lambda entry: str(entry[0]).lower())


def _upper(schema: Mapping[str, Any]) -> str:
    return str(schema.get("type", "")).upper()


def _mapping(value: Any, what: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ConversationError(f"a tool's {what} must be a JSON object")
    return value
