"""How large the values of a JSON Schema may be, before a library builds a grammar of them.

The search for the shortest document takes time with the square of a text that must be written, and
the automaton for multiples has a state for each remainder.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from ..errors import OptionError

LONGEST_TEXT = 4096
"""Characters of a key, a pattern, and a value as JSON: 0.6 to 1.5 seconds."""
MOST_REQUIRED = 10_000
"""Characters, items and keys that a document must have: 2.5 seconds."""
MOST_DIGITS = 4
"""Of what numbers must be multiples of, without zeros at the end."""

_LEAST = frozenset({"minLength", "minItems", "minProperties", "minContains"})


def check_size(schema: object) -> None:
    """Raise OptionError for a schema with a value that takes too long."""
    waiting = [schema]
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            waiting.extend(value)
        elif isinstance(value, dict):
            _check_keywords(value)
            waiting.extend(value.values())


def _check_keywords(schema: Mapping[str, object]) -> None:
    for key, value in schema.items():
        _check_text("a key", key)
        if key == "pattern" and isinstance(value, str):
            _check_text("pattern", value)
        elif key == "const":
            _check_text("const", json.dumps(value, ensure_ascii=False))
        elif key == "enum" and isinstance(value, list):
            for each in value:
                _check_text("a value of enum", json.dumps(each, ensure_ascii=False))
        elif isinstance(value, int | float) and not isinstance(value, bool):
            if key in _LEAST and value > MOST_REQUIRED:
                raise _too_large(f"{key} is {value:,.10g}", MOST_REQUIRED)
            if key == "multipleOf" and _digits(value) > MOST_DIGITS:
                raise OptionError(
                    f"the schema is not supported: multipleOf has more than {MOST_DIGITS} digits "
                    "before its zeros"
                )


def _digits(value: float) -> int:
    from decimal import Decimal

    return len(Decimal(repr(value)).normalize().as_tuple().digits)


def _check_text(what: str, text: str) -> None:
    if len(text) > LONGEST_TEXT:
        raise _too_large(f"{what} has {len(text):,} characters", LONGEST_TEXT)


def _too_large(what: str, most: int) -> OptionError:
    return OptionError(f"the schema is not supported: {what}; the limit is {most:,}")
