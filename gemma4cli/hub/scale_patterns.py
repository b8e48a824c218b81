"""PEFT's rank_pattern and alpha_pattern: regular expressions for names of modules.

They come from a file of somebody else, and Python may take forever to match one. So only those are
accepted that cannot: no repeated groups, and few unbounded repetitions.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from ..checked_json import JsonError, number, shown

_LONGEST = 300
_MOST = 10_000
_MOST_EXPRESSIONS = 200
_MOST_REPETITIONS = 4
_REPEATED = re.compile(r"(?<!\\)[*+]|\{\d*,\d*\}")
_REFUSED = re.compile(r"\)[*+?{]|\\[1-9]|\(\?[^:]")
"""A group that is repeated, a reference to a group, and groups that are more than a group."""
_PLAIN = re.compile(r"[\w.]*")


@dataclass(frozen=True, kw_only=True, slots=True)
class ScalePatterns:
    """Values by plain names of modules or their ends, and by expressions, in their order.

    As PEFT has it, the first that matches counts; plain names stand for themselves.
    """

    keys: tuple[tuple[str, re.Pattern[str] | None, float], ...]

    @classmethod
    def of(cls, value: object, path: str) -> Self:
        """Raises JsonError for what is no such object."""
        if value is None:
            return cls(keys=())
        if not isinstance(value, Mapping) or len(value) > _MOST:
            raise JsonError("must be an object of numbers", path)
        keys = tuple(
            (key, _expression(key, f"{path}.{key}"), number(each, f"{path}.{key}", least=-1e30))
            for key, each in value.items()
        )
        if sum(expression is not None for _, expression, _ in keys) > _MOST_EXPRESSIONS:
            raise JsonError(f"has more than {_MOST_EXPRESSIONS} expressions", path)
        return cls(keys=keys)


def _expression(key: str, path: str) -> re.Pattern[str] | None:
    """The compiled expression; None for a plain name."""
    if len(key) > _LONGEST:
        raise JsonError(f"must have at most {_LONGEST} characters", path[:_LONGEST])
    if _PLAIN.fullmatch(key):
        return None
    if _REFUSED.search(key) or len(_REPEATED.findall(key)) > _MOST_REPETITIONS:
        raise JsonError(f"is an expression that may take forever: {shown(key)}", path)
    try:
        return re.compile(rf"(.*\.)?({key})$")
    except (re.error, OverflowError, RecursionError) as exc:
        raise JsonError(f"is no regular expression ({exc})", path) from exc


def value_for(patterns: ScalePatterns, module: str, default: float) -> float:
    """The value of the first pattern that matches the name of a module."""
    for key, expression, value in patterns.keys:
        if expression is None:
            if module == key or module.endswith(f".{key}"):
                return value
        elif expression.match(module):
            return value
    return default
