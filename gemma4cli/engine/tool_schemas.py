"""The JSON schemas of one function: references, and keywords put together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from ..checked_json import shown
from ..errors import OptionError

NOT_ENFORCED = frozenset(
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
"""Keywords that a grammar cannot demand."""


@dataclass(slots=True)
class Schemas:
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
        self.unsupported("a reference that leads to itself")
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


def merged(schemas: Sequence[object]) -> object:
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


def kinds_of(schema: Mapping[str, Any]) -> list[str]:
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


def limits(
    schemas: Schemas, schema: Mapping[str, Any], least_key: str, most_key: str
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
