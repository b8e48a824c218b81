"""Rows of tables that ids name."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import mlx.core as mx
import numpy as np
import pytest

from tests.support.stored_matrices import FORMATS, Format, stored


@pytest.mark.parametrize("form", FORMATS, ids=str)
def test_rows_are_those_of_the_table(native_set: ModuleType, form: Format) -> None:
    table = stored(form, 50, 256)
    ids = np.random.default_rng(0).integers(0, 50, (3, 7), dtype=np.int32)
    rows = native_set.embedding(mx.array(ids), *table.parts)
    assert rows.dtype == mx.float32
    np.testing.assert_allclose(np.array(rows), table.numbers[ids], rtol=3e-7, atol=1e-8)


@pytest.mark.parametrize("form", FORMATS, ids=str)
def test_the_table_may_stay_in_its_file(
    native_set: ModuleType, form: Format, tmp_path: Path
) -> None:
    table = stored(form, 16, 128)
    ids = mx.array([15, 0, 15], mx.uint32)
    rows = native_set.embedding(ids, *table.in_file(native_set, tmp_path).parts)
    np.testing.assert_array_equal(np.array(rows), np.array(native_set.embedding(ids, *table.parts)))


@pytest.mark.parametrize("width", [1, 5, 100])
def test_tables_that_are_not_quantized_have_any_width(native_set: ModuleType, width: int) -> None:
    table = stored(FORMATS[2], 9, width)
    rows = native_set.embedding(mx.arange(9), *table.parts)
    np.testing.assert_array_equal(np.array(rows), table.numbers)


def test_rows_are_multiplied_by_the_scale(native: ModuleType) -> None:
    table = stored(FORMATS[0], 9, 32)
    rows = native.embedding(mx.array(4), *table.parts, scale=39.25)
    np.testing.assert_array_equal(np.array(rows), table.numbers[4] * np.float32(39.25))


def test_many_ids_are_gathered_in_order(native: ModuleType) -> None:
    table = stored(FORMATS[5], 64, 256)
    ids = np.random.default_rng(1).integers(0, 64, 3000, dtype=np.int32)
    rows = np.array(native.embedding(mx.array(ids), *table.parts))
    single = np.array(native.embedding(mx.arange(64), *table.parts))
    np.testing.assert_array_equal(rows, single[ids])


def test_rows_that_the_table_lacks_are_nan(native: ModuleType) -> None:
    table = stored(FORMATS[5], 8, 64)
    rows = native.embedding(mx.array([7, 8, -1, 2**31 - 1, 0]), *table.parts)
    assert mx.isnan(rows).all(-1).tolist() == [False, True, True, True, False]
    assert mx.isnan(rows).any(-1).tolist() == [False, True, True, True, False]


def test_no_ids_give_no_rows(native: ModuleType) -> None:
    table = stored(FORMATS[5], 8, 64)
    assert native.embedding(mx.zeros((2, 0), mx.int32), *table.parts).shape == (2, 0, 64)


def test_ids_must_be_whole_numbers_of_32_bits(native: ModuleType) -> None:
    with pytest.raises(ValueError, match="embedding: ids must be int32 or uint32"):
        native.embedding(mx.zeros(3), mx.zeros((4, 8)))
