"""Products of many rows with matrices of weights, against NumPy in double precision."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import mlx.core as mx
import numpy as np
import numpy.typing as npt
import pytest

from tests.native.conftest import INSTRUCTION_SETS

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

    def times(self, native: ModuleType, x: Numbers) -> Numbers:
        scales, biases, *_ = [*self.arrays[1:], None, None]
        form = self.format
        return np.array(
            native.linear(
                mx.array(x),
                self.arrays[0],
                scales,
                biases,
                mode=form.mode,
                bits=form.bits,
                group_size=form.group_size,
            )
        )


def stored(form: Format, outputs: int, columns: int) -> Stored:
    rng = np.random.default_rng(outputs * columns)
    dense = mx.array(rng.normal(0, 0.05, (outputs, columns)).astype(np.float32)).astype(form.dtype)
    if not form.mode:
        return Stored(format=form, arrays=[dense], numbers=np.array(dense.astype(mx.float32)))
    sizes = {"group_size": form.group_size, "bits": form.bits, "mode": form.mode}
    arrays = list(mx.quantize(dense, **sizes))
    wide = [part.astype(mx.float32) for part in arrays[1:]] if form.mode == "affine" else arrays[1:]
    numbers = mx.dequantize(arrays[0], *wide, **sizes).astype(mx.float32)
    return Stored(format=form, arrays=arrays, numbers=np.array(numbers))


def activations(rows: int, columns: int) -> Numbers:
    return np.random.default_rng(rows).normal(0, 2, (rows, columns)).astype(np.float32)


@pytest.fixture(params=[*INSTRUCTION_SETS, "amx"])
def most(request: pytest.FixtureRequest, native: ModuleType) -> Iterator[float]:
    """The largest error in parts of the results' spread, for each unit of the processor in turn.

    AMX's factors have 16 bits and a sign, so that a few of many results differ by more.
    """
    amx, best = request.param == "amx", native.instruction_set()
    if amx and not native.has_amx():
        pytest.skip("this processor has no AMX")
    try:
        native.use_instruction_set(best if amx else request.param)
    except ValueError as exc:
        pytest.skip(str(exc))
    native.use_amx(amx)
    yield 2.5e-5 if amx else 1e-5
    native.use_amx(True)
    native.use_instruction_set(best)


def assert_exact(got: Numbers, x: Numbers, weights: Numbers, most: float) -> None:
    exact = x.astype(np.float64) @ weights.astype(np.float64).T
    spread = float(exact.std()) or 1.0
    assert np.sqrt(np.mean((got - exact) ** 2)) <= 6e-6 * spread
    np.testing.assert_allclose(got, exact, rtol=most, atol=most * spread)


@pytest.mark.parametrize("form", FORMATS, ids=str)
def test_all_formats_give_the_products_of_their_numbers(
    native: ModuleType, most: float, form: Format
) -> None:
    matrix = stored(form, 136, 640)
    x = activations(67, 640)
    assert_exact(matrix.times(native, x), x, matrix.numbers, most)


@pytest.mark.parametrize("rows", range(1, 41))
def test_any_number_of_rows(native: ModuleType, most: float, rows: int) -> None:
    matrix = stored(Format(mode="affine", bits=4, group_size=64), 40, 192)
    x = activations(rows, 192)
    assert_exact(matrix.times(native, x), x, matrix.numbers, most)


@pytest.mark.parametrize("outputs", [1, 2, 7, 15, 17, 33, 129, 301])
@pytest.mark.parametrize("form", [FORMATS[2], FORMATS[5]], ids=str)
def test_any_number_of_outputs(native: ModuleType, most: float, form: Format, outputs: int) -> None:
    matrix = stored(form, outputs, 320)
    x = activations(50, 320)
    assert_exact(matrix.times(native, x), x, matrix.numbers, most)


@pytest.mark.parametrize("columns", [1, 3, 16, 31, 100, 193, 1001])
@pytest.mark.parametrize("form", FORMATS[:3], ids=str)
def test_any_width_where_weights_are_not_quantized(
    native: ModuleType, most: float, form: Format, columns: int
) -> None:
    matrix = stored(form, 21, columns)
    x = activations(19, columns)
    assert_exact(matrix.times(native, x), x, matrix.numbers, most)


@pytest.mark.parametrize("group_size", [32, 64, 128])
@pytest.mark.parametrize("groups", [1, 2, 3, 7, 9])
def test_any_number_of_groups(
    native: ModuleType, most: float, group_size: int, groups: int
) -> None:
    matrix = stored(Format(mode="affine", bits=3, group_size=group_size), 24, group_size * groups)
    x = activations(20, group_size * groups)
    assert_exact(matrix.times(native, x), x, matrix.numbers, most)


def test_more_rows_than_are_packed_at_a_time(native: ModuleType, most: float) -> None:
    matrix = stored(FORMATS[5], 64, 256)
    x = activations(1201, 256)
    assert_exact(matrix.times(native, x), x, matrix.numbers, most)


def test_long_sums_keep_their_accuracy(native: ModuleType, most: float) -> None:
    matrix = stored(FORMATS[5], 64, 12_288)
    x = activations(64, 12_288)
    assert_exact(matrix.times(native, x), x, matrix.numbers, most)


def test_products_may_be_rounded_to_bfloat16(native: ModuleType) -> None:
    if not native.has_amx():
        pytest.skip("this processor has no AMX")
    matrix = stored(FORMATS[2], 96, 256)
    x = activations(40, 256)
    rounded = np.array(mx.array(x).astype(mx.bfloat16).astype(mx.float32))
    native.set_bf16_products(True)
    try:
        got = matrix.times(native, x)
    finally:
        native.set_bf16_products(False)
    assert_exact(got, rounded, matrix.numbers, 1e-5)


def test_leading_axes_of_the_input_are_kept(native: ModuleType, most: float) -> None:
    matrix = stored(FORMATS[5], 72, 128)
    x = activations(30, 128)
    flat = matrix.times(native, x)
    np.testing.assert_array_equal(
        matrix.times(native, x.reshape(2, 3, 5, 128)), flat.reshape(2, 3, 5, 72)
    )


@pytest.mark.parametrize("rows", [0, 16])
def test_no_rows_or_no_outputs_give_an_empty_result(native: ModuleType, rows: int) -> None:
    weight = mx.zeros((48 if rows == 0 else 0, 32), mx.bfloat16)
    assert native.linear(mx.zeros((rows, 32)), weight).shape == (rows, weight.shape[0])


@pytest.mark.parametrize("form", FORMATS, ids=str)
def test_weights_may_begin_at_any_byte_of_a_file(
    native: ModuleType, most: float, form: Format, tmp_path: Path
) -> None:
    """The last matrix ends where the file does, so that reading beyond it would fail."""
    matrix = stored(form, 64, 256)
    mapped = []
    for number, array in enumerate(matrix.arrays):
        raw = np.array(array.view(mx.uint8)).tobytes()
        file = tmp_path / str(number)
        offset = -len(raw) % 4096 + 4096 * (number + 1) - 3
        file.write_bytes(b"\xff" * offset + raw)
        shape = list(array.shape)
        mapped.append(native.mapped_array(str(file), offset, shape, array.dtype))
    x = activations(33, 256)
    elsewhere = Stored(format=form, arrays=mapped, numbers=matrix.numbers)
    np.testing.assert_array_equal(elsewhere.times(native, x), matrix.times(native, x))
