"""Gradients of the native part's functions against those of MLX's own operations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import ModuleType

import mlx.core as mx
import mlx.nn as nn
import pytest

from gemma4cli.models.masks import Visibility, make_masks
from tests.support.stored_matrices import dequantized, random_numbers

Function = Callable[..., mx.array]


def assert_gradients(native: Function, plain: Function, arguments: Sequence[mx.array]) -> None:
    """All arguments' gradients of both, of a sum in which each result counts differently."""

    def summed(function: Function) -> Function:
        def total(*given: mx.array) -> mx.array:
            out = function(*given)
            return (out * mx.cos(mx.arange(out.size, dtype=mx.float32)).reshape(out.shape)).sum()

        return total

    numbers = list(range(len(arguments)))
    expected = mx.grad(summed(plain), numbers)(*arguments)
    found = mx.grad(summed(native), numbers)(*arguments)
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape and one.dtype == mx.float32
        assert (mx.abs(one - other).max() <= 1e-5 * mx.abs(other).max()).item()


@pytest.mark.parametrize(
    ("mode", "bits", "group"), [("affine", 4, 64), ("affine", 3, 32), ("mxfp4", 4, 32)]
)
def test_products_with_quantized_matrices(
    native_unit: ModuleType, mode: str, bits: int, group: int
) -> None:
    arrays = mx.quantize(random_numbers(200, 384), group_size=group, bits=bits, mode=mode)
    matrix = mx.array(dequantized(arrays, mode, bits, group))
    scales, biases = arrays[1], arrays[2] if mode == "affine" else None
    parts = (arrays[0], scales, biases, mode, bits, group)
    for rows in (1, 3, 40):
        x = random_numbers(2, rows, 384)
        assert_gradients(lambda x: native_unit.linear(x, *parts), lambda x: x @ matrix.T, [x])
        y = random_numbers(2, rows, 200)
        by_columns = native_unit.linear_by_columns(y, *parts)
        assert mx.allclose(by_columns, y @ matrix, rtol=0, atol=2e-3).item()
        assert_gradients(
            lambda y: native_unit.linear_by_columns(y, *parts), lambda y: y @ matrix, [y]
        )


@pytest.mark.parametrize(("rows", "columns"), [(16, 333), (333, 16), (5, 5)])
def test_products_with_matrices_that_are_trained(
    native: ModuleType, rows: int, columns: int
) -> None:
    matrix, x = random_numbers(rows, columns), random_numbers(3, 20, columns)
    assert_gradients(native.linear, lambda x, matrix: x @ matrix.T, [x, matrix])
    y = random_numbers(3, 20, rows)
    assert_gradients(native.linear_by_columns, lambda y, matrix: y @ matrix, [y, matrix])


def test_matrices_that_are_stored_otherwise_have_no_gradient(native: ModuleType) -> None:
    weight, scales, biases = mx.quantize(random_numbers(64, 64), group_size=32, bits=4)
    x = random_numbers(20, 64)
    with pytest.raises(ValueError, match="G4Linear has no gradient for its input 2"):
        mx.grad(lambda s: native.linear(x, weight, s, biases, "affine", 4, 32).sum())(scales)
    half = random_numbers(64, 64).astype(mx.bfloat16)
    with pytest.raises(ValueError, match="only matrices of float32"):
        mx.grad(lambda m: native.linear(x, m).sum())(half)


def test_norms(native_set: ModuleType) -> None:
    weight, eps = random_numbers(100), 1e-3
    x, residual = random_numbers(2, 7, 100), random_numbers(2, 7, 100)

    def plain(x: mx.array, residual: mx.array) -> mx.array:
        return (mx.fast.rms_norm(x, weight, eps) + residual) * 0.5

    assert_gradients(
        lambda x, residual: native_set.rms_norm(x, weight, eps, residual, 0.5),
        plain,
        [x, residual],
    )
    assert_gradients(
        lambda x: native_set.rms_norm(x, None, eps), lambda x: mx.fast.rms_norm(x, None, eps), [x]
    )


def test_rotated_heads(native_set: ModuleType) -> None:
    projected, weight = random_numbers(2, 9, 4 * 32), random_numbers(32)
    wavelengths = 100.0 ** (mx.arange(0, 32, 2, dtype=mx.float32) / 32)
    table = native_set.rope_table(mx.array([0]), 9, wavelengths)

    def turned(x: mx.array) -> mx.array:
        return native_set.rotate(x.reshape(2, 9, 4, 32), weight, 1e-6, table)

    def plain(x: mx.array) -> mx.array:
        heads = mx.fast.rms_norm(x.reshape(2, 9, 4, 32), weight, 1e-6).transpose(0, 2, 1, 3)
        rotated: mx.array = nn.RoPE(32, base=100.0)(heads)
        return rotated

    assert_gradients(turned, plain, [projected])
    assert_gradients(
        lambda x: native_set.rotate(x.reshape(2, 9, 4, 32)),
        lambda x: x.reshape(2, 9, 4, 32).transpose(0, 2, 1, 3),
        [projected],
    )


def test_activations_and_caps(native_set: ModuleType) -> None:
    x, factor = 2 * random_numbers(3, 50), random_numbers(3, 50, seed=1)
    assert_gradients(
        lambda x, factor: native_set.activate("gelu", x, factor),
        lambda x, factor: nn.gelu_approx(x) * factor,
        [x, factor],
    )
    assert_gradients(lambda x: native_set.activate("silu", x), nn.silu, [x])
    assert_gradients(lambda x: native_set.softcap(x, 3.0), lambda x: mx.tanh(x / 3) * 3, [x])
    assert_gradients(native_set.glu, nn.glu, [x])


def test_a_convolution_over_earlier_steps(native: ModuleType) -> None:
    x, weight = random_numbers(2, 40, 12), random_numbers(12, 5, 1, seed=1)

    def plain(x: mx.array) -> mx.array:
        return mx.conv1d(mx.pad(x, [(0, 0), (4, 0), (0, 0)]), weight, groups=12)

    assert_gradients(lambda x: native.convolve_past(x, weight), plain, [x])


def test_parts_of_layers(native: ModuleType) -> None:
    x = random_numbers(2, 5, 3, 8)
    assert_gradients(
        lambda x: native.unstack(x)[1] * 2 + native.unstack(x)[0],
        lambda x: x[:, :, 1] * 2 + x[:, :, 0],
        [x],
    )


@pytest.mark.parametrize(("heads", "shared"), [(8, 1), (4, 2), (2, 2)])
@pytest.mark.parametrize("length", [3, 40, 300])
def test_attention(native_set: ModuleType, heads: int, shared: int, length: int) -> None:
    """300 tokens of 8 heads are computed in several parts."""
    q, k, v = (
        random_numbers(2, count, length, 16, seed=number)
        for number, count in enumerate((heads, shared, shared))
    )
    blocks = [index // 10 if index // 10 % 2 else -1 for index in range(length)]
    rules: list[Visibility] = [Visibility(length=length, causal=False)]
    for numbers in (None, blocks):
        masks = make_masks(length=length, offset=0, window=30, blocks=numbers)
        rules += [masks.full, masks.sliding]
    for rule in rules:

        def plain(q: mx.array, k: mx.array, v: mx.array, rule: Visibility = rule) -> mx.array:
            out = mx.fast.scaled_dot_product_attention(q, k, v, scale=0.5, mask=rule.mask)
            return out.transpose(0, 2, 1, 3).reshape(2, length, -1)

        assert_gradients(
            lambda q, k, v, rule=rule: native_set.attention(q, k, v, 0.5, rule), plain, [q, k, v]
        )
        if isinstance(rule.mask, mx.array):
            assert_gradients(
                lambda q, k, v, rule=rule: native_set.attention(q, k, v, 0.5, mask=rule.mask),
                plain,
                [q, k, v],
            )


@pytest.mark.parametrize("each", [True, False], ids=["a row for each", "a row for all"])
def test_experts(native: ModuleType, each: bool) -> None:
    arrays = mx.quantize(random_numbers(6, 64, 96), group_size=32, bits=4)
    matrices = mx.dequantize(*arrays, group_size=32, bits=4)
    indices = mx.random.randint(0, 6, (30, 2))
    x = random_numbers(30, 2, 96) if each else random_numbers(30, 96)

    def plain(x: mx.array) -> mx.array:
        rows = x if each else mx.broadcast_to(x[:, None], (30, 2, 96))
        return (matrices[indices] @ rows[..., None])[..., 0]

    assert_gradients(
        lambda x: native.expert_linear(x, indices, *arrays, "affine", 4, 32), plain, [x]
    )
