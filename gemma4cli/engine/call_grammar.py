"""The grammar of an answer that may call functions, made of their JSON schemas.

    start: prose call*
    call:  <|tool_call> "call:get_weather{" "city:" <|"|> TEXT <|"|> "}" <tool_call|>

The grammar has no whitespace, and keys in the order in which the prompt shows them, so that a later
prompt repeats a call as it was generated. What a grammar cannot demand is left out, unless the
function is strict: then it is an error.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import unquote

from ..checked_json import JsonError, parse, shown
from ..errors import OptionError
from ..options import ToolChoice
from ..processing.prompt_tokens import Control, PromptPart, Text
from ..processing.tokenizer import Tokenizer
from ..processing.tool_calls import CALL_BEGIN, CALL_END, NAME, QUOTE
from ..processing.tools import argument, sorted_entries
from .constrain import checked_schema
from .schema_depth import check_depth
from .schema_size import check_size

_PLAIN_KEY = re.compile(r"[\w$@./-]+", re.ASCII)
_LONGEST_STRING = 10_000
"""A limit on characters that is larger is left out: its automaton would be large, too."""

_NOT_ENFORCED = frozenset(
    {
        "contains",
        "dependentRequired",
        "dependentSchemas",
        "else",
        "if",
        "maxProperties",
        "minProperties",
        "not",
        "patternProperties",
        "propertyNames",
        "then",
        "unevaluatedItems",
        "unevaluatedProperties",
        "uniqueItems",
    }
)
_NUMBER_KEYS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")

_SHARED = r"""
text: TEXT
TEXT: /(?s:.+)/
KEY: /[\w$@.\/-]{1,64}( [\w$@.\/-]{1,64}){0,8}/
INTEGER: /-?(0|[1-9][0-9]{0,17})/
NUMBER: /-?(0|[1-9][0-9]{0,17})(\.[0-9]{1,17})?([eE][+-]?[0-9]{1,2})?/
any: string | NUMBER | "true" | "false" | "null" | any_array | any_object
any_array: "[" (any ("," any)*)? "]"
any_object: "{" (any_entry ("," any_entry)*)? "}"
any_entry: KEY ":" any
"""


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
    schema: str | None = None,
) -> str:
    """The grammar in llguidance's Lark format; with ``in_thought`` it begins inside of a thought.

    An answer without calls matches ``schema``, if there is one.

    Raises OptionError for tools that are not valid, strict ones that cannot be enforced, and if
    calls are required and there are no functions.
    """
    declared = parsed_tools(tools)
    if choice == "required" and not declared:
        raise OptionError("a call is required, but there are no functions")
    writer = _Writer(tokenizer)
    begins = f"text? {writer.control('<channel|>')} " if in_thought else ""
    calls = {
        "none": "",
        "auto": "call*" if parallel else "call?",
        "required": "call+" if parallel else "call",
    }[choice if declared else "none"]
    prose = "text? (thought text?)*"
    thought = "" if in_thought else "thought?"
    if choice == "required":
        answer = f"{thought} {calls}"
    elif schema is not None:
        called = {"call*": "(call+ | document)", "call?": "(call | document)"}
        answer = f"{thought} {called.get(calls, 'document')}"
    else:
        answer = f"{prose} {calls}"
    rules = [f"start: {begins}{answer}", writer.thought(), writer.string(), _SHARED]
    if schema is not None:
        rules.append(f"document: %json {_document(schema)}")
    if calls:
        rules.append("call: " + " | ".join(writer.call(each) for each in declared))
    return "\n".join([*rules, *writer.rules()])


def _document(schema: str) -> str:
    parsed = parse(checked_schema(schema))
    if not isinstance(parsed, dict):
        raise OptionError("the schema is not a JSON object")
    return json.dumps({**parsed, "x-guidance": {"whitespace_flexible": False}})


class _Writer:
    """Writes the rules of functions and of the values in their schemas."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._rules: list[str] = []
        self._waiting: list[tuple[str, _Schemas, object]] = []
        self._count = 0

    def control(self, name: str) -> str:
        return f"<[{self._tokenizer.control_id(name)}]>"

    def thought(self) -> str:
        if not self._tokenizer.has_control("<|channel>"):
            return "thought: TEXT"
        return f"thought: {self.control('<|channel>')} text? {self.control('<channel|>')}"

    def string(self) -> str:
        quote = self.control(QUOTE)
        return f"string: {quote} text? {quote}"

    def call(self, tool: Tool) -> str:
        schemas = _Schemas(root=tool.parameters, strict=tool.strict, name=tool.name)
        parameters = tool.parameters or {"properties": {}}
        if not isinstance(parameters, dict):
            raise OptionError(f"the parameters of {tool.name} must be a JSON object")
        if "type" not in parameters and "$ref" not in parameters:
            parameters = {"type": "object", **parameters}
        name = self.rule(f'"call:{tool.name}" {self._value(schemas, parameters)}')
        return f"{self.control(CALL_BEGIN)} {name} {self.control(CALL_END)}"

    def rules(self) -> list[str]:
        """All rules, those of references included."""
        while self._waiting:
            name, schemas, schema = self._waiting.pop()
            self._rules.append(f"{name}: {self._value(schemas, schema)}")
        return self._rules

    def rule(self, body: str, name: str = "") -> str:
        name = name or self._new("r")
        self._rules.append(f"{name}: {body}")
        return name

    def _new(self, prefix: str) -> str:
        self._count += 1
        return f"{prefix}{self._count}"

    def _value(self, schemas: _Schemas, schema: object) -> str:
        """An expression for the values that fit a schema, in parentheses where needed."""
        if not isinstance(schema, dict):
            if schema is False:
                schemas.unsupported("a schema that allows nothing")
            return "any"
        for key in sorted(_NOT_ENFORCED & schema.keys()):
            schemas.unsupported(key)
        if isinstance(schema.get("$ref"), str):
            return self._reference(schemas, schema["$ref"])
        if "const" in schema:
            return self._literals([schema["const"]])
        if isinstance(schema.get("enum"), list) and schema["enum"]:
            return self._literals(schema["enum"])
        for key in ("anyOf", "oneOf"):
            if isinstance(schema.get(key), list) and schema[key]:
                rest = {name: value for name, value in schema.items() if name != key}
                choices = [_merged([rest, each]) for each in schema[key]]
                return self._either([self._value(schemas, each) for each in choices])
        if isinstance(schema.get("allOf"), list):
            rest = {name: value for name, value in schema.items() if name != "allOf"}
            parts = [schemas.resolved(each) for each in schema["allOf"]]
            return self._value(schemas, _merged([rest, *parts]))
        kinds = _kinds(schema)
        return self._either([self._typed(schemas, schema, kind) for kind in kinds])

    def _typed(self, schemas: _Schemas, schema: Mapping[str, Any], kind: str) -> str:
        match kind.lower():
            case "string":
                return self._string(schemas, schema)
            case "integer" | "number":
                return self._number(schemas, schema, kind.lower())
            case "boolean":
                return '("true" | "false")'
            case "null":
                return '"null"'
            case "array":
                return self._array(schemas, schema)
            case "object":
                return self._object(schemas, schema)
        if kind != "any":
            schemas.unsupported(f"the type {shown(kind)}")
        return "any"

    def _either(self, choices: Sequence[str]) -> str:
        distinct = list(dict.fromkeys(choices))
        return distinct[0] if len(distinct) == 1 else f"({' | '.join(distinct)})"

    def _literals(self, values: Sequence[object]) -> str:
        return self._either([self._written(argument(each)) for each in values])

    def _written(self, parts: Iterator[PromptPart]) -> str:
        written = [
            self.control(part.name) if isinstance(part, Control) else _literal(part.text)
            for part in parts
            if isinstance(part, Control) or (isinstance(part, Text) and part.text)
        ]
        return f"({' '.join(written)})"

    def _reference(self, schemas: _Schemas, ref: str) -> str:
        name = schemas.rules.get(ref)
        if name is None:
            target = schemas.target(ref)
            name = schemas.rules[ref] = self._new("ref")
            self._waiting.append((name, schemas, target))
        return name

    def _string(self, schemas: _Schemas, schema: Mapping[str, Any]) -> str:
        least, most = _limits(schemas, schema, "minLength", "maxLength")
        if most is not None and most > _LONGEST_STRING:
            most = None
        terms = []
        if least or most is not None:
            if most == 0:
                return self._written(argument(""))
            terms.append(f"/(?s:.{{{max(least, 1)},{'' if most is None else most}}})/")
        may_be_empty = not least
        pattern = schema.get("pattern")
        if isinstance(pattern, str):
            found = _search(pattern)
            if found is None:
                schemas.unsupported(f"the pattern {shown(pattern)}")
            else:
                may_be_empty = may_be_empty and re.search(pattern, "") is not None
                terms.append(f"/{found}/")
        if not terms:
            return "string"
        terminal = self._new("STRING")
        self._rules.append(f"{terminal}: {' & '.join(terms)}")
        quote = self.control(QUOTE)
        return f"({quote} {terminal}{'?' if may_be_empty else ''} {quote})"

    def _number(self, schemas: _Schemas, schema: Mapping[str, Any], kind: str) -> str:
        limits = {
            key: schema[key]
            for key in _NUMBER_KEYS
            if isinstance(schema.get(key), int | float) and not isinstance(schema[key], bool)
        }
        if not limits:
            return kind.upper()
        body = f"%json {json.dumps({'type': kind, **limits})}"
        problem = _problem(f"start: {body}")
        if problem is not None:
            schemas.unsupported(f"the limits of {'a' if kind == 'number' else 'an'} {kind}")
            return kind.upper()
        return self.rule(body)

    def _array(self, schemas: _Schemas, schema: Mapping[str, Any]) -> str:
        first = schema.get("prefixItems")
        items = [self._value(schemas, each) for each in first] if isinstance(first, list) else []
        least, most = _limits(schemas, schema, "minItems", "maxItems")
        more = schema.get("items", schema.get("additionalItems", True))
        if isinstance(more, list):  # an older form of prefixItems
            items, more = [self._value(schemas, each) for each in more], True
        if most is not None:
            items = items[:most]
        fixed = ' "," '.join(items)
        if more is False or most == len(items):
            return f'("[" {fixed} "]")'
        item = self._value(schemas, more)
        following = f'("," {item})'
        if items:
            return f'("[" {fixed} {_repeated(following, len(items), least, most)} "]")'
        listed = f"({item} {_repeated(following, 1, least, most)})"
        return f'("[" {listed}{"" if least else "?"} "]")'

    def _object(self, schemas: _Schemas, schema: Mapping[str, Any]) -> str:
        """An object: each key, if it is required or wanted, in order, then those without a name."""
        properties = schema.get("properties")
        if not isinstance(properties, dict):
            properties = {}
        required = schema.get("required")
        names = required if isinstance(required, list) else []
        entries = [
            (f"{self._key(key)} {self._value(schemas, inner)}", key in names)
            for key, inner in sorted_entries(properties)
        ]
        for name in names:
            if name not in properties:
                schemas.unsupported(f"the required key {shown(name)}, which is not declared,")
        extra = schema.get("additionalProperties", not properties and "properties" not in schema)
        rest = {True: "", False: ""}
        if extra is not False:
            entry = self.rule(f'KEY ":" {self._value(schemas, extra)}')
            rest[True] = self.rule(f'("," {entry})*')
            rest[False] = self.rule(f'({entry} ("," {entry})*)?')
        # From the last entry to the first: what may follow, after another entry and at the start.
        for entry, is_required in reversed(entries):
            name = self.rule(entry)
            bodies = {after: f"{comma}{name} {rest[True]}" for after, comma in _COMMAS.items()}
            if not is_required:
                bodies = {after: f"{body} | {rest[after]}" for after, body in bodies.items()}
            rest = {after: self.rule(body) for after, body in bodies.items()}
        return f'("{{" {rest[False]} "}}")'

    def _key(self, key: str) -> str:
        if _PLAIN_KEY.fullmatch(key):
            return _literal(f"{key}:")
        return f'{self._written(argument(key))} ":"'


_COMMAS = {True: '"," ', False: ""}


@dataclass(slots=True)
class _Schemas:
    """The schemas of one function. ``rules`` are those of its references."""

    root: object
    strict: bool
    name: str
    rules: dict[str, str]

    def __init__(self, *, root: object, strict: bool, name: str) -> None:
        self.root, self.strict, self.name, self.rules = root, strict, name, {}

    def unsupported(self, what: str) -> None:
        """Raise OptionError for a strict function; else it may be called with other values."""
        if self.strict:
            raise OptionError(f"{self.name} cannot be strict: {what} cannot be enforced")

    def resolved(self, schema: object) -> object:
        """A schema that is not itself a reference."""
        for _ in range(100):
            if not isinstance(schema, dict) or not isinstance(schema.get("$ref"), str):
                return schema
            schema = self.target(schema["$ref"])
        return True

    def target(self, ref: str) -> object:
        found = self.root
        start, _, pointer = ref.partition("#")
        for part in [] if start else unquote(pointer).split("/")[1:]:
            key = part.replace("~1", "/").replace("~0", "~")
            if isinstance(found, list) and key.isdecimal() and int(key) < len(found):
                found = found[int(key)]
            elif isinstance(found, dict) and key in found:
                found = found[key]
            else:
                start = ref
                break
        if start or (pointer and not pointer.startswith("/")):
            self.unsupported(f"the reference {shown(ref)}")
            return True
        return found


def _merged(schemas: Sequence[object]) -> object:
    """A schema that demands what each of these does, as far as their keys can be put together."""
    found: dict[str, Any] = {}
    for each in schemas:
        if not isinstance(each, dict):
            continue
        for key, value in each.items():
            known = found.get(key)
            if isinstance(known, dict) and isinstance(value, dict) and key == "properties":
                found[key] = {**known, **value}
            elif isinstance(known, list) and isinstance(value, list) and key == "required":
                found[key] = [*known, *value]
            else:
                found[key] = value
    return found


def _kinds(schema: Mapping[str, Any]) -> list[str]:
    """The types that a schema names, or that its keys are about."""
    kind = schema.get("type")
    if isinstance(kind, str):
        kinds = [kind]
    elif isinstance(kind, list) and kind and all(isinstance(each, str) for each in kind):
        kinds = list(kind)
    elif "properties" in schema or "additionalProperties" in schema:
        kinds = ["object"]
    elif "items" in schema or "prefixItems" in schema:
        kinds = ["array"]
    else:
        kinds = ["any"]
    if schema.get("nullable") is True and "any" not in kinds:
        kinds.append("null")
    return kinds


def _limits(
    schemas: _Schemas, schema: Mapping[str, Any], least_key: str, most_key: str
) -> tuple[int, int | None]:
    """The least and the most of something; None is no limit."""
    least, most = _count(schema, least_key) or 0, _count(schema, most_key)
    if most is not None and most < least:
        schemas.unsupported(f"{least_key} above {most_key}")
        return 0, None
    return least, most


def _count(schema: Mapping[str, Any], key: str) -> int | None:
    value = schema.get(key)
    if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
        return int(value)
    return None


def _repeated(item: str, have: int, least: int, most: int | None) -> str:
    """``item`` so many times that there are ``least`` to ``most`` with the ``have`` before it."""
    if most is None:
        return f"{item}{{{max(0, least - have)},}}"
    return f"{item}{{{max(0, least - have)},{most - have}}}" if most > have else ""


def _literal(text: str) -> str:
    """A text in a grammar."""
    return json.dumps(text, ensure_ascii=False)


def _search(pattern: str) -> str | None:
    """A regular expression for whole texts that contain a match; None if it is not possible."""
    inner, start, end = pattern, "(?s:.*)", "(?s:.*)"
    if inner.startswith("^"):
        inner, start = inner[1:], ""
    if inner.endswith("$") and not inner.endswith("\\$"):
        inner, end = inner[:-1], ""
    anchored = not (start and end)
    if (anchored and "|" in re.sub(r"\(.*\)|\[.*\]", "", inner)) or _has_anchor(inner):
        return None
    try:
        re.compile(inner)
    except (re.error, RecursionError, OverflowError):
        return None
    escaped = re.sub(r"(?<!\\)((?:\\\\)*)/", r"\1\\/", inner).replace("\n", r"\n")
    found = f"{start}({escaped}){end}"
    return None if _problem(f"start: /{found}/") is not None else found


def _has_anchor(pattern: str) -> bool:
    """Whether ``^`` or ``$`` is in a pattern, outside of brackets and escapes."""
    bare = re.sub(r"\[\^?\]?(\\.|[^\]\\])*\]", "", re.sub(r"\\[\\^$\[\]]", "", pattern))
    return "^" in bare or "$" in bare


def _problem(grammar: str) -> str | None:
    """Why llguidance does not take a grammar; None if it does."""
    from llguidance import LLMatcher

    is_error, messages = LLMatcher.validate_grammar_with_warnings(
        LLMatcher.grammar_from_lark(grammar)
    )
    return "\n".join(messages) if is_error else None
