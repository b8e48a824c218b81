"""Products with few rows of input, against double precision with the weights that MLX gives."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import mlx.core as mx
import numpy as np
import numpy.typing as npt
import pytest

from tests.support.stored_matrices import dequantized, random_numbers

Exact = npt.NDArray[np.float64]

AFFINE = [("affine", bits, group) for bits in (2, 3, 4, 5, 6, 8) for group in (32, 64, 128)]
FLOATING = [("mxfp4", 4, 32), ("mxfp8", 8, 32), ("nvfp4", 4, 16)]
TYPES = [mx.float32, mx.float16, mx.bfloat16]

# Rows and columns, and rows of input: whole blocks of all instruction sets and parts of them, one
# row, more groups than are widened at a time, more weights than one thread takes.
SHAPES = [
    (5, 384, (1, 2, 3, 4, 7)),
    (1, 1536, (1,)),
    (37, 640, (1, 2)),
    (6, 128 * 131, (1, 3)),
    (1000, 512, (1,)),
]

# Of the spread that a result would have if its terms had random signs.
TOLERANCE = 1e-5


def exactly(values: mx.array) -> Exact:
    return np.array(values.astype(mx.float32)).astype(np.float64)


def assert_product(result: mx.array, x: mx.array, matrix: Exact) -> None:
    inputs = exactly(x)
    expected = inputs @ matrix.T
    assert result.dtype == mx.float32 and result.shape == expected.shape
    spread = np.sqrt(inputs**2 @ (matrix**2).T)
    assert (np.abs(exactly(result) - expected) <= TOLERANCE * spread).all()


@pytest.mark.parametrize(("mode", "bits", "group"), AFFINE + FLOATING)
def test_quantized_matrices_of_all_formats_and_shapes(
    native_set: ModuleType, mode: str, bits: int, group: int
) -> None:
    types = TYPES if mode == "affine" else [mx.bfloat16]
    for rows, columns, counts in SHAPES:
        for dtype in types if rows < 1000 else types[-1:]:
            source = random_numbers(rows, columns, seed=rows).astype(dtype)
            arrays = mx.quantize(source, group_size=group, bits=bits, mode=mode)
            matrix = dequantized(arrays, mode, bits, group).astype(np.float64)
            scales, biases = arrays[1], arrays[2] if mode == "affine" else None
            for count in counts:
                x = random_numbers(count, columns, seed=count)
                result = native_set.linear(x, arrays[0], scales, biases, mode, bits, group)
                assert_product(result, x, matrix)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("columns", [3, 16, 37, 640, 1537])
def test_matrices_of_floats_of_any_width(
    native_set: ModuleType, dtype: mx.Dtype, columns: int
) -> None:
    for rows in (1, 7, 600):
        matrix = random_numbers(rows, columns, seed=rows).astype(dtype)
        for count in (1, 2, 3, 4, 6):
            x = random_numbers(count, columns, seed=count)
            assert_product(native_set.linear(x, matrix), x, exactly(matrix))


@pytest.mark.parametrize("unit", [True, False], ids=["amx", "without"])
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("group", [32, 64, 128])
def test_a_row_has_the_same_result_whatever_rows_are_computed_with_it(
    native: ModuleType, unit: bool, bits: int, group: int
) -> None:
    """Where AMX is in use, of three rows at least; without it, of any number."""
    arrays = mx.quantize(random_numbers(35, 8576), group_size=group, bits=bits)
    matrix = dequantized(arrays, "affine", bits, group).astype(np.float64)
    x = random_numbers(8, 8576, seed=1)
    native.use_amx(unit)
    try:
        result = native.linear(x, *arrays, "affine", bits, group)
        for count in range(3 if unit else 1, 8):
            some = native.linear(x[-count:], *arrays, "affine", bits, group)
            assert mx.array_equal(some, result[-count:]).item()
        assert_product(native.linear(x[:1], *arrays, "affine", bits, group), x[:1], matrix)
    finally:
        native.use_amx(True)
    assert_product(result, x, matrix)


def test_inputs_have_any_number_of_axes_and_any_order(native: ModuleType) -> None:
    matrix = random_numbers(20, 64)
    x = random_numbers(64, 2, 3).transpose(2, 1, 0)
    result = native.linear(x, matrix)
    assert result.shape == (3, 2, 20)
    assert_product(result, x, exactly(matrix))
    assert_product(native.linear(x[0, 0], matrix), x[0, 0], exactly(matrix))
    assert native.linear(mx.zeros((0, 64)), matrix).shape == (0, 20)


@pytest.mark.parametrize("start", [9, 10, 13, 16])
def test_weights_may_begin_at_any_byte_and_end_with_their_file(
    native_set: ModuleType, tmp_path: Path, start: int
) -> None:
    """The last page of a mapped file is followed by nothing that may be read."""
    page = 4096
    for bits, dtype in [(2, mx.float16), (3, mx.float32), (4, mx.bfloat16), (5, mx.bfloat16),
                        (6, mx.float16), (8, mx.bfloat16)]:  # fmt: skip
        arrays = mx.quantize(
            random_numbers(5, 384).astype(dtype), group_size=32, bits=bits, mode="affine"
        )
        placed = []
        for i, array in enumerate(arrays):
            content = bytes(array.view(mx.uint8))
            offset = -(start + len(content)) % page + start
            path = tmp_path / f"{bits}.{i}"
            path.write_bytes(bytes(offset) + content)
            file = native_set.MappedFile(bytes(path))
            placed.append(file.tensor(offset, array.shape, array.dtype))
        x = random_numbers(1, 384)
        result = native_set.linear(x, *placed, "affine", bits, 32)
        assert_product(result, x, dequantized(arrays, "affine", bits, 32).astype(np.float64))


def test_arrays_that_do_not_fit_are_refused(native: ModuleType) -> None:
    x, matrix = mx.zeros((1, 64)), mx.zeros((8, 64))
    weight, scales, biases = mx.quantize(matrix, group_size=32, bits=4)
    with pytest.raises(ValueError, match="widths differ"):
        native.linear(mx.zeros((1, 32)), matrix)
    with pytest.raises(ValueError, match="float32"):
        native.linear(x.astype(mx.bfloat16), matrix)
    with pytest.raises(ValueError, match="scales or biases are missing"):
        native.linear(x, weight, scales, None, "affine", 4, 32)
    with pytest.raises(ValueError, match="scales' shape"):
        native.linear(x, weight, scales, biases, "affine", 4, 64)
    with pytest.raises(ValueError, match="unknown quantization"):
        native.linear(x, weight, scales, biases, "affine", 7, 32)
    with pytest.raises(ValueError, match="must be uint32"):
        native.linear(x, matrix, scales, biases, "affine", 4, 32)
    with pytest.raises(ValueError, match="not available"):
        native.use_instruction_set("abacus")


@pytest.mark.parametrize("group", [32, 64, 128])
@pytest.mark.parametrize(
    ("first", "others"),
    [
        pytest.param(3e4, 1.0, id="one far above the rest"),
        pytest.param(-1.0, 0.0, id="one alone"),
        pytest.param(0.0, 0.0, id="zeros"),
        pytest.param(1e-20, 1e-20, id="small"),
        pytest.param(1e-37, 1e-37, id="the smallest"),
        pytest.param(1e30, 1e30, id="large"),
    ],
)
def test_inputs_of_all_sizes(
    native_set: ModuleType, group: int, first: float, others: float
) -> None:
    source = random_numbers(9, 1280)
    arrays = mx.quantize(source, group_size=group, bits=4)
    matrix = dequantized(arrays, "affine", 4, group).astype(np.float64)
    x = random_numbers(1, 1280, seed=1) * others
    x[:, 700] = first
    result = native_set.linear(x, *arrays, "affine", 4, group)
    inputs = exactly(x)
    # Below 1e-30 numbers are rounded to multiples of 1e-37: no model has such inputs.
    tiny = 1e-36 * np.abs(matrix).sum(axis=1)
    size = np.linalg.norm(inputs) * np.linalg.norm(matrix, axis=1)
    assert (np.abs(exactly(result) - inputs @ matrix.T) <= 1e-6 * size + tiny).all()


@pytest.mark.parametrize("broken", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("columns", [64, 1280])
def test_inputs_that_are_not_finite_give_results_that_are_not(
    native_set: ModuleType, broken: float, columns: int
) -> None:
    arrays = mx.quantize(random_numbers(9, columns), group_size=64, bits=4)
    x = random_numbers(2, columns, seed=1)
    x[1, columns - 1] = broken
    result = np.array(native_set.linear(x, *arrays, "affine", 4, 64))
    assert np.isfinite(result[0]).all()
    assert not np.isfinite(result[1]).any()
