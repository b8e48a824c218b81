"""Read parts of tensors: only those bytes of a checkpoint's files that a process holds."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import numpy.typing as npt

from ..errors import CheckpointError
from ..hub.safetensors_headers import open_weights, weight_files
from ..models.shares import Piece

_DTYPES: Mapping[str, tuple[mx.Dtype, str]] = {
    "F32": (mx.float32, "u4"),
    "F16": (mx.float16, "u2"),
    "BF16": (mx.bfloat16, "u2"),
    "I64": (mx.int64, "u8"),
    "I32": (mx.int32, "u4"),
    "U64": (mx.uint64, "u8"),
    "U32": (mx.uint32, "u4"),
    "U16": (mx.uint16, "u2"),
    "U8": (mx.uint8, "u1"),
    "I8": (mx.int8, "u1"),
}
"""MLX's types, and NumPy's of the same size, which has no bfloat16."""


def read_parts(folder: Path, pieces: Mapping[str, Piece]) -> dict[str, mx.array]:
    """The parts of a checkpoint's tensors by their names in its files.

    Whole tensors stay lazy; parts are read here. Raises CheckpointError.
    """
    result: dict[str, mx.array] = {}
    for path in weight_files(folder):
        open_weights(path)  # compares the file with its header
        try:
            result |= dict(_parts_of(path, pieces))
        except (OSError, RuntimeError, ValueError) as exc:
            raise CheckpointError(path.name, f"cannot be read ({exc})") from exc
    return result


def _parts_of(path: Path, pieces: Mapping[str, Piece]) -> Iterator[tuple[str, mx.array]]:
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header: dict[str, Any] = json.loads(file.read(length))
    header.pop("__metadata__", None)
    names = [name for name in header if name in pieces]
    whole = [name for name in names if pieces[name].ranges is None]
    if whole:
        lazy = mx.load(str(path), format="safetensors")
        assert isinstance(lazy, dict)
        yield from ((name, lazy[name]) for name in whole)
    for name in names:
        piece, entry = pieces[name], header[name]
        if piece.ranges is None:
            continue
        if entry["dtype"] not in _DTYPES:
            raise ValueError(f"{name} is of type {entry['dtype']}")
        dtype, same_size = _DTYPES[entry["dtype"]]
        # Mapped anew for each tensor, so that its pages are given back.
        mapped = np.memmap(path, np.uint8, "r")
        stored: npt.NDArray[Any] = np.ndarray(
            tuple(entry["shape"]),
            np.dtype(same_size),
            mapped,
            8 + length + entry["data_offsets"][0],
        )
        yield name, mx.array(_cut(stored, piece)).view(dtype)


def _cut(stored: npt.NDArray[Any], piece: Piece) -> npt.NDArray[Any]:
    """The piece of a tensor, as an array of its own."""
    assert piece.ranges is not None
    cuts = []
    for first, last in piece.ranges:
        where: list[slice] = [slice(None)] * stored.ndim
        where[piece.axis] = slice(first, last)
        cuts.append(stored[tuple(where)])
    return np.ascontiguousarray(cuts[0]) if len(cuts) == 1 else np.concatenate(cuts, piece.axis)
