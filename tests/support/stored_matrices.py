"""Matrices of weights in all formats that are stored, and the numbers that they mean."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import mlx.core as mx
import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, slots=True)
class Format:
    """A way to store a matrix; mode "" is not quantized."""

    mode: str = ""
    bits: int = 0
    group_size: int = 0
    dtype: mx.Dtype = mx.bfloat16

    def __str__(self) -> str:
        kind = str(self.dtype).removeprefix("mlx.core.")
        return f"{self.mode}{self.bits}-{self.group_size}-{kind}" if self.mode else kind


FORMATS = [
    *(Format(dtype=dtype) for dtype in (mx.float32, mx.float16, mx.bfloat16)),
    *(Format(mode="affine", bits=bits, group_size=64) for bits in (2, 3, 4, 5, 6, 8)),
    Format(mode="affine", bits=4, group_size=32, dtype=mx.float16),
    Format(mode="affine", bits=5, group_size=128, dtype=mx.float32),
    Format(mode="mxfp4", bits=4, group_size=32),
    Format(mode="mxfp8", bits=8, group_size=32),
    Format(mode="nvfp4", bits=4, group_size=16),
]


@dataclass(frozen=True, kw_only=True, slots=True)
class Stored:
    """A matrix as it is stored, and the numbers that it means."""

    format: Format
    arrays: list[mx.array]
    numbers: Numbers

    @property
    def parts(self) -> tuple[mx.array, mx.array | None, mx.array | None, str, int, int]:
        """What the native part takes a matrix as."""
        scales, biases, *_ = [*self.arrays[1:], None, None]
        form = self.format
        return self.arrays[0], scales, biases, form.mode, form.bits, form.group_size

    def in_file(self, native: ModuleType, folder: Path) -> Stored:
        """The same matrix in files that end where its arrays do, at an odd place of a page."""
        mapped = []
        for number, array in enumerate(self.arrays):
            raw = np.array(array.view(mx.uint8)).tobytes()
            file = folder / str(number)
            offset = -len(raw) % 4096 + 4096 * (number + 1) - 3
            file.write_bytes(b"\xff" * offset + raw)
            mapped.append(
                native.MappedFile(bytes(file)).tensor(offset, list(array.shape), array.dtype)
            )
        return Stored(format=self.format, arrays=mapped, numbers=self.numbers)


def random_numbers(*shape: int, seed: int = 0) -> mx.array:
    return mx.array(np.random.default_rng(seed).normal(0, 1, shape).astype(np.float32))


def dequantized(arrays: list[mx.array], mode: str, bits: int, group_size: int) -> Numbers:
    """The numbers that quantized arrays mean; scales are not rounded on the way."""
    weight, *factors = arrays
    if mode == "affine":
        factors = [part.astype(mx.float32) for part in factors]
    return np.array(
        mx.dequantize(
            weight, *factors, group_size=group_size, bits=bits, mode=mode, dtype=mx.float32
        )
    )


def stored(form: Format, outputs: int, columns: int) -> Stored:
    rng = np.random.default_rng(outputs * columns)
    dense = mx.array(rng.normal(0, 0.05, (outputs, columns)).astype(np.float32)).astype(form.dtype)
    if not form.mode:
        return Stored(format=form, arrays=[dense], numbers=np.array(dense.astype(mx.float32)))
    arrays = list(mx.quantize(dense, group_size=form.group_size, bits=form.bits, mode=form.mode))
    numbers = dequantized(arrays, form.mode, form.bits, form.group_size)
    return Stored(format=form, arrays=arrays, numbers=numbers)
