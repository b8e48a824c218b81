"""Mixtures of experts, against double precision with the weights that MLX gives."""

from __future__ import annotations

from types import ModuleType

import mlx.core as mx
import numpy as np
import numpy.typing as npt
import pytest

from tests.support.stored_matrices import dequantized, random_numbers

Exact = npt.NDArray[np.float64]

FORMATS = [("affine", 4, 64), ("affine", 8, 32), ("mxfp4", 4, 32), ("nvfp4", 4, 16), ("", 0, 0)]


def stored(
    numbers: mx.array, mode: str, bits: int, group: int
) -> tuple[list[mx.array | None], Exact]:
    """The arrays of a format, and the numbers that they mean."""
    if not mode:
        return [numbers, None, None], np.array(numbers.astype(mx.float32), dtype=np.float64)
    arrays = list(mx.quantize(numbers, group_size=group, bits=bits, mode=mode))
    meant = dequantized(arrays, mode, bits, group).astype(np.float64)
    return [*arrays, *[None] * (3 - len(arrays))], meant


def assert_products(
    result: mx.array, x: mx.array, indices: npt.NDArray[np.int32], experts: Exact
) -> None:
    rows = np.array(x, dtype=np.float64)
    if rows.ndim == indices.ndim:
        rows = rows[..., None, :]
    chosen = experts[indices]
    expected = (chosen @ rows[..., None])[..., 0]
    spread = np.sqrt(chosen**2 @ rows[..., None] ** 2)[..., 0]
    assert result.shape == expected.shape and result.dtype == mx.float32
    assert (np.abs(np.array(result) - expected) <= 1e-5 * spread).all()


@pytest.mark.parametrize("tokens", [1, 3, 40])
@pytest.mark.parametrize(("mode", "bits", "group"), FORMATS)
def test_each_row_meets_the_experts_that_it_names(
    native_set: ModuleType, mode: str, bits: int, group: int, tokens: int
) -> None:
    arrays, experts = stored(random_numbers(9, 48, 128).astype(mx.bfloat16), mode, bits, group)
    # The first expert has more rows than the others together, the last has none.
    rng = np.random.default_rng(tokens)
    indices = rng.integers(0, 8, (tokens, 3), dtype=np.int32)
    indices[: tokens // 2] = 0
    shared = random_numbers(tokens, 128)
    result = native_set.expert_linear(shared, mx.array(indices), *arrays, mode, bits, group)
    assert_products(result, shared, indices, experts)
    own = random_numbers(tokens, 3, 128)
    result = native_set.expert_linear(
        own, mx.array(indices.astype(np.uint32)), *arrays, mode, bits, group
    )
    assert_products(result, own, indices, experts)


def test_the_results_are_those_of_mlx(native: ModuleType) -> None:
    weight, scales, biases = mx.quantize(random_numbers(8, 32, 128), group_size=64, bits=4)
    indices = mx.array([[[0, 7], [3, 3]]], dtype=mx.int32)
    x = random_numbers(1, 2, 128)
    expected = mx.gather_qmm(
        x[..., None, None, :], weight, scales, biases, rhs_indices=indices, transpose=True,
        group_size=64, bits=4,
    ).squeeze(-2)  # fmt: skip
    result = native.expert_linear(x, indices, weight, scales, biases, "affine", 4, 64)
    assert mx.allclose(result, expected, atol=1e-4)


def test_many_experts_with_many_rows_each(native_set: ModuleType) -> None:
    arrays, experts = stored(random_numbers(16, 24, 64), "affine", 4, 32)
    indices = np.random.default_rng(0).integers(0, 16, (100, 4), dtype=np.int32)
    x = random_numbers(100, 64)
    result = native_set.expert_linear(x, mx.array(indices), *arrays, "affine", 4, 32)
    assert_products(result, x, indices, experts)


def test_an_index_that_names_no_expert_gives_nan(native: ModuleType) -> None:
    matrices = random_numbers(2, 8, 16)
    result = native.expert_linear(mx.ones((1, 16)), mx.array([[0, 2, -1]]), matrices)
    assert mx.isnan(result).any(-1).tolist() == [[False, True, True]]


def test_shapes_that_do_not_fit_are_refused(native: ModuleType) -> None:
    matrices, indices = random_numbers(2, 8, 16), mx.array([[0, 1]])
    with pytest.raises(ValueError, match="widths differ"):
        native.expert_linear(mx.ones((1, 8)), indices, matrices)
    with pytest.raises(ValueError, match="no columns"):
        native.expert_linear(mx.ones((1, 0)), indices, mx.zeros((2, 8, 0)))
    with pytest.raises(ValueError, match="shape of indices"):
        native.expert_linear(mx.ones((3, 16)), indices, matrices)
    with pytest.raises(ValueError, match="int32 or uint32"):
        native.expert_linear(mx.ones((1, 16)), indices.astype(mx.int64), matrices)
    with pytest.raises(ValueError, match="number of axes"):
        native.expert_linear(mx.ones((1, 16)), indices, matrices[0])
    assert native.expert_linear(mx.zeros((0, 16)), mx.zeros((0, 2), mx.int32), matrices).size == 0
