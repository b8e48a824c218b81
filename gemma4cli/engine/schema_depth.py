"""How deep a JSON Schema can get through its references, before a library follows them.

The library that compiles schemas follows references by recursion; some thousand levels of values
overflow its stack, which ends the process.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

from ..errors import OptionError

MOST_LEVELS = 1000
"""Half of what a stack of 8 MB takes."""


def check_depth(schema: object) -> None:
    """Raise OptionError for a schema that its references may make too deep.

    Each target is entered once at most, so that nothing is deeper than all targets together.
    """
    whole = _levels(schema)
    targets = {ref: _target(schema, ref) for ref in _references(schema)}
    if whole + sum(whole if each is None else _levels(each) for each in targets.values()) > (
        MOST_LEVELS
    ):
        raise OptionError(
            f"the schema is not supported: the targets of its {len(targets):,} references have "
            f"more than {MOST_LEVELS:,} levels together"
        )


def _levels(value: object) -> int:
    """Objects and lists inside each other."""
    level, count = [value], 0
    while level := [each for each in level if isinstance(each, dict | list)]:
        level = [inner for each in level for inner in _inner(each)]
        count += 1
    return count


def _inner(value: Any) -> Iterator[Any]:
    yield from value.values() if isinstance(value, dict) else value


def _references(schema: object) -> set[str]:
    found, waiting = set(), [schema]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict) and isinstance(value.get("$ref"), str):
            found.add(value["$ref"])
        if isinstance(value, dict | list):
            waiting.extend(_inner(value))
    return found


def _target(schema: object, ref: str) -> object | None:
    """What a reference by its place in the document leads to; None if it is named otherwise."""
    start, _, pointer = ref.partition("#")
    if start or (pointer and not pointer.startswith("/")):
        return None
    found = schema
    for part in unquote(pointer).split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(found, dict) and key in found:
            found = found[key]
        elif isinstance(found, list) and key.isdecimal() and len(key) < 7 and int(key) < len(found):
            found = found[int(key)]
        else:
            return None
    return found
