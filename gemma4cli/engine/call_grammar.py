"""The grammar of an answer that may call functions, made of their JSON schemas.

    start: prose call*
    call:  <|tool_call> "call:get_weather{" "city:" <|"|> TEXT <|"|> "}" <tool_call|>

The grammar has no whitespace, and keys in the order in which the prompt shows them, so that a later
prompt repeats a call as it was generated.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache

from ..checked_json import JsonError, parse, shown
from ..errors import OptionError
from ..options import ToolChoice
from ..processing.tokenizer import Tokenizer
from ..processing.tool_calls import CALL_BEGIN, CALL_END, NAME
from .constrain import checked_schema
from .schema_depth import check_depth
from .schema_size import check_size
from .tool_schemas import Schemas
from .value_grammar import SHARED, ValueWriter

_MOST_TOOLS = 256
_OPTIONS = '%llguidance {"no_forcing": true}'
"""Or else text in a schema that spells a control token would be taken for it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tool:
    """A function that the model may call; ``parameters`` is a JSON schema, or None."""

    name: str
    parameters: object
    strict: bool


@lru_cache(maxsize=16)
def parsed_tools(tools: str) -> tuple[Tool, ...]:
    """The functions in JSON text of OpenAI's form. Raises OptionError."""
    try:
        listed = parse(tools)
    except JsonError as exc:
        raise OptionError(f"the tools are not a JSON list: {exc}") from exc
    if not isinstance(listed, list):
        raise OptionError(f"the tools are not a JSON list: {shown(listed)}")
    if len(listed) > _MOST_TOOLS:
        raise OptionError(f"there are {len(listed):,} functions; the most are {_MOST_TOOLS}")
    found = [_tool(each) for each in listed]
    for number, each in enumerate(found):
        if each.name in [other.name for other in found[:number]]:
            raise OptionError(f"the function {each.name} is declared twice")
    return tuple(found)


def _tool(declared: object) -> Tool:
    function = declared.get("function") if isinstance(declared, dict) else None
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(function, dict) or not isinstance(name, str):
        raise OptionError('a tool must be {"type": "function", "function": {"name": ...}}')
    if not NAME.fullmatch(name):
        raise OptionError(
            f"a function's name must be letters, digits, and _ . : / -, not {shown(name)}"
        )
    parameters = function.get("parameters")
    check_depth(parameters)
    check_size(parameters)
    return Tool(name=name, parameters=parameters, strict=function.get("strict") is True)


@lru_cache(maxsize=32)
def call_grammar(
    tools: str,
    tokenizer: Tokenizer,
    *,
    choice: ToolChoice,
    parallel: bool,
    in_thought: bool,
    think: bool = True,
    schema: str | None = None,
    loose: bool = False,
) -> str:
    """The grammar in llguidance's Lark format; with ``in_thought`` it begins inside of a thought.

    An answer without calls matches ``schema``, if there is one. With ``loose``, calls may have any
    arguments, unless the function is strict. Without ``think`` no thought precedes required calls.

    Raises OptionError for tools that are not valid, strict ones that cannot be enforced, and if
    calls are required and there are no functions.
    """
    declared = parsed_tools(tools)
    if choice == "required" and not declared:
        raise OptionError("a call is required, but there are no functions")
    writer = ValueWriter(tokenizer)
    begins = f"text? {writer.control('<channel|>')} " if in_thought else ""
    calls = {
        "none": "",
        "auto": "call*" if parallel else "call?",
        "required": "call+" if parallel else "call",
    }[choice if declared else "none"]
    prose = "text? (thought text?)*"
    thought = "" if in_thought or not think else "thought?"
    if choice == "required":
        answer = f"{thought} {calls}"
    elif schema is not None:
        called = {"call*": "(call+ | document)", "call?": "(call | document)"}
        answer = f"{thought} {called.get(calls, 'document')}"
    else:
        answer = f"{prose} {calls}"
    rules = [_OPTIONS, f"start: {begins}{answer}", _thought(writer), writer.string(), SHARED]
    if schema is not None:
        rules.append(f"document: %json {_document(schema)}")
    if calls:
        rules.append("call: " + " | ".join(_call(writer, each, loose=loose) for each in declared))
    return "\n".join([*rules, *writer.rules()])


def _document(schema: str) -> str:
    parsed = parse(checked_schema(schema))
    if not isinstance(parsed, dict):
        raise OptionError("the schema is not a JSON object")
    return json.dumps({**parsed, "x-guidance": {"whitespace_flexible": False}})


def _call(writer: ValueWriter, tool: Tool, *, loose: bool) -> str:
    """The rule of a call of one function; ``loose`` allows it any arguments."""
    schemas = Schemas(root=tool.parameters, strict=tool.strict, name=tool.name)
    parameters = tool.parameters or {"properties": {}}
    if not isinstance(parameters, dict):
        raise OptionError(f"the parameters of {tool.name} must be a JSON object")
    if "type" not in parameters and "$ref" not in parameters:
        parameters = {"type": "object", **parameters}
    kind = parameters.get("type", "object")
    if isinstance(kind, str) and kind.lower() != "object":
        raise OptionError(f"the parameters of {tool.name} must have the type object")
    is_loose = loose and not tool.strict
    arguments = "any_object" if is_loose else writer.value(schemas, parameters)
    name = writer.rule(f'"call:{tool.name}" {arguments}')
    return f"{writer.control(CALL_BEGIN)} {name} {writer.control(CALL_END)}"


def _thought(writer: ValueWriter) -> str:
    return f"thought: {writer.control('<|channel>')} text? {writer.control('<channel|>')}"
