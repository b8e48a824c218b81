"""Values of a config.json, each checked as it is taken; errors name the file and the path.

Keys that affect results have no default: if one is missing, it is an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..checked_json import JsonError, is_finite_number, number, shown, whole
from ..errors import CheckpointError, UnsupportedModelError

Json = Mapping[str, Any]

FILE = "config.json"

LARGEST_SIZE = 2**24
"""Of a width, a vocabulary or a number of heads: 64 times the largest published one."""
_MOST_LAYERS = 1024


def need(section: Json, key: str, kind: type | tuple[type, ...], where: str) -> Any:
    """``section[key]``, which must exist and be of ``kind``.

    ``where`` names the section; it is empty for the file as a whole.
    """
    if key not in section:
        problem = f"lacks {key!r}, which affects the model's answers"
        raise CheckpointError(FILE, f"{where} {problem}" if where else problem)
    value = section[key]
    kinds = kind if isinstance(kind, tuple) else (kind,)
    if float in kinds:
        kinds += (int,)
    is_bool = isinstance(value, bool)
    wrong_kind = not isinstance(value, kinds) or (
        is_bool and bool not in kinds and object not in kinds
    )
    is_number = isinstance(value, int | float) and not is_bool
    if wrong_kind or (is_number and not is_finite_number(value)):
        raise CheckpointError(FILE, f"{_path(where, key)}: must not be {shown(value)}")
    return value


def _path(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key


def need_size(section: Json, key: str, where: str, most: int = LARGEST_SIZE, least: int = 1) -> int:
    """A whole number from ``least`` to ``most``."""
    value = need(section, key, object, where)
    try:
        return whole(value, _path(where, key), least=least, most=most)
    except JsonError as exc:
        raise CheckpointError(FILE, str(exc)) from exc


def size_or_none(section: Json, key: str, where: str) -> int | None:
    return None if need(section, key, object, where) is None else need_size(section, key, where)


def count(section: Json, key: str, where: str, most: int = LARGEST_SIZE) -> int:
    return need_size(section, key, where, most, least=0)


def layer_count(section: Json, key: str, where: str) -> int:
    return need_size(section, key, where, _MOST_LAYERS)


def positive(section: Json, key: str, where: str, most: float = 1e30) -> float:
    """A number above 0."""
    value = need(section, key, object, where)
    try:
        return number(value, _path(where, key), most=most, above=True)
    except JsonError as exc:
        raise CheckpointError(FILE, str(exc)) from exc


def require(condition: bool, where: str, problem: str) -> None:
    if not condition:
        raise CheckpointError(FILE, f"{where}: {problem}")


def require_value(section: Json, key: str, expected: object, where: str) -> None:
    value = need(section, key, object, where)
    if value != expected:
        raise UnsupportedModelError(
            f"a checkpoint whose {where} has {key} = {value!r}", f"every Gemma 4 has {expected!r}"
        )
