"""Read parts of tensors: only those bytes of a checkpoint's files that a process holds.

MLX reads them into the arrays themselves, as from a file that has only the parts. So nothing is in
memory twice, and no whole tensor is.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, cast

import mlx.core as mx
import numpy as np

from ..errors import CheckpointError
from ..hub.safetensors_headers import open_weights, weight_files
from ..models.shares import Piece
from .checkpoint import lazy_tensors

_LONG_RUN = 1 << 16
"""Bytes in a row from which they are read by themselves; shorter ones with what is between them."""


def read_parts(folder: Path, pieces: Mapping[str, Piece], *, mapped: bool) -> dict[str, mx.array]:
    """The parts of tensors by their names in the files, lazy. Raises CheckpointError.

    With ``mapped``, which needs the native part, those in one run of bytes stay in the file.
    """
    result: dict[str, mx.array] = {}
    for path in weight_files(folder):
        open_weights(path)  # compares the file with its header
        try:
            result |= _parts_of(path, pieces, mapped)
        except (OSError, RuntimeError, ValueError) as exc:
            raise CheckpointError(path.name, f"cannot be read ({exc})") from exc
    return result


def _parts_of(path: Path, pieces: Mapping[str, Piece], mapped: bool) -> dict[str, mx.array]:
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header: dict[str, Any] = json.loads(file.read(length))
    whole: dict[str, tuple[int, int] | None] = {}
    cut = {}
    for name, entry in header.items():
        if name not in pieces:
            continue
        ranges = pieces[name].ranges
        shape = tuple(entry["shape"])
        if ranges is None:
            whole[name] = None
        elif mapped and len(shape) + pieces[name].axis == 0 and len(ranges) == 1:
            whole[name] = ranges[0]
        else:
            first, last = entry["data_offsets"]
            start = 8 + length + first
            item = (last - first) // max(1, prod(shape))
            cut[name] = _Cut(start, shape, item, pieces[name], ranges), entry["dtype"]
    if mapped:
        from ..native.mapped import mapped_tensors

        found = mapped_tensors(path, whole)
    else:
        tensors = lazy_tensors(path)
        found = {name: tensors[name] for name in whole}
    if cut:
        parts = mx.load(cast("Any", _PartsFile(path, cut)), format="safetensors")
        found |= cast("dict[str, mx.array]", parts)
    return found


@dataclass(frozen=True, slots=True)
class _Cut:
    """A tensor at ``start`` of a file, with ``item`` bytes for a number, and its part to read."""

    start: int
    shape: tuple[int, ...]
    item: int
    piece: Piece
    ranges: tuple[tuple[int, int], ...]

    @property
    def own_shape(self) -> tuple[int, ...]:
        return self.piece.shape(self.shape)

    @property
    def nbytes(self) -> int:
        return prod(self.own_shape) * self.item

    def runs(self) -> Iterator[tuple[int, int]]:
        """Where in the file the part's bytes are: first and last of each run."""
        axis = len(self.shape) + self.piece.axis
        inner = prod(self.shape[axis + 1 :]) * self.item
        for outer in range(prod(self.shape[:axis])):
            for first, last in self.ranges:
                base = self.start + outer * self.shape[axis] * inner
                yield base + first * inner, base + last * inner

    def read(self, file: io.FileIO, path: Path, target: memoryview) -> None:
        """Fill ``target`` with the part."""
        first, last = next(self.runs())
        if last - first < _LONG_RUN:
            self._copy(path, target)
            return
        done = 0
        for first, last in self.runs():
            file.seek(first)
            end = done + last - first
            while done < end:
                count = file.readinto(target[done:end])
                if not count:
                    raise OSError("the file has become shorter")
                done += count

    def _copy(self, path: Path, target: memoryview) -> None:
        numbers = np.dtype(f"u{self.item}")
        mapped = np.memmap(path, np.uint8, "r")  # anew, so that its pages are given back
        stored = np.ndarray(self.shape, numbers, mapped, self.start)
        own = np.frombuffer(target, numbers).reshape(self.own_shape)
        done = 0
        for first, last in self.ranges:
            there: list[slice] = [slice(None)] * len(self.shape)
            here = list(there)
            there[self.piece.axis] = slice(first, last)
            here[self.piece.axis] = slice(done, done + last - first)
            own[tuple(here)] = stored[tuple(there)]
            done += last - first


class _PartsFile(io.RawIOBase):
    """A safetensors file that has only the parts; a part is read as a whole."""

    def __init__(self, path: Path, cuts: Mapping[str, tuple[_Cut, str]]) -> None:
        self._path = path
        self._file = io.FileIO(path)
        self._at = 0
        header: dict[str, dict[str, Any]] = {}
        end = 0
        for name, (cut, dtype) in cuts.items():
            offsets = [end, end + cut.nbytes]
            header[name] = {"dtype": dtype, "shape": cut.own_shape, "data_offsets": offsets}
            end += cut.nbytes
        text = json.dumps(header).encode()
        self._head = len(text).to_bytes(8, "little") + text
        starts = [len(self._head) + each["data_offsets"][0] for each in header.values()]
        self._cuts = dict(zip(starts, (cut for cut, _ in cuts.values()), strict=True))
        self._size = len(self._head) + end

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = base + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any, /) -> int:
        view = memoryview(buffer).cast("B")
        if self._at < len(self._head):
            data = self._head[self._at : self._at + len(view)]
            view[: len(data)] = data
            count = len(data)
        else:
            cut = self._cuts[self._at]
            if len(view) != cut.nbytes:
                raise ValueError("a part is read as a whole")
            cut.read(self._file, self._path, view)
            count = cut.nbytes
        self._at += count
        return count

    def close(self) -> None:
        self._file.close()
        super().close()
