"""The largest numbers of a row, against a full sort."""

from __future__ import annotations

import math
from types import ModuleType

import mlx.core as mx
import numpy as np
import numpy.typing as npt
import pytest

Numbers = npt.NDArray[np.float32]


def largest(x: Numbers, k: int) -> list[int]:
    """Places, largest number first, then lower place; NaN last."""
    nan = np.isnan(x)
    order: list[int] = np.lexsort((np.arange(len(x)), np.where(nan, 0, -x), nan))[:k].tolist()
    return order


def assert_largest(native: ModuleType, x: Numbers, k: int) -> None:
    values, indices = native.top_k(mx.array(x), k)
    assert values.dtype == mx.float32 and indices.dtype == mx.uint32
    assert indices.tolist() == largest(x, k)
    np.testing.assert_array_equal(np.array(values), x[np.array(indices)])


@pytest.mark.parametrize("size", [1, 15, 257, 5_000, 70_001])
def test_the_largest_come_first_whatever_their_number(native_set: ModuleType, size: int) -> None:
    x = np.random.default_rng(size).normal(0, 3, size).astype(np.float32)
    for k in {0, 1, 64, 2_000, size}:
        if k <= size:
            assert_largest(native_set, x, k)


def test_rising_numbers_are_all_kept_for_a_while(native_set: ModuleType) -> None:
    assert_largest(native_set, np.arange(70_000, dtype=np.float32), 40)
    assert_largest(native_set, -np.arange(70_000, dtype=np.float32), 40)


def test_of_equal_numbers_the_first_come_first(native_set: ModuleType) -> None:
    x = np.random.default_rng(0).integers(0, 3, 70_000).astype(np.float32)
    assert_largest(native_set, x, 100)
    assert_largest(native_set, np.zeros(70_000, np.float32), 5)


def test_nan_comes_after_minus_infinity(native_set: ModuleType) -> None:
    x = np.array([math.nan, -math.inf, 1, math.nan, math.inf, 2], np.float32)
    assert_largest(native_set, x, 6)
    rare = np.full(70_000, math.nan, np.float32)
    rare[[7, 60_000]] = [-math.inf, 3]
    assert_largest(native_set, rare, 4)


def test_each_row_has_its_own(native: ModuleType) -> None:
    x = np.random.default_rng(0).normal(0, 1, (2, 3, 500)).astype(np.float32)
    values, indices = native.top_k(mx.array(x), 7)
    assert values.shape == indices.shape == (2, 3, 7)
    assert indices[1, 2].tolist() == largest(x[1, 2], 7)


def test_more_than_there_are_is_refused(native: ModuleType) -> None:
    with pytest.raises(ValueError, match="k must be between"):
        native.top_k(mx.zeros(4), 5)
    with pytest.raises(ValueError, match="float32"):
        native.top_k(mx.zeros(4, mx.int32), 2)
