"""Python functions as tools: a typed function with a docstring says all that the model must know.

def get_weather(city: str, days: int = 1) -> str:
    \"\"\"The weather in a city.

    Args:
        city: Its name, in English.
        days: How many days ahead.
    \"\"\"
"""

from __future__ import annotations

import inspect
import json
import re
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from ..errors import FunctionsError
from ..messages import ToolCall
from ..processing.tool_calls import NAME

_LONGEST_RESULT = 50_000
"""Characters; a longer result is cut, so that it does not fill the context."""
_SECTION = re.compile(r"(Args|Arguments|Parameters|Returns|Raises|Yields|Examples?|Notes?):\s*$")
_PARAMETER = re.compile(r"\*{0,2}(\w+)\s*(\([^)]*\))?\s*:\s*(.*)")
_PLAIN: Mapping[object, str] = {
    str: "string",
    int: "integer",
    float: "number",
    bool: "boolean",
    type(None): "null",
    list: "array",
    tuple: "array",
    set: "array",
    dict: "object",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Function:
    """A function that the model may call.

    Attributes:
        name: Its name.
        declaration: What the model is told of it, as a tool in OpenAI's form.
        run: The function; it takes the arguments by name.
    """

    name: str
    declaration: Mapping[str, Any]
    run: Callable[..., object]


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """What a call of a function gave: text for the model, and whether the function failed."""

    text: str
    failed: bool = False


def function_of(function: Callable[..., object], name: str | None = None) -> Function:
    """Make a tool of a Python function; its types and its docstring say how it is called.

    Args:
        function: The function, called with keyword arguments.
        name: What the model calls it. None means its own name.

    Returns:
        The tool, for ``Tools``; its ``declaration`` is for ``Chat``.

    Raises:
        FunctionsError: It has no name, or a type that the model cannot write.
    """
    name = name or str(getattr(function, "__name__", ""))
    if not NAME.fullmatch(name):
        raise FunctionsError(f"{name!r}: a tool needs a name")
    summary, described = _documentation(inspect.getdoc(function) or "")
    try:
        hints = get_type_hints(function, include_extras=True)
        parameters = inspect.signature(function).parameters.values()
    except (NameError, TypeError, ValueError) as exc:
        raise FunctionsError(f"{name}: its parameters cannot be read ({exc})") from exc
    properties: dict[str, Any] = {}
    required: list[str] = []
    for each in parameters:
        if each.kind in (each.VAR_POSITIONAL, each.VAR_KEYWORD):
            continue
        if each.kind is each.POSITIONAL_ONLY:
            raise FunctionsError(f"{name}: {each.name} cannot be passed by name")
        schema = _schema(hints.get(each.name, Any), f"{name}: {each.name}")
        if described.get(each.name) and "description" not in schema:
            schema["description"] = described[each.name]
        if each.default is inspect.Parameter.empty:
            required.append(each.name)
        elif each.default is not None and type(each.default) in (str, int, float, bool):
            schema["default"] = each.default
        properties[each.name] = schema
    declared: dict[str, Any] = {"type": "object", "properties": properties}
    if required:
        declared["required"] = required
    function_data = {"name": name, "description": summary, "parameters": declared}
    return Function(
        name=name, declaration={"type": "function", "function": function_data}, run=function
    )


def functions_in(path: Path) -> tuple[Function, ...]:
    """The functions that a Python file defines, but those whose names begin with an underscore.

    The file is executed. Raises FunctionsError if that fails, or if it defines none.
    """
    try:
        code = path.read_bytes()
    except FileNotFoundError as exc:
        raise FunctionsError(f"{path}: no such file") from exc
    except OSError as exc:
        raise FunctionsError(f"{path}: cannot be read ({exc.strerror or exc})") from exc
    module = types.ModuleType("g4_functions")
    module.__file__ = str(path)
    # Dataclasses and annotations look a module up by its name.
    sys.modules[module.__name__] = module
    try:
        exec(compile(code, str(path), "exec"), module.__dict__)
    except (Exception, SystemExit) as exc:
        raise FunctionsError(f"{path}: {_fault(exc, path)}") from exc
    found = [
        function_of(value, name)
        for name, value in vars(module).items()
        if not name.startswith("_")
        and inspect.isfunction(value)
        and value.__module__ == module.__name__
    ]
    if not found:
        raise FunctionsError(f"{path}: defines no functions")
    return tuple(found)


def _fault(error: BaseException, path: Path) -> str:
    """An error in the user's file, with the line where it was."""
    line = error.lineno if isinstance(error, SyntaxError) else None
    trace = error.__traceback__
    while line is None and trace is not None:
        if trace.tb_frame.f_code.co_filename == str(path):
            line = trace.tb_lineno
        trace = trace.tb_next
    where = "" if line is None else f"line {line}: "
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    return " ".join(f"{where}{type(error).__name__}: {text}".split())


def run_call(function: Function, call: ToolCall) -> Result:
    """Run a function with a call's arguments; what it raises is a result, too."""
    try:
        inspect.signature(function.run).bind(**call.arguments)
    except TypeError as exc:
        return Result(text=f"error: {exc}", failed=True)
    try:
        value = function.run(**call.arguments)
    except (Exception, SystemExit) as exc:  # noqa: BLE001 - the model is told, and may try again
        return Result(text=f"error: {type(exc).__name__}: {exc}", failed=True)
    return Result(text=_shortened(_text(value)))


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    try:
        return json.dumps(value, ensure_ascii=False, default=str)
    except (TypeError, ValueError, RecursionError):
        return str(value)


def _shortened(text: str) -> str:
    if len(text) <= _LONGEST_RESULT:
        return text
    return f"{text[:_LONGEST_RESULT]}\n(cut; {len(text) - _LONGEST_RESULT:,} more characters)"


def _schema(hint: object, where: str) -> dict[str, Any]:
    """The JSON schema of a parameter's type."""
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any or hint is object:
        return {}
    if origin is Annotated:
        texts = [each for each in arguments[1:] if isinstance(each, str)]
        schema = _schema(arguments[0], where)
        return {**schema, "description": texts[0]} if texts else schema
    if origin is Literal:
        return _literal(arguments)
    if origin in (Union, types.UnionType):
        return _union(arguments, where)
    if isinstance(hint, type) and origin is None and hint in _PLAIN:
        return {"type": _PLAIN[hint]}
    if origin in (dict, Mapping) or _is(origin, Mapping):
        values = _schema(arguments[1], where) if len(arguments) == 2 else {}
        return {"type": "object", "additionalProperties": values or True}
    if origin is tuple and arguments and arguments[-1] is not Ellipsis:
        items = [_schema(each, where) for each in arguments]
        return {"type": "array", "prefixItems": items, "items": False, "minItems": len(items)}
    if origin in (list, tuple, set, frozenset) or _is(origin, Sequence):
        return {"type": "array", "items": _schema(arguments[0], where) if arguments else {}}
    if _is_typed_dict(hint):
        return _typed_dict(hint, where)
    if isinstance(hint, type) and issubclass(hint, str | int | float):
        return {"type": _PLAIN[next(kind for kind in (str, bool, int, float) if _is(hint, kind))]}
    raise FunctionsError(
        f"{where} has the type {_name(hint)}, which the model cannot write: use str, int, float, "
        "bool, list, dict, Literal or Optional"
    )


def _is(hint: object, kind: type) -> bool:
    return isinstance(hint, type) and issubclass(hint, kind)


def _name(hint: object) -> str:
    return hint.__name__ if isinstance(hint, type) else str(hint)


def _literal(values: Sequence[object]) -> dict[str, Any]:
    schema: dict[str, Any] = {"enum": list(values)}
    kinds = {_PLAIN.get(type(each)) for each in values}
    if len(kinds) == 1 and None not in kinds:
        schema = {"type": kinds.pop(), **schema}
    return schema


def _union(kinds: Sequence[object], where: str) -> dict[str, Any]:
    schemas = [_schema(each, where) for each in kinds if each is not type(None)]
    if len(schemas) == len(kinds):
        return {"anyOf": schemas}
    if len(schemas) == 1:
        return {**schemas[0], "nullable": True}
    return {"anyOf": [*schemas, {"type": "null"}]}


def _is_typed_dict(hint: object) -> bool:
    return isinstance(hint, type) and issubclass(hint, dict) and hasattr(hint, "__required_keys__")


def _typed_dict(hint: Any, where: str) -> dict[str, Any]:
    hints = get_type_hints(hint, include_extras=True)
    return {
        "type": "object",
        "properties": {key: _schema(each, where) for key, each in hints.items()},
        "required": sorted(hint.__required_keys__),
    }


def _documentation(text: str) -> tuple[str, dict[str, str]]:
    """The first paragraph of a docstring, and what its Args say of each parameter."""
    summary = " ".join(text.strip().partition("\n\n")[0].split())
    described: dict[str, str] = {}
    lines = iter(text.splitlines())
    for line in lines:
        if re.match(r"(Args|Arguments|Parameters):\s*$", line):
            break
    indent: int | None = None
    name = ""
    for line in lines:
        stripped = line.strip()
        depth = len(line) - len(line.lstrip())
        if not stripped:
            continue
        if depth == 0 or _SECTION.match(stripped):
            break
        indent = depth if indent is None else indent
        found = _PARAMETER.match(stripped) if depth <= indent else None
        if found:
            name, rest = found[1], found[3]
            described[name] = rest
        elif name:
            described[name] = f"{described[name]} {stripped}".strip()
    return summary, described
