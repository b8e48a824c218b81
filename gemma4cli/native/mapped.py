"""Tensors of safetensors files that stay in the file until they are used."""

from __future__ import annotations

import json
import os
from pathlib import Path

import mlx.core as mx

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


def mapped_tensors(path: Path) -> dict[str, mx.array]:
    """The tensors of a file by name; pages of it are read when a kernel uses them.

    The system drops them again when memory is short, and processes with the same model share them.
    Raises OSError, and ValueError for a header that does not fit the file or a type that MLX lacks.
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 0 < length <= os.fstat(file.fileno()).st_size - 8:
            raise ValueError("its header does not fit")
        header = json.loads(file.read(length))
    header.pop("__metadata__", None)
    mapped = MappedFile(os.fsencode(path))
    result = {}
    for name, entry in header.items():
        dtype = _DTYPES.get(entry["dtype"])
        if dtype is None:
            raise ValueError(f"{name} is of type {entry['dtype']}")
        start, end = entry["data_offsets"]
        shape = entry["shape"]
        if end == start:
            result[name] = mx.zeros(shape, dtype)
            continue
        result[name] = mapped.tensor(8 + length + start, shape, dtype)
        if result[name].nbytes != end - start:
            raise ValueError(f"{name} does not have the size of its shape")
    return result
