"""Rules of a grammar for the values that fit a JSON schema, in the syntax of calls.

What a grammar cannot demand is left out, unless the function is strict: then it is an error.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..checked_json import shown
from ..processing.prompt_tokens import Control, PromptPart, Text
from ..processing.tokenizer import Tokenizer
from ..processing.tool_calls import QUOTE
from ..processing.tools import argument, sorted_entries
from .text_pattern import is_possible, search
from .tool_schemas import NOT_ENFORCED, Schemas, kinds_of, limits, merged

_PLAIN_KEY = re.compile(r"[\w$@./-]+", re.ASCII)
_MOST_KEYS, _MOST_OPTIONAL_KEYS = 200, 50
"""Keys of an object that come in order, and where none is required; more come in any order."""
_MOST_RULES = 10_000
"""Rules of all functions together; what is beyond them may have any value."""
_MOST_CHOICES = 500
"""Schemas, keys, or constants that are no plain text, of which any may come next."""
_FARTHEST = 10**15
"""The end of numbers that have only one limit, where that is possible."""
_LONGEST_STRING = 10_000
"""A limit on characters that is larger is left out: its automaton would be large, too."""
_NUMBER_KEYS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")

SHARED = r"""
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


class ValueWriter:
    """Writes the rules of functions and of the values in their schemas."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._rules: list[str] = []
        self._waiting: list[tuple[str, Schemas, object]] = []
        self._count = 0

    def control(self, name: str) -> str:
        return f"<[{self._tokenizer.control_id(name)}]>"

    def string(self) -> str:
        quote = self.control(QUOTE)
        return f"string: {quote} text? {quote}"

    def rules(self) -> list[str]:
        """All rules, those of references included."""
        while self._waiting:
            name, schemas, schema = self._waiting.pop()
            self._rules.append(f"{name}: {self.value(schemas, schema)}")
        return self._rules

    def rule(self, body: str, name: str = "") -> str:
        name = name or self._new("r")
        self._rules.append(f"{name}: {body}")
        return name

    def _new(self, prefix: str) -> str:
        self._count += 1
        return f"{prefix}{self._count}"

    def value(self, schemas: Schemas, schema: object) -> str:
        """An expression for the values that fit a schema, in parentheses where needed."""
        if len(self._rules) > _MOST_RULES:
            schemas.unsupported(f"what is beyond {_MOST_RULES:,} rules of a grammar")
            return "any"
        if not isinstance(schema, dict):
            if schema is False:
                schemas.unsupported("a schema that allows nothing")
            return "any"
        for key in sorted(NOT_ENFORCED & schema.keys()):
            schemas.unsupported(key)
        if isinstance(schema.get("$ref"), str):
            return self._reference(schemas, schema["$ref"])
        if "const" in schema:
            return self._literals(schemas, [schema["const"]])
        if isinstance(schema.get("enum"), list) and schema["enum"]:
            return self._literals(schemas, schema["enum"])
        for key in ("anyOf", "oneOf"):
            if isinstance(schema.get(key), list) and schema[key]:
                rest = {name: value for name, value in schema.items() if name != key}
                choices = [merged([rest, each]) for each in schema[key]]
                if len(choices) > _MOST_CHOICES:
                    schemas.unsupported(f"a choice of {len(choices):,} schemas")
                    return "any"
                return self._either([self.value(schemas, each) for each in choices])
        if isinstance(schema.get("allOf"), list):
            rest = {name: value for name, value in schema.items() if name != "allOf"}
            parts = [schemas.resolved(each) for each in schema["allOf"]]
            return self.value(schemas, merged([rest, *parts]))
        kinds = kinds_of(schema)
        return self._either([self._typed(schemas, schema, kind) for kind in kinds])

    def _typed(self, schemas: Schemas, schema: Mapping[str, Any], kind: str) -> str:
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

    def _literals(self, schemas: Schemas, values: Sequence[object]) -> str:
        """Constants; all strings, and all numbers and words, are one symbol of the grammar."""
        strings = [each for each in values if isinstance(each, str)]
        nested = [each for each in values if isinstance(each, list | dict)]
        words = [each for each in values if not isinstance(each, str | list | dict)]
        if len(nested) > _MOST_CHOICES:
            schemas.unsupported(f"a choice of {len(nested):,} lists and objects")
            return "any"
        choices = [self._written(argument(each)) for each in nested]
        if words:
            texts = [
                part.text for each in words for part in argument(each) if isinstance(part, Text)
            ]
            choices.append(self._terminal("WORD", texts))
        if texts := [each for each in strings if each]:
            quote, terminal = self.control(QUOTE), self._terminal("TEXT", texts)
            choices.append(f"({quote} {terminal} {quote})")
        if "" in strings:
            choices.append(self._written(argument("")))
        return self._either(choices)

    def _terminal(self, prefix: str, texts: Sequence[str]) -> str:
        name = self._new(prefix)
        self._rules.append(f"{name}: {' | '.join(map(_literal, dict.fromkeys(texts)))}")
        return name

    def _written(self, parts: Iterator[PromptPart]) -> str:
        written = [
            self.control(part.name) if isinstance(part, Control) else _literal(part.text)
            for part in parts
            if isinstance(part, Control) or (isinstance(part, Text) and part.text)
        ]
        return f"({' '.join(written)})"

    def _reference(self, schemas: Schemas, ref: str) -> str:
        name = schemas.rules.get(ref)
        if name is None:
            target = schemas.resolved({"$ref": ref})
            name = schemas.rules[ref] = self._new("ref")
            self._waiting.append((name, schemas, target))
        return name

    def _string(self, schemas: Schemas, schema: Mapping[str, Any]) -> str:
        least, most = limits(schemas, schema, "minLength", "maxLength")
        if most is not None and most > _LONGEST_STRING:
            most = None
        terms = []
        if least or most:
            terms.append(f"/(?s:.{{{max(least, 1)},{'' if most is None else most}}})/")
        may_be_empty = not least
        pattern = schema.get("pattern")
        if isinstance(pattern, str):
            found = search(pattern)
            if found is None:
                schemas.unsupported(f"the pattern {shown(pattern)}")
            else:
                may_be_empty = may_be_empty and re.search(pattern, "") is not None
                terms.append(f"/{found}/")
        empty = self._written(argument(""))
        if most == 0 and may_be_empty:
            return empty
        if not terms:
            return "string"
        body = " & ".join(terms)
        if most == 0 or not is_possible(f"start: STRING\nSTRING: {body}"):
            if may_be_empty:
                return empty
            schemas.unsupported("a string that no text fits")
            return "string"
        terminal = self._new("STRING")
        self._rules.append(f"{terminal}: {body}")
        quote = self.control(QUOTE)
        return f"({quote} {terminal}{'?' if may_be_empty else ''} {quote})"

    def _number(self, schemas: Schemas, schema: Mapping[str, Any], kind: str) -> str:
        limits = {
            key: schema[key]
            for key in _NUMBER_KEYS
            if isinstance(schema.get(key), int | float) and not isinstance(schema[key], bool)
        }
        if not limits:
            return kind.upper()
        for each in (_with_both_ends(limits), limits):
            body = f"%json {json.dumps({'type': kind, **each})}"
            if is_possible(f"start: {body}"):
                return self.rule(body)
        schemas.unsupported(f"the limits of {'a' if kind == 'number' else 'an'} {kind}")
        return kind.upper()

    def _array(self, schemas: Schemas, schema: Mapping[str, Any]) -> str:
        first = schema.get("prefixItems")
        items = [self.value(schemas, each) for each in first] if isinstance(first, list) else []
        least, most = limits(schemas, schema, "minItems", "maxItems")
        more = schema.get("items", schema.get("additionalItems", True))
        if isinstance(more, list):  # an older form of prefixItems
            items, more = [self.value(schemas, each) for each in more], True
        if most is not None:
            items = items[:most]
        fixed = ' "," '.join(items)
        if more is False or most == len(items):
            return f'("[" {fixed} "]")'
        # A rule, because it is written twice: expressions inside each other would grow too long.
        item = self.rule(self.value(schemas, more))
        following = f'("," {item})'
        if items:
            return f'("[" {fixed} {_repeated(following, len(items), least, most)} "]")'
        listed = f"({item} {_repeated(following, 1, least, most)})"
        return f'("[" {listed}{"" if least else "?"} "]")'

    def _object(self, schemas: Schemas, schema: Mapping[str, Any]) -> str:
        properties = schema.get("properties")
        if not isinstance(properties, dict):
            properties = {}
        required = schema.get("required")
        names = required if isinstance(required, list) else []
        entries = [
            (f"{self._key(key)} {self.value(schemas, inner)}", key in names)
            for key, inner in sorted_entries(properties)
        ]
        for name in names:
            if name not in properties:
                schemas.unsupported(f"the required key {shown(name)}, which is not declared,")
        extra = schema.get("additionalProperties", not properties and "properties" not in schema)
        more = "" if extra is False else self.rule(f'KEY ":" {self.value(schemas, extra)}')
        return f'("{{" {self._entries(schemas, entries, more)} "}}")'

    def _entries(self, schemas: Schemas, entries: Sequence[tuple[str, bool]], more: str) -> str:
        """Keys with values in order, each if it is required or wanted; then any number of ``more``.

        Written without rules inside each other, which the library follows by recursion.
        """
        ordered = [(self.rule(entry), is_required) for entry, is_required in entries]
        rest = f'("," {more})*' if more else ""
        first = next((i for i, (_, is_required) in enumerate(ordered) if is_required), None)
        if first is not None and len(ordered) <= _MOST_KEYS:
            before = [f'({entry} ",")?' for entry, _ in ordered[:first]]
            return " ".join([*before, ordered[first][0], *_after(ordered[first + 1 :]), rest])
        if first is None and len(ordered) <= _MOST_OPTIONAL_KEYS:
            begins = [
                " ".join([entry, *_after(ordered[number + 1 :]), rest])
                for number, (entry, _) in enumerate(ordered)
            ]
            begins += [f"{more} {rest}"] if more else []
            return f"({' | '.join(begins)})?" if begins else ""
        if first is not None or len(ordered) > _MOST_CHOICES:
            schemas.unsupported(f"an object of {len(ordered):,} keys")
        if len(ordered) > _MOST_CHOICES:
            return '(any_entry ("," any_entry)*)?'
        one = self.rule(" | ".join([*(entry for entry, _ in ordered), *([more] if more else [])]))
        return f'({one} ("," {one})*)?'

    def _key(self, key: str) -> str:
        if _PLAIN_KEY.fullmatch(key):
            return _literal(f"{key}:")
        return f'{self._written(argument(key))} ":"'


def _with_both_ends(limits: Mapping[str, float]) -> dict[str, float]:
    """Limits of a number, so that it cannot have any number of digits."""
    ends = dict(limits)
    if not limits.keys() & {"minimum", "exclusiveMinimum"}:
        ends["minimum"] = -_FARTHEST
    if not limits.keys() & {"maximum", "exclusiveMaximum"}:
        ends["maximum"] = _FARTHEST
    return ends


def _after(entries: Sequence[tuple[str, bool]]) -> list[str]:
    """Entries after another one."""
    return [f'"," {entry}' if is_required else f'("," {entry})?' for entry, is_required in entries]


def _repeated(item: str, have: int, least: int, most: int | None) -> str:
    """``item`` so many times that there are ``least`` to ``most`` with the ``have`` before it."""
    if most is None:
        return f"{item}{{{max(0, least - have)},}}"
    return f"{item}{{{max(0, least - have)},{most - have}}}" if most > have else ""


def _literal(text: str) -> str:
    """A text in a grammar."""
    return json.dumps(text, ensure_ascii=False)
