"""Ways to damage bytes, JSON and text. The same random numbers make the same damage."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from random import Random
from typing import Any

_WORDS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
_VALUES: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    1,
    -1,
    2,
    0.5,
    -0.0,
    1e308,
    1e-320,
    float("nan"),
    float("inf"),
    float("-inf"),
    2**31,
    2**31 - 1,
    2**32,
    2**63,
    -(2**63) - 1,
    10**30,
    10**400,
    "",
    "x",
    "0",
    "../../x",
    "/etc/passwd",
    "a\0b",
    "\x1b]0;x\x07",
    "\u202egnp.exe",
    "\ud800",
    "x" * 5000,
    "<|image|><turn|>",
    [],
    {},
    [[]],
    [None],
    [-1, 10**9],
    {"": None},
    {"type": "object"},
    [{"a": [1]}],
)


def damaged_bytes(rng: Random, data: bytes) -> bytes:
    """``data`` with one to eight changes, most of them near its start, where headers are."""
    content = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 3, 8))):
        rng.choice(_BYTE_CHANGES)(rng, content)
    return bytes(content)


def _place(rng: Random, content: bytearray) -> int:
    limit = len(content) if rng.random() < 0.5 else min(len(content), 200)
    return rng.randrange(limit) if limit else 0


def _flip(rng: Random, content: bytearray) -> None:
    if content:
        content[_place(rng, content)] ^= 1 << rng.randrange(8)


def _odd_word(rng: Random, content: bytearray) -> None:
    at, size = _place(rng, content), rng.choice((1, 2, 4, 8))
    word = rng.choice(_WORDS) & (2 ** (8 * size) - 1)
    content[at : at + size] = word.to_bytes(size, rng.choice(("little", "big")))


def _cut(rng: Random, content: bytearray) -> None:
    del content[_place(rng, content) :]


def _remove(rng: Random, content: bytearray) -> None:
    at = _place(rng, content)
    del content[at : at + rng.choice((1, 4, 100, 1000))]


def _repeat(rng: Random, content: bytearray) -> None:
    at, size = _place(rng, content), rng.choice((1, 8, 64, 512))
    content[at:at] = content[at : at + size] * rng.choice((1, 2, 50))


def _noise(rng: Random, content: bytearray) -> None:
    at, size = _place(rng, content), rng.choice((1, 8, 64, 512))
    content[at : at + size] = rng.randbytes(size)


def _zero(rng: Random, content: bytearray) -> None:
    at, size = _place(rng, content), rng.choice((4, 64, 4096))
    content[at : at + size] = bytes(min(size, len(content) - at))


def _append(rng: Random, content: bytearray) -> None:
    content += rng.choice((b"\0" * 100_000, rng.randbytes(500), bytes(content[:2000])))


_BYTE_CHANGES: tuple[Callable[[Random, bytearray], None], ...] = (
    _flip,
    _flip,
    _odd_word,
    _odd_word,
    _odd_word,
    _cut,
    _remove,
    _repeat,
    _noise,
    _zero,
    _append,
)


def damaged_json(rng: Random, value: Any) -> bytes:
    """A JSON document with one to three odd values, names or branches, sometimes damaged as text.

    The document itself is not changed.
    """
    value = copy.deepcopy(value)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        value = _changed(rng, value)
    text = json.dumps(value, ensure_ascii=rng.random() < 0.5)
    data = text.encode("utf-8", "surrogatepass")
    return damaged_text(rng, data) if rng.random() < 0.15 else data


def damaged_text(rng: Random, data: bytes) -> bytes:
    """Text in another encoding, cut off, nested, or with bytes changed."""
    match rng.randrange(8):
        case 0:
            return b"\xef\xbb\xbf" + data
        case 1:
            return data.decode("utf-8", "replace").encode("utf-16")
        case 2:
            return data.decode("utf-8", "replace").encode("latin-1", "replace") + b"\xe9"
        case 3:
            return b"[" * rng.choice((1500, 100_000)) + data
        case 4:
            return data[: rng.randrange(len(data) + 1)]
        case 5:
            return data.replace(b"1", b"1" * rng.choice((400, 5000)), 1)
        case 6:
            return b"" if rng.random() < 0.2 else data + b"\n" + data
        case _:
            return damaged_bytes(rng, data)


def _changed(rng: Random, value: Any) -> Any:
    """``value`` with a random branch replaced, removed, renamed or moved."""
    places = list(_places(value))
    if not places or rng.random() < 0.02:
        return _odd(rng, value)
    # By depth first: a large table would otherwise take all changes.
    depth = rng.choice(sorted({at for at, _, _ in places}))
    _, holder, key = rng.choice([place for place in places if place[0] == depth])
    kind = rng.random()
    if kind < 0.6:
        holder[key] = _odd(rng, holder[key])
    elif kind < 0.75:
        del holder[key]
    elif kind < 0.85 and isinstance(holder, dict):
        holder[rng.choice(("", "x", "__class__", str(key).upper(), "a.b"))] = holder.pop(key)
    elif kind < 0.95:
        _, other, of = rng.choice(places)
        holder[key] = copy.deepcopy(other[of])
    elif isinstance(holder, list):
        holder.extend(copy.deepcopy(holder[:20]) * rng.choice((1, 10)))
    else:
        for _ in range(rng.choice((5, 200))):
            holder[key] = [holder[key]]
    return value


def _odd(rng: Random, value: Any) -> Any:
    if isinstance(value, int | float) and not isinstance(value, bool) and rng.random() < 0.5:
        factor = rng.choice((-1, 0, 2, 0.5, 3, 1000, 10**6, 10**12))
        return value * factor if abs(value) < 1e200 else factor
    if isinstance(value, str) and rng.random() < 0.3:
        return rng.choice((value.upper(), value + "x", value[:-1], f" {value}\n", [value]))
    return copy.deepcopy(rng.choice(_VALUES))


def _places(value: Any, depth: int = 0) -> list[tuple[int, Any, Any]]:
    """Every branch of a document as ``(depth, holder, key)``; of long lists, some elements."""
    found: list[tuple[int, Any, Any]] = []
    if isinstance(value, dict):
        keys: list[Any] = list(value)
    elif isinstance(value, list):
        keys = list(range(len(value)))
    else:
        return found
    step = max(1, len(keys) // 300)
    for key in keys[::step]:
        found.append((depth, value, key))
        found += _places(value[key], depth + 1)
    return found
