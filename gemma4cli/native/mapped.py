"""Tensors of safetensors files that stay in the file until they are used."""

from __future__ import annotations

import os
from collections.abc import Mapping
from math import prod
from pathlib import Path

import mlx.core as mx
from safetensors import SafetensorError, safe_open

from ._native import MappedFile

_DTYPES = {
    "F32": mx.float32,
    "F16": mx.float16,
    "BF16": mx.bfloat16,
    "I64": mx.int64,
    "I32": mx.int32,
    "I16": mx.int16,
    "I8": mx.int8,
    "U64": mx.uint64,
    "U32": mx.uint32,
    "U16": mx.uint16,
    "U8": mx.uint8,
    "BOOL": mx.bool_,
}


_LONGEST = 2**31 - 1
"""The longest axis of an array of MLX."""


def mapped_tensors(
    path: Path, rows: Mapping[str, tuple[int, int] | None] | None = None
) -> dict[str, mx.array]:
    """The tensors of a file by name; pages of it are read when a kernel uses them.

    With ``rows``, those of its names, and of each the rows from the first to before the last; None
    for all rows. The system drops pages again when memory is short, and processes with the same
    model share them.
    Raises OSError or RuntimeError for a file that cannot be read or mapped, ValueError for a header
    that does not fit the file and for a tensor that MLX cannot hold.
    """
    entries = _in_order(path)
    mapped = MappedFile(os.fsencode(path))
    with path.open("rb") as file:
        start = 8 + int.from_bytes(file.read(8), "little")
    result = {}
    for name, dtype, shape in entries:
        size = prod(shape) * dtype.size
        if rows is None or name in rows:
            at, part = start, shape
            if rows is not None and (bounds := rows[name]) is not None:
                at += size // max(1, shape[0]) * bounds[0]
                part = [bounds[1] - bounds[0], *shape[1:]]
            result[name] = mx.zeros(part, dtype) if 0 in part else mapped.tensor(at, part, dtype)
        start += size
    return result


def _in_order(path: Path) -> list[tuple[str, mx.Dtype, list[int]]]:
    """Names, types and shapes, in the order of the file.

    Opening checks that the tensors follow each other without gaps, from the header to the end.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            entries = [(name, file.get_slice(name)) for name in file.offset_keys()]
            return [_entry(name, each.get_dtype(), each.get_shape()) for name, each in entries]
    except SafetensorError as exc:
        raise ValueError(str(exc)) from exc


def _entry(name: str, kind: str, shape: list[int]) -> tuple[str, mx.Dtype, list[int]]:
    dtype = _DTYPES.get(kind)
    if dtype is None:
        raise ValueError(f"{name} is of type {kind}")
    if max(shape, default=0) > _LONGEST:
        raise ValueError(f"{name} has the shape {shape}")
    return name, dtype, shape
