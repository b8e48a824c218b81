"""Products of many rows with matrices of weights, against NumPy in double precision."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import mlx.core as mx
import numpy as np
import pytest

from tests.support.stored_matrices import FORMATS, Format, Numbers, Stored, stored

MOST = 1e-5
"""The largest error, in parts of the results' spread."""


def times(native: ModuleType, matrix: Stored, x: Numbers, **options: object) -> Numbers:
    return np.array(native.linear(mx.array(x), *matrix.parts, **options))


def bias_alone(bias: mx.array) -> tuple[object, ...]:
    """What adds a bias, as the native part takes it."""
    return None, None, 1.0, None, bias


def activations(rows: int, columns: int) -> Numbers:
    return np.random.default_rng(rows).normal(0, 2, (rows, columns)).astype(np.float32)


def assert_exact(got: Numbers, x: Numbers, weights: Numbers, most: float = MOST) -> None:
    exact = x.astype(np.float64) @ weights.astype(np.float64).T
    spread = float(exact.std()) or 1.0
    assert np.sqrt(np.mean((got - exact) ** 2)) <= 6e-6 * spread
    np.testing.assert_allclose(got, exact, rtol=most, atol=most * spread)


@pytest.mark.parametrize("form", FORMATS, ids=str)
def test_all_formats_give_the_products_of_their_numbers(
    native_unit: ModuleType, form: Format
) -> None:
    matrix = stored(form, 136, 640)
    x = activations(67, 640)
    assert_exact(times(native_unit, matrix, x), x, matrix.numbers)


@pytest.mark.parametrize("rows", range(1, 41))
def test_any_number_of_rows(native_unit: ModuleType, rows: int) -> None:
    matrix = stored(Format(mode="affine", bits=4, group_size=64), 40, 192)
    x = activations(rows, 192)
    assert_exact(times(native_unit, matrix, x), x, matrix.numbers)


@pytest.mark.parametrize("outputs", [1, 2, 7, 15, 17, 33, 129, 301])
@pytest.mark.parametrize("form", [FORMATS[2], FORMATS[5]], ids=str)
def test_any_number_of_outputs(native_unit: ModuleType, form: Format, outputs: int) -> None:
    matrix = stored(form, outputs, 320)
    x = activations(50, 320)
    assert_exact(times(native_unit, matrix, x), x, matrix.numbers)


@pytest.mark.parametrize("columns", [1, 3, 16, 31, 100, 193, 1001])
@pytest.mark.parametrize("form", FORMATS[:3], ids=str)
def test_any_width_where_weights_are_not_quantized(
    native_unit: ModuleType, form: Format, columns: int
) -> None:
    matrix = stored(form, 21, columns)
    x = activations(19, columns)
    assert_exact(times(native_unit, matrix, x), x, matrix.numbers)


@pytest.mark.parametrize("group_size", [32, 64, 128])
@pytest.mark.parametrize("groups", [1, 2, 3, 7, 9])
def test_any_number_of_groups(native_unit: ModuleType, group_size: int, groups: int) -> None:
    matrix = stored(Format(mode="affine", bits=3, group_size=group_size), 24, group_size * groups)
    x = activations(20, group_size * groups)
    assert_exact(times(native_unit, matrix, x), x, matrix.numbers)


def test_more_rows_than_are_packed_at_a_time(native_unit: ModuleType) -> None:
    matrix = stored(FORMATS[5], 64, 256)
    x = activations(1201, 256)
    assert_exact(times(native_unit, matrix, x), x, matrix.numbers)


def test_long_sums_keep_their_accuracy(native_unit: ModuleType) -> None:
    matrix = stored(FORMATS[5], 64, 12_288)
    x = activations(64, 12_288)
    assert_exact(times(native_unit, matrix, x), x, matrix.numbers)


def test_products_may_be_rounded_to_bfloat16(native: ModuleType) -> None:
    if not native.has_amx():
        pytest.skip("this processor has no AMX")
    matrix = stored(FORMATS[2], 96, 256)
    x = activations(40, 256)
    rounded = np.array(mx.array(x).astype(mx.bfloat16).astype(mx.float32))
    native.set_bf16_products(True)
    try:
        got = times(native, matrix, x)
    finally:
        native.set_bf16_products(False)
    assert_exact(got, rounded, matrix.numbers)


def test_leading_axes_of_the_input_are_kept(native_unit: ModuleType) -> None:
    matrix = stored(FORMATS[5], 72, 128)
    x = activations(30, 128)
    flat = times(native_unit, matrix, x)
    np.testing.assert_array_equal(
        times(native_unit, matrix, x.reshape(2, 3, 5, 128)), flat.reshape(2, 3, 5, 72)
    )


@pytest.mark.parametrize("rows", [0, 16])
def test_no_rows_or_no_outputs_give_an_empty_result(native: ModuleType, rows: int) -> None:
    weight = mx.zeros((48 if rows == 0 else 0, 32), mx.bfloat16)
    assert native.linear(mx.zeros((rows, 32)), weight).shape == (rows, weight.shape[0])


@pytest.mark.parametrize("form", FORMATS, ids=str)
def test_weights_may_begin_at_any_byte_of_a_file(
    native_unit: ModuleType, form: Format, tmp_path: Path
) -> None:
    matrix = stored(form, 64, 256)
    x = activations(33, 256)
    elsewhere = times(native_unit, matrix.in_file(native_unit, tmp_path), x)
    np.testing.assert_array_equal(elsewhere, times(native_unit, matrix, x))


@pytest.mark.parametrize("rows", [2, 35])
@pytest.mark.parametrize("dtype", [mx.float32, mx.bfloat16])
def test_a_bias_is_added_to_each_row(native_unit: ModuleType, rows: int, dtype: mx.Dtype) -> None:
    matrix = stored(FORMATS[2], 37, 64)
    x, bias = activations(rows, 64), mx.arange(37).astype(dtype)
    got = times(native_unit, matrix, x, adapter=bias_alone(bias))
    assert_exact(got - np.arange(37, dtype=np.float32), x, matrix.numbers, 2 * MOST)


@pytest.mark.parametrize("rows", [1, 7, 40])
def test_inputs_and_outputs_are_limited(native_unit: ModuleType, rows: int) -> None:
    """The limits of the outputs apply when the bias has been added."""
    matrix = stored(FORMATS[2], 50, 96)
    x = activations(rows, 96)
    limited = np.clip(x, -1.5, 0.75)
    bias = np.linspace(-0.5, 0.5, 50, dtype=np.float32)
    limits = mx.array([-1.5, 0.75, -0.25, 0.5])
    got = times(native_unit, matrix, x, clip=limits, adapter=bias_alone(mx.array(bias)))
    free = times(native_unit, matrix, limited, adapter=bias_alone(mx.array(bias)))
    assert (free < -0.25).any() and (free > 0.5).any()
    # Few rows without limits are multiplied by another kernel.
    np.testing.assert_allclose(got, np.clip(free, -0.25, 0.5), rtol=0, atol=1e-6)


def test_limits_keep_what_is_no_number(native_unit: ModuleType) -> None:
    x = activations(20, 32)
    x[3, 30] = np.nan
    limits = mx.array([-1.0, 1.0, -1.0, 1.0])
    got = times(native_unit, stored(FORMATS[2], 24, 32), x, clip=limits)
    assert np.isnan(got).any(-1).nonzero()[0].tolist() == [3]
    assert np.isnan(got[3]).all()


def test_limits_make_infinite_inputs_finite(native_unit: ModuleType) -> None:
    x = activations(20, 32)
    x[2, 1], x[4, 31] = np.inf, -np.inf
    limits = mx.array([-1.0, 1.0, -np.inf, np.inf])
    matrix = stored(FORMATS[2], 24, 32)
    assert_exact(times(native_unit, matrix, x, clip=limits), np.clip(x, -1, 1), matrix.numbers)


@pytest.mark.parametrize(
    "options",
    [
        {"adapter": bias_alone(mx.zeros(7))},
        {"adapter": bias_alone(mx.zeros((1, 8)))},
        {"clip": mx.zeros(2)},
    ],
)
def test_options_of_other_shapes_are_refused(
    native: ModuleType, options: dict[str, object]
) -> None:
    with pytest.raises(ValueError, match="linear: "):
        native.linear(mx.zeros((2, 32)), mx.zeros((8, 32)), **options)
