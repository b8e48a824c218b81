"""Write a safetensors file tensor by tensor: no more than one is in memory."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import mlx.core as mx
import numpy as np

from ..hub.safetensors_headers import TensorHeader

DTYPES = {
    "F32": mx.float32,
    "F16": mx.float16,
    "BF16": mx.bfloat16,
    "U32": mx.uint32,
    "U8": mx.uint8,
}
"""The types of tensors that are computed, by their names in the format."""
_COPIED = 16 << 20
"""Bytes that are copied at once."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Output:
    """A tensor to write. ``parts`` gives its bytes, when its turn comes."""

    name: str
    header: TensorHeader
    parts: Callable[[], Iterable[memoryview]]


def write(path: Path, outputs: Sequence[Output]) -> Iterator[int]:
    """Write a file; yields the bytes of each tensor once it is written. Raises OSError."""
    entries: dict[str, object] = {"__metadata__": {"format": "mlx"}}
    end = 0
    for each in outputs:
        start, end = end, end + each.header.size()
        entries[each.name] = {
            "dtype": each.header.dtype,
            "shape": list(each.header.shape),
            "data_offsets": [start, end],
        }
    header = json.dumps(entries, ensure_ascii=False).encode()
    header += b" " * (-len(header) % 8)
    with path.open("xb") as file:
        file.write(len(header).to_bytes(8, "little"))
        file.write(header)
        for each in outputs:
            written = sum(file.write(part) for part in each.parts())
            assert written == each.header.size(), f"{each.name} has another size than its header"
            yield written


def copied(path: Path, start: int, end: int) -> Iterator[memoryview]:
    """The bytes [start, end) of a file."""
    with path.open("rb") as file:
        file.seek(start)
        while start < end:
            part = _read(file, min(_COPIED, end - start))
            start += len(part)
            yield part


def _read(file: BinaryIO, count: int) -> memoryview:
    part = file.read(count)
    if not part:
        raise OSError(None, "the file has become shorter")
    return memoryview(part)


def bytes_of(array: mx.array) -> memoryview:
    """The bytes of an array as a file has them."""
    return np.array(mx.contiguous(array).reshape(-1).view(mx.uint8), copy=False).data
