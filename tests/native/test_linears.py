"""Several matrices at once, against products one by one and double precision."""

from __future__ import annotations

import math
from types import ModuleType

import mlx.core as mx
import numpy as np
import pytest

from tests.support.stored_matrices import random_numbers

Matrix = tuple[mx.array, mx.array | None, mx.array | None, str, int, int]


def affine(rows: int, columns: int, bits: int = 4, group: int = 64, seed: int = 0) -> Matrix:
    source = random_numbers(rows, columns, seed=seed).astype(mx.bfloat16)
    weight, scales, biases = mx.quantize(source, group_size=group, bits=bits)
    return weight, scales, biases, "affine", bits, group


def floats(rows: int, columns: int, dtype: mx.Dtype = mx.bfloat16) -> Matrix:
    return random_numbers(rows, columns, seed=rows).astype(dtype), None, None, "", 0, 0


@pytest.mark.parametrize("count", [1, 3, 20])
def test_matrices_of_different_heights_and_formats_share_an_input(
    native_set: ModuleType, count: int
) -> None:
    x = random_numbers(1, count, 256)
    matrices = [
        affine(512, 256),
        affine(40, 256, seed=1),
        affine(40, 256, group=32),
        affine(24, 256, bits=8),
        floats(30, 256),
    ]
    results = native_set.linears(x, matrices)
    assert [array.shape for array in results] == [(1, count, n) for n in (512, 40, 40, 24, 30)]
    for result, matrix in zip(results, matrices, strict=True):
        assert mx.array_equal(result, native_set.linear(x, *matrix))


def test_no_matrix_gives_no_result(native: ModuleType) -> None:
    assert native.linears(mx.zeros((1, 64)), []) == []


def test_a_matrix_that_does_not_fit_is_refused(native: ModuleType) -> None:
    with pytest.raises(ValueError, match="linears: widths differ"):
        native.linears(mx.zeros((1, 64)), [floats(8, 64), floats(8, 32)])
    with pytest.raises(ValueError, match="linears: the matrix has no columns"):
        native.linears(mx.zeros((1, 0)), [floats(8, 0)])
    with pytest.raises(ValueError, match="heights differ"):
        native.gated(mx.zeros((1, 64)), floats(8, 64), floats(9, 64))
    with pytest.raises(ValueError, match="unknown curve"):
        native.gated(mx.zeros((1, 64)), floats(8, 64), floats(8, 64), "steps")


@pytest.mark.parametrize("count", [1, 5, 30])
@pytest.mark.parametrize(
    ("gate", "up"),
    [
        (affine(1400, 512), affine(1400, 512, seed=1)),
        (affine(37, 128), affine(37, 128, bits=6)),
        (floats(100, 96), floats(100, 96, mx.float32)),
    ],
    ids=["quantized", "mixed", "floats"],
)
def test_a_gated_product_is_the_two_products_with_gelu_between(
    native_set: ModuleType, gate: Matrix, up: Matrix, count: int
) -> None:
    columns = columns_of(gate)
    x = random_numbers(count, columns, seed=count)
    gates, ups = (np.array(array).astype(np.float64) for array in native_set.linears(x, [gate, up]))
    expected = gates / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (gates + 0.044715 * gates**3)))
    result = np.array(native_set.gated(x, gate, up))
    np.testing.assert_allclose(result, expected * ups, rtol=2e-5, atol=1e-5)
    silu = np.array(native_set.gated(x, gate, up, "silu"))
    np.testing.assert_allclose(silu, gates / (1 + np.exp(-gates)) * ups, rtol=2e-5, atol=1e-5)


def columns_of(matrix: Matrix) -> int:
    width = matrix[0].shape[1]
    return width * 32 // matrix[4] if matrix[3] else width
