"""Norms and rotations of heads in the native part, against MLX's and double precision."""

from __future__ import annotations

from types import ModuleType

import mlx.core as mx
import numpy as np
import pytest

from gemma4cli.models.vision_tower import axial_angles, rotate_axial

EPS = 1e-6


def normed(x: mx.array, weight: mx.array | None) -> mx.array:
    """In double precision: MLX adds a row's squares one by one."""
    exact = np.array(x, np.float64)
    exact /= np.sqrt(np.square(exact).mean(axis=-1, keepdims=True) + EPS)
    return mx.array(exact if weight is None else exact * np.array(weight), mx.float32)


@pytest.mark.parametrize("width", [1, 5, 64, 80, 1536])
@pytest.mark.parametrize("rows", [1, 3, 700])
def test_a_row_is_divided_by_its_root_mean_square(
    native_set: ModuleType, rows: int, width: int
) -> None:
    x, residual = mx.random.normal((rows, width)) * 7, mx.random.normal((rows, width))
    weight = mx.random.normal((width,)).astype(mx.bfloat16)
    plain = native_set.rms_norm(x, None, EPS)
    assert mx.allclose(plain, normed(x, None), rtol=1e-5, atol=1e-6)
    whole = native_set.rms_norm(x, weight, EPS, residual=residual, scale=0.25)
    expected = (residual + normed(x, weight.astype(mx.float32))) * 0.25
    assert mx.allclose(whole, expected, rtol=1e-5, atol=1e-6)


def test_a_norm_may_limit_numbers_first(native_set: ModuleType) -> None:
    x = mx.array([[1.0, -2, 1e20, -1e20, 3]])
    expected = normed(mx.clip(x, -100, 100), None)
    assert mx.allclose(native_set.rms_norm(x, None, EPS, bound=100.0), expected, rtol=1e-6)
    assert mx.isnan(native_set.rms_norm(mx.array([[1.0, mx.nan]]), None, EPS, bound=100.0)).all()


def test_a_residual_that_is_still_needed_is_kept(native_set: ModuleType) -> None:
    residual = mx.random.normal((4, 32))
    kept = np.array(residual)
    x = mx.random.normal((4, 32)) * 2
    once = native_set.rms_norm(x, None, EPS, residual=residual)
    mx.eval(native_set.rms_norm(once, None, EPS, residual=residual) + once)
    np.testing.assert_array_equal(np.array(residual), kept)


@pytest.mark.parametrize("width", [64, 80, 256, 512])
@pytest.mark.parametrize(("batch", "length", "heads"), [(1, 1, 8), (2, 5, 1), (1, 200, 4)])
def test_heads_are_normalized_rotated_and_come_first(
    native_set: ModuleType, batch: int, length: int, heads: int, width: int
) -> None:
    x = mx.random.normal((batch, length, heads, width)) * 3
    weight = mx.random.normal((width,)) + 1
    offsets = mx.array([3, 700][:batch], mx.int32)
    frequencies = 10_000.0 ** (mx.arange(width // 2) / (width // 2))
    turns = native_set.rope_table(offsets, length, frequencies)
    assert turns.shape == (batch, length, 1, 2, width // 2)
    got = native_set.rotate(x, weight, EPS, turns)
    expected = mx.fast.rope(
        normed(x, weight).transpose(0, 2, 1, 3),
        width,
        traditional=False,
        base=None,
        scale=1.0,
        offset=offsets,
        freqs=frequencies,
    )
    assert mx.allclose(got, expected, rtol=1e-4, atol=1e-3)
    values = native_set.rotate(x, eps=EPS)
    assert mx.allclose(values, normed(x, None).transpose(0, 2, 1, 3), rtol=1e-5, atol=1e-6)
    assert mx.array_equal(native_set.rotate(x), x.transpose(0, 2, 1, 3))


def test_a_projection_of_several_heads_is_read_where_it_is(native_set: ModuleType) -> None:
    """Columns of a wider array, and an axis whose numbers are not side by side."""
    wide = mx.random.normal((2, 3, 10 * 32))
    part = wide[..., 64 : 64 + 4 * 32].reshape(2, 3, 4, 32)
    expected = normed(part, None).transpose(0, 2, 1, 3)
    assert mx.allclose(native_set.rotate(part, eps=EPS), expected, rtol=1e-5, atol=1e-6)
    turned = mx.random.normal((2, 3, 32, 4)).transpose(0, 1, 3, 2)
    expected = normed(turned, None).transpose(0, 2, 1, 3)
    assert mx.allclose(native_set.rotate(turned, eps=EPS), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("theta", [1e4, 1e6])
def test_angles_are_exact_at_the_end_of_the_longest_context(
    native: ModuleType, theta: float
) -> None:
    """MLX multiplies in float32, where an angle at position 131,071 is off by up to 0.008."""
    half = 128
    frequencies = np.float32(theta ** (np.arange(half) / half))
    position = 131_071
    exact = position / frequencies.astype(np.float64)
    expected = np.stack([np.cos(exact), np.sin(exact)])
    got = native.rope_table(mx.array([position], mx.int32), 1, mx.array(frequencies))
    np.testing.assert_allclose(np.array(got)[0, 0, 0], expected, atol=1e-7)
    ones = mx.concatenate([mx.ones((1, 1, 1, half)), mx.zeros((1, 1, 1, half))], axis=-1)
    theirs = mx.fast.rope(
        ones,
        2 * half,
        traditional=False,
        base=None,
        scale=1.0,
        offset=position,
        freqs=mx.array(frequencies),
    )
    np.testing.assert_allclose(np.array(theirs).reshape(2, half), expected, atol=0.02)


def test_an_infinite_frequency_turns_nothing(native_set: ModuleType) -> None:
    table = native_set.rope_table(mx.array([9, 0], mx.int32), 2, mx.array([mx.inf, 2.0]))
    np.testing.assert_allclose(
        np.array(table)[:, :, 0],
        [
            [[[1, np.cos(4.5)], [0, np.sin(4.5)]], [[1, np.cos(5)], [0, np.sin(5)]]],
            [[[1, 1], [0, 0]], [[1, np.cos(0.5)], [0, np.sin(0.5)]]],
        ],
        rtol=1e-6,
    )


def test_the_halves_of_a_head_may_turn_by_their_own_positions(native_set: ModuleType) -> None:
    """As in the vision tower, where one half has the column and one the row."""
    xs, ys = mx.array([0, 1, 2, 0, 1, 2]), mx.array([0, 0, 0, 1, 1, 1])
    cos, sin = axial_angles(xs, ys, 64, 100.0, mx.float32)
    x = mx.random.normal((2, 6, 3, 64))
    turns = mx.stack([cos[:, 0], sin[:, 0]], axis=-2)[None]
    expected = rotate_axial(x, (cos, sin)).transpose(0, 2, 1, 3)
    assert mx.allclose(native_set.rotate(x, cos_sin=turns), expected, rtol=1e-5, atol=1e-6)


def test_heads_without_numbers_stay_so(native: ModuleType) -> None:
    x = mx.zeros((1, 2, 3, 0))
    assert native.rotate(x, cos_sin=mx.zeros((1, 2, 0, 2, 5))).tolist() == [[[[]] * 2] * 3]


def test_shapes_that_do_not_fit_are_refused(native: ModuleType) -> None:
    x = mx.zeros((2, 3, 4, 32))
    with pytest.raises(ValueError, match="weight"):
        native.rotate(x, mx.zeros((16,)), EPS)
    with pytest.raises(ValueError, match="weight"):
        native.rotate(x, mx.zeros((32,)))
    with pytest.raises(ValueError, match="cos_sin"):
        native.rotate(x, cos_sin=mx.zeros((1, 2, 1, 2, 16)))
    with pytest.raises(ValueError, match="offsets"):
        native.rope_table(mx.array([1.0]), 1, mx.ones((4,)))
    with pytest.raises(ValueError, match="length"):
        native.rope_table(mx.array([1], mx.int32), -1, mx.ones((4,)))
    with pytest.raises(ValueError, match="residual"):
        native.rms_norm(x, None, EPS, residual=mx.zeros((3, 32)))
