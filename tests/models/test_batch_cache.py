"""The batch cache against lists of columns: the keys of each row after any sequence of steps."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator, Sequence

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gemma4cli.models import batch_cache
from gemma4cli.models.batch_cache import BatchCache
from gemma4cli.models.mlx_lm_parts import KVCache, RotatingKVCache, RowCache

WINDOW = 4
STEP = 8
"""Columns by which buffers grow here, so that they grow often."""
LAYERS = ("full_attention", "sliding_attention")


def columns_of(rows: Sequence[int], start: int, count: int) -> mx.array:
    """Keys ``[B, 1, count, 1]`` that name their row and column: 1000 * row + column."""
    values = [[1000.0 * row + column for column in range(start, start + count)] for row in rows]
    return mx.array(values)[:, None, :, None]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("extend"), st.integers(1, 20)),
        st.tuples(st.just("keep"), st.integers(0, 2**16)),
        st.tuples(st.just("admit"), st.integers(1, 2)),
    ),
    max_size=10,
)


@pytest.fixture(scope="module", autouse=True)
def _small_steps() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batch_cache, "_STEP", STEP)
        yield


@given(STEPS)
def test_each_layer_returns_the_columns_in_its_reach_for_the_rows_that_are_left(
    steps: Sequence[tuple[str, int]],
) -> None:
    cache = BatchCache(LAYERS, WINDOW)
    cache.admit([0, 0])
    rows, first_columns, end, admitted = [0, 1], [0, 0], 0, 2
    for step, number in steps:
        if step == "extend":
            start, end = end, end + number
            cache.extend(number)
            positions = cache.layers[0].offset.tolist()
            assert positions == [start - first for first in first_columns]
            for layer, reach in zip(cache.layers, (end, WINDOW), strict=True):
                added = columns_of(rows, start, number)
                keys, values = layer.update_and_fetch(added, -added)
                oldest = max(min(first_columns), start - (reach - 1), 0)
                for found, sign in ((keys, 1), (values, -1)):
                    kept = np.array(found)[:, 0, -(end - oldest) :, 0] * sign
                    for index, row in enumerate(rows):
                        visible = max(oldest, first_columns[index])
                        expected = 1000.0 * row + np.arange(visible, end)
                        np.testing.assert_array_equal(kept[index, visible - oldest :], expected)
        elif step == "keep":
            left = [i for i in range(len(rows)) if number >> i & 1] or [0]
            cache.keep(left)
            rows = [rows[i] for i in left]
            first_columns = [first_columns[i] for i in left]
        else:
            common = min(first_columns)
            cache.admit([end - common] * number)
            rows += range(admitted, admitted + number)
            first_columns += [end] * number
            admitted += number
    assert len(cache) == len(rows)


@given(st.lists(st.integers(1, 20), min_size=1, max_size=30))
def test_a_sliding_layer_stores_no_more_than_the_window_and_what_it_last_grew_by(
    counts: Sequence[int],
) -> None:
    cache = BatchCache(["sliding_attention"], WINDOW)
    cache.admit([0])
    end = 0
    for count in counts:
        cache.extend(count)
        cache.layers[0].update_and_fetch(*[columns_of([0], end, count)] * 2)
        end += count
        (keys, _) = cache.state
        assert keys.shape[2] < WINDOW + -(-max(counts) // STEP) * STEP


def test_layer_caches_are_freed_with_their_batch_without_the_cycle_collector() -> None:
    cache = BatchCache(LAYERS, WINDOW)
    layer = weakref.ref(cache.layers[0])
    gc.disable()
    try:
        del cache
        assert layer() is None
    finally:
        gc.enable()


# Rows that join and leave


def row_cache(row: int, chunks: Sequence[int]) -> list[RowCache]:
    """Caches of a row of its own, filled in ``chunks``."""
    caches = [KVCache(), RotatingKVCache(WINDOW)]
    for count in chunks:
        added = tokens_of(row, caches[0].offset, count)
        for cache in caches:
            cache.update_and_fetch(added, -added)
    return caches


def tokens_of(row: int, start: int, count: int) -> mx.array:
    """Keys ``[1, 1, n, 1]`` that name their row and position."""
    return 1000.0 * row + mx.arange(start, start + count)[None, None, :, None]


def check_row(found: tuple[mx.array, mx.array], row: int, length: int, reach: int) -> None:
    """Keys and values ``[1, 1, n, 1]`` are those of the row's newest positions, in any order."""
    expected = 1000.0 * row + np.arange(max(length - reach, 0), length)
    for array, sign in zip(found, (1, -1), strict=True):
        newest = np.sort(np.array(array)[0, 0, :, 0] * sign)[-len(expected) :]
        np.testing.assert_array_equal(newest, expected)


CHUNKS = st.lists(st.integers(1, 9), min_size=1, max_size=4)
CHANGES = st.lists(
    st.one_of(
        st.tuples(st.just("join"), CHUNKS),
        st.tuples(st.just("keep"), st.integers(0, 2**16)),
        st.tuples(st.just("decode"), st.integers(1, 12)),
    ),
    max_size=8,
)


@settings(max_examples=12)
@given(CHANGES, CHUNKS)
def test_rows_that_join_and_leave_have_their_own_keys_at_all_times(
    changes: Sequence[tuple[str, Sequence[int] | int]], after: Sequence[int]
) -> None:
    cache = BatchCache(LAYERS, WINDOW)
    rows: list[tuple[int, int]] = []
    for number, (change, how) in enumerate([("join", [3]), *changes]):
        if change == "join":
            cache.join(row_cache(number, how))
            rows.append((number, sum(how)))
        elif change == "keep":
            left = [i for i in range(len(rows)) if how >> i & 1] or [0]
            cache.keep(left)
            rows = [rows[i] for i in left]
        else:
            for _ in range(how):
                cache.extend(1)
                added = mx.concatenate([tokens_of(row, length, 1) for row, length in rows])
                assert cache.layers[0].offset.tolist() == [length for _, length in rows]
                rows = [(row, length + 1) for row, length in rows]
                for layer, reach in zip(cache.layers, (1000, WINDOW), strict=True):
                    keys, values = layer.update_and_fetch(added, -added)
                    for i, (row, length) in enumerate(rows):
                        first = max(keys.shape[2] - length, 0)
                        own = slice(i, i + 1), slice(None), slice(first, None)
                        check_row((keys[own], values[own]), row, length, reach)
    for i, (row, length) in enumerate(rows):
        for layer, reach in zip(cache.extract(i), (1000, WINDOW), strict=True):
            end = length
            for count in after:
                added = tokens_of(row, end, count)
                end += count
                found = layer.update_and_fetch(added, -added)
                check_row(found, row, end, reach if count == 1 else reach + count - 1)


def test_a_row_that_left_keeps_nothing_of_the_batch_in_memory() -> None:
    cache = BatchCache(LAYERS, WINDOW)
    cache.join(row_cache(0, [3]))
    cache.join(row_cache(1, [500]))
    for layer in cache.extract(0):
        assert layer.keys.shape[2] == 3
