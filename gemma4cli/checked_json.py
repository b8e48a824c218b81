"""JSON from outside, read one way: bounded in size and depth, without surprises in its values.

Reading and parsing raise JsonError, which says where in the document the cause is; each reader
makes its own error of it, with the file's name.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass
from math import inf, isfinite
from pathlib import Path
from sys import float_info
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from .bounded import read_bounded

MAX_DEPTH = 100
"""Lists and objects inside each other; code that walks a value may use recursion."""
LARGEST = 2**31 - 1
"""The largest whole number of ``whole`` if none is given: lengths and ids are 32-bit numbers."""

T = TypeVar("T")

_LONGEST_NUMBER = 400
_SHOWN = 60


class JsonError(Exception):
    """What is wrong with a document; ``path`` is where, "text_config.layer_types[3]" for example.

    The path is empty for the document as a whole.
    """

    def __init__(self, problem: str, path: str = "") -> None:
        self.problem = problem
        self.path = path
        super().__init__(f"{path}: {problem}" if path else problem)


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file. Raises OSError and JsonError."""
    value = parse(read_bounded(path, regular=True))
    if not isinstance(value, dict):
        raise JsonError("must hold a JSON object")
    return value


def parse(content: bytes | str) -> Any:
    """The value of a document; bytes are UTF-8, with or without a byte order mark.

    Raises JsonError for what is not JSON, for a key that occurs twice, for numbers that do not fit
    a float, NaN and infinity among them, and for a value nested more than ``MAX_DEPTH`` deep.
    """
    try:
        text = content if isinstance(content, str) else content.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        raise JsonError(f"is not UTF-8 text (byte {exc.start})") from exc
    text = text.removeprefix("\ufeff")
    reading = _Reading()
    try:
        value = json.loads(
            text,
            object_pairs_hook=reading.mapping,
            parse_int=reading.whole,
            parse_float=reading.fraction,
            parse_constant=reading.fraction,
        )
    except json.JSONDecodeError as exc:
        problem = f"line {exc.lineno} column {exc.colno}: {exc.msg}"
        raise JsonError(f"is not valid JSON: {problem}") from exc
    except RecursionError as exc:
        raise JsonError(_TOO_DEEP) from exc
    if reading.is_odd or text.count("{") + text.count("[") > MAX_DEPTH:
        check(value)
    return value


class _Reading:
    """What is made of a document, and whether it ``is_odd``: a value in it is to be refused.

    Most documents are not, and to look for that value takes longer than to read them.
    """

    __slots__ = ("is_odd",)

    def __init__(self) -> None:
        self.is_odd = False

    def mapping(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) == len(pairs):
            return found
        self.is_odd = True
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                return _Repeated(key)
            seen.add(key)
        raise AssertionError

    def whole(self, digits: str) -> int | float:
        """Python refuses to read numbers of thousands of digits; they are no floats either."""
        if len(digits) > float_info.max_10_exp:
            self.is_odd = True
        return int(digits) if len(digits) <= _LONGEST_NUMBER else inf

    def fraction(self, text: str) -> float:
        value = float(text)
        if not isfinite(value):
            self.is_odd = True
        return value


def check(value: object) -> None:
    """Raise JsonError for a value that ``parse`` refuses; other parsers' values may have dates."""
    _check_depth(value)
    level: list[tuple[str, object]] = [("", value)]
    while level:
        level = [inner for path, each in level for inner in _inside(path, each)]


def _check_depth(value: object) -> None:
    """Before ``check`` makes paths, which are long where many keys are inside each other."""
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH):
        level = [each for each in level if isinstance(each, dict | list)]
        if not level:
            return
        level = [inner for each in level for inner in _values(each)]
    raise JsonError(_TOO_DEEP)


def _values(value: dict[str, Any] | list[Any]) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value


_TOO_DEEP = f"has lists or objects more than {MAX_DEPTH} deep"


def _inside(path: str, value: object) -> Iterator[tuple[str, object]]:
    """The values in a value with their paths. Raises JsonError for one that is not accepted."""
    if isinstance(value, _Repeated):
        raise JsonError(f"the key {shown(value.key)} occurs twice", path)
    if isinstance(value, dict):
        for key, inner in value.items():
            yield f"{path}.{key}" if path else str(key), inner
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield f"{path}[{index}]", inner
    elif isinstance(value, int | float) and not (
        isinstance(value, bool) or is_finite_number(value)
    ):
        raise JsonError("must be a finite number that fits a float", path)


class _Repeated(dict[str, Any]):
    """An object in which a key occurs twice."""

    def __init__(self, key: str) -> None:
        super().__init__()
        self.key = key


def is_finite_number(value: object) -> bool:
    """Whether ``value`` is a number that fits a float; NaN, infinity and larger integers do not."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) <= float_info.max if isinstance(value, int) else isfinite(value)


def whole(value: object, path: str, *, least: int = 1, most: int = LARGEST) -> int:
    """``value`` as a whole number from ``least`` to ``most``. Raises JsonError."""
    if type(value) is not int or not least <= value <= most:
        raise JsonError(f"must be a whole number from {least} to {most}, not {shown(value)}", path)
    return value


def number(
    value: object, path: str, *, least: float = 0, most: float = 1e30, above: bool = False
) -> float:
    """``value`` as a float from ``least``, or only above it, to ``most``. Raises JsonError."""
    if not is_finite_number(value):
        raise JsonError(f"must be a number, not {shown(value)}", path)
    assert isinstance(value, int | float)
    if not least <= value <= most or (above and value == least):
        bounds = f"above {least:g} and at most" if above else f"from {least:g} to"
        raise JsonError(f"must be {bounds} {most:g}, not {shown(value)}", path)
    return float(value)


def as_dataclass(kind: type[T], data: Mapping[str, object], path: str = "") -> T:
    """The dataclass whose fields ``data`` has as ``dataclasses.asdict`` and JSON write them.

    Raises JsonError for a field of another type, one that is missing, and one that is not known.
    """
    kinds = get_type_hints(kind)
    start = f"{path}." if path else ""
    known = {field.name: field for field in fields(kind)}  # type: ignore[arg-type]
    for name in data.keys() - known.keys():
        raise JsonError(f"unknown key {shown(name)}", path)
    lacking = [
        name
        for name, field in known.items()
        if name not in data and field.default is MISSING and field.default_factory is MISSING
    ]
    if lacking:
        raise JsonError(f"lacks {lacking[0]!r}", path)
    return kind(**{name: _as(kinds[name], data[name], f"{start}{name}") for name in data})


def _as(kind: Any, value: object, path: str) -> object:
    """``value`` as a type of a field: plain, literal, tuple, mapping, dataclass, or a union."""
    if get_origin(kind) in (Union, UnionType):
        if value is None and NoneType in get_args(kind):
            return None
        (kind,) = (each for each in get_args(kind) if each is not NoneType)
    if get_origin(kind) is Literal:
        if isinstance(value, str) and value in get_args(kind):
            return value
    elif get_origin(kind) is tuple:
        if isinstance(value, list):
            item = get_args(kind)[0]
            return tuple(_as(item, each, f"{path}[{i}]") for i, each in enumerate(value))
    elif get_origin(kind) is Mapping:
        if isinstance(value, dict):
            return value
    elif is_dataclass(kind):
        if isinstance(value, Mapping):
            return as_dataclass(cast("type[object]", kind), value, path)
    elif kind is float:
        return number(value, path, least=-1e30)
    elif kind is int:
        return whole(value, path, least=-LARGEST)
    elif type(value) is kind:
        return value
    raise JsonError(f"must not be {shown(value)}", path)


def shown(value: object) -> str:
    """A value in an error's line: its JSON, cut if it is long."""
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > float_info.max:
        return "a number of hundreds of digits"
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
