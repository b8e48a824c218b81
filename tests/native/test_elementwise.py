"""The native part's functions of each number, against NumPy in double precision."""

from __future__ import annotations

import math
from types import ModuleType

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import numpy.typing as npt
import pytest

Numbers = npt.NDArray[np.float32]

SPECIAL = [0.0, -0.0, math.inf, -math.inf, math.nan, 1e30, -1e30, 200.0, -200.0]


@pytest.fixture
def numbers() -> Numbers:
    """Numbers of all sizes that a network meets, an odd count of them."""
    rng = np.random.default_rng(1)
    return np.concatenate(
        [np.linspace(-110, 95, 20_001), rng.normal(0, 3, 5_000), rng.normal(0, 1e-4, 500), SPECIAL]
    ).astype(np.float32)


def exactly(curve: str, x: Numbers) -> npt.NDArray[np.float64]:
    at = x.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        if curve == "exp":
            return np.exp(at)
        if curve == "tanh":
            return np.tanh(at)
        steepness = math.sqrt(8 / math.pi) * (at + 0.044715 * at**3) if curve == "gelu" else at
        sigmoid = 1 / (1 + np.exp(-steepness))
        return sigmoid if curve == "sigmoid" else at * sigmoid


@pytest.mark.parametrize("curve", ["exp", "tanh", "sigmoid", "silu", "gelu"])
def test_curves_are_as_exact_as_float32_allows(
    native_set: ModuleType, numbers: Numbers, curve: str
) -> None:
    """Where exp(-x) overflows, a sigmoid is 0, and silu with it. The exponent in gelu reaches 70,
    so its own rounding shows in the result.
    """
    got = np.array(native_set.activate(curve, mx.array(numbers)))
    with np.errstate(over="ignore"):
        expected = exactly(curve, numbers).astype(np.float32)
    np.testing.assert_allclose(got, expected, rtol=1e-5 if curve == "gelu" else 2e-6, atol=3e-37)


def test_exp_is_right_where_it_underflows_and_overflows(native_set: ModuleType) -> None:
    x = np.array([-np.inf, -1e30, -104, -103, -90, 0, 88.72, 88.73, np.inf, np.nan], np.float32)
    with np.errstate(over="ignore"):
        expected = np.exp(x)
    got = np.array(native_set.activate("exp", mx.array(x)))
    np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1.5e-45)
    assert got[3] > 0 and got[6] < np.inf and got[7] == np.inf


@pytest.mark.parametrize("shape", [(1,), (3, 5), (2, 7, 3072), (0, 4)])
def test_an_activation_may_be_multiplied_by_a_second_array(
    native_set: ModuleType, shape: tuple[int, ...]
) -> None:
    gate, up = mx.random.normal(shape), mx.random.normal(shape)
    got = native_set.activate("gelu", gate, up)
    assert mx.allclose(got, nn.gelu_approx(gate) * up, rtol=1e-5, atol=1e-6)


def test_arrays_that_others_hold_are_left_as_they_are(native_set: ModuleType) -> None:
    """The result takes the memory of an operand only where nothing else can see it."""
    x = mx.random.normal((100,)) + 1
    kept = np.array(x)
    once = native_set.activate("silu", x)
    twice = native_set.activate("silu", once * 1)
    mx.eval(once, twice)
    np.testing.assert_array_equal(np.array(x), kept)
    assert mx.allclose(once, nn.silu(x), rtol=1e-5)
    assert mx.allclose(twice, nn.silu(nn.silu(x)), rtol=1e-5)


def test_strided_operands_are_read_in_their_order(native_set: ModuleType) -> None:
    x = mx.random.normal((6, 8))
    assert mx.allclose(native_set.activate("silu", x.T), nn.silu(x.T), rtol=1e-5)
    assert mx.allclose(
        native_set.activate("silu", x[:, ::2], x[:, 1::2]), nn.silu(x[:, ::2]) * x[:, 1::2]
    )


@pytest.mark.parametrize("shape", [(2,), (5, 6), (1, 300, 2048)])
def test_glu_gates_the_first_half_by_the_second(
    native_set: ModuleType, shape: tuple[int, ...]
) -> None:
    x = mx.random.normal(shape)
    assert mx.allclose(native_set.glu(x), nn.glu(x, axis=-1), rtol=1e-5, atol=1e-6)


def test_softcap_limits_logits_and_shows_infinite_ones_as_nan(native_set: ModuleType) -> None:
    logits = mx.array([0.0, 1e-3, -12.5, 1e4, -1e30, math.inf, -math.inf, math.nan])
    got = np.array(native_set.softcap(logits, 30.0))
    expected = [0, 1e-3, 30 * math.tanh(-12.5 / 30), 30, -30, math.nan, math.nan, math.nan]
    np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_operands_that_do_not_fit_are_refused(native: ModuleType) -> None:
    x = mx.zeros((2, 3))
    with pytest.raises(ValueError, match="float32"):
        native.activate("silu", x.astype(mx.float16))
    with pytest.raises(ValueError, match="shapes differ"):
        native.activate("silu", x, mx.zeros((3, 2)))
    with pytest.raises(ValueError, match="unknown curve"):
        native.activate("relu", x)
    with pytest.raises(ValueError, match="even"):
        native.glu(x)
