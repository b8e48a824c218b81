"""The KV cache of several rows that run through the network together.

All rows end in the same column; shorter rows are padded on the left. Positions count from a row's
first token, so padding does not affect a row's results.

    columns    0  1  2  3
    row 0      a  b  c  d      padding 0, the next token has position 4
    row 1      -  -  e  f      padding 2, the next token has position 2

Sliding layers store keys in column order too. Keys that have left the window are dropped the next
time the buffer grows. A row that has caches of its own can join, and leave with such caches.
"""

from __future__ import annotations

from collections.abc import Sequence

import mlx.core as mx

from .attention import FullCache
from .caches import in_order
from .masks import Masks, make_batch_masks
from .mlx_lm_parts import KVCache, RotatingKVCache, RowCache

_STEP = 256
"""Columns by which the buffers grow."""


class _Columns:
    """What all layers of a batch share: the number of filled columns and the rows' padding."""

    def __init__(self) -> None:
        self.filled = 0
        self.padding: tuple[int, ...] = ()
        self.offset = mx.zeros((0,), mx.int32)

    def extend(self, count: int) -> None:
        """Add columns; ``offset`` ``[B]`` becomes each row's position in the first new column."""
        self.offset = self.filled - mx.array(self.padding)
        self.filled += count


class BatchLayerCache:
    """The cache of one layer, with the interface that mlx-lm's attention expects.

    ``window`` is None for full attention.
    """

    def __init__(self, columns: _Columns, window: int | None) -> None:
        self._columns = columns
        self._window = window
        self._held = 0
        self._buffers: tuple[mx.array, mx.array] | None = None

    @property
    def offset(self) -> mx.array:
        return self._columns.offset

    @property
    def state(self) -> list[mx.array]:
        """The buffers, ``[B, H, columns, D]``."""
        return list(self._buffers or ())

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> tuple[mx.array, mx.array]:
        """Append columns; returns the new ones and all that the first of them can see."""
        count = keys.shape[2]
        before = self._columns.filled - count
        if self._window is not None:
            before = min(before, self._window - 1)
        if self._buffers is None:
            self._buffers = _free_columns(keys), _free_columns(values)
        elif self._held + count > self._buffers[0].shape[2]:
            kept = slice(self._held - before, self._held)
            held_keys, held_values = self._buffers
            self._buffers = (
                mx.concatenate([held_keys[:, :, kept], _free_columns(keys)], axis=2),
                mx.concatenate([held_values[:, :, kept], _free_columns(values)], axis=2),
            )
            self._held = before
        end = self._held + count
        all_keys, all_values = self._buffers
        all_keys[..., self._held : end, :] = keys
        all_values[..., self._held : end, :] = values
        self._held = end
        start = end - count - before
        return all_keys[..., start:end, :], all_values[..., start:end, :]

    def admit(self, count: int) -> None:
        """Add empty rows."""
        if self._buffers is not None:
            keys, values = self._buffers
            added = [(0, count), (0, 0), (0, 0), (0, 0)]
            self._buffers = mx.pad(keys, added), mx.pad(values, added)

    def join(self, added: tuple[mx.array, mx.array], filled: int) -> None:
        """Add rows of keys and values to ``filled`` columns, so that all end in the same one."""
        needed = min(self._within_window(filled), self._held)
        width = max(needed, added[0].shape[2])
        buffers = self._buffers or tuple(each[:0] for each in added)
        kept = slice(self._held - needed, self._held)
        keys, values = (
            mx.concatenate([_widened(held[:, :, kept], width), _widened(new, width)])
            for held, new in zip(buffers, added, strict=True)
        )
        self._buffers, self._held = (keys, values), width

    def newest(self, filled: int) -> tuple[mx.array, mx.array]:
        """The keys and values of all rows in ``filled`` columns, as far as the window reaches."""
        assert self._buffers is not None
        needed = min(self._within_window(filled), self._held)
        keys, values = (each[:, :, self._held - needed : self._held] for each in self._buffers)
        return keys, values

    def extract(self, row: int, length: int) -> RowCache:
        """The cache of one row with ``length`` tokens, with arrays of its own."""
        assert self._buffers is not None
        count = self._within_window(length)
        first = self._held - count
        last = slice(max(first, 0), self._held)
        keys, values = (mx.contiguous(each[row : row + 1, :, last]) for each in self._buffers)
        if first < 0:
            # The oldest position, which no token sees any more, was not in the row's own cache.
            keys, values = (
                mx.pad(each, [(0, 0), (0, 0), (-first, 0), (0, 0)]) for each in (keys, values)
            )
        cache: RowCache
        if self._window is None:
            cache = FullCache()
            cache.state = keys, values, length
        else:
            cache = RotatingKVCache(self._window)
            cache.state = keys, values, length, 0, self._window, count
        return cache

    def _within_window(self, count: int) -> int:
        return count if self._window is None else min(count, self._window)

    def keep(self, rows: mx.array) -> None:
        """Drop all other rows."""
        if self._buffers is not None:
            keys, values = self._buffers
            self._buffers = keys[rows], values[rows]


def _free_columns(added: mx.array) -> mx.array:
    """Empty columns for ``added``, rounded up to a multiple of ``_STEP``."""
    rows, heads, count, width = added.shape
    return mx.zeros((rows, heads, -(-count // _STEP) * _STEP, width), added.dtype)


def _newest(row: RowCache) -> tuple[mx.array, mx.array]:
    """The keys and values of a row, oldest first, as far as its window reaches."""
    if isinstance(row, KVCache):
        return row.keys[..., : row.offset, :], row.values[..., : row.offset, :]
    return in_order(row.state)


def _widened(columns: mx.array, width: int) -> mx.array:
    """``columns`` with empty ones before them, up to ``width``, and free ones after them."""
    before = width - columns.shape[2]
    return mx.pad(columns, [(0, 0), (0, 0), (before, _STEP), (0, 0)])


class BatchCache:
    """The caches of all layers that compute their own keys and values.

    ``layer_types`` are the types of those layers. Call ``extend`` before each forward pass.
    """

    def __init__(self, layer_types: Sequence[str], window: int) -> None:
        self._columns = _Columns()
        self._window = window
        self.layers = [
            BatchLayerCache(self._columns, None if kind == "full_attention" else window)
            for kind in layer_types
        ]

    def __len__(self) -> int:
        """The number of rows."""
        return len(self._columns.padding)

    @property
    def lengths(self) -> list[int]:
        """The number of tokens of each row."""
        return [self._columns.filled - padding for padding in self._columns.padding]

    @property
    def state(self) -> list[mx.array]:
        return [array for layer in self.layers for array in layer.state]

    def admit(self, padding: Sequence[int]) -> None:
        """Add rows after the others; ``padding`` covers at least the columns filled so far."""
        if not padding:
            return
        self._columns.padding += tuple(padding)
        for layer in self.layers:
            layer.admit(len(padding))

    def extend(self, count: int) -> Masks:
        """Add ``count`` columns; returns the attention masks for computing them."""
        columns = self._columns
        masks = make_batch_masks(
            length=count, offset=columns.filled, window=self._window, padding=columns.padding
        )
        columns.extend(count)
        return masks

    def join(self, row: Sequence[RowCache]) -> None:
        """Add a row after the others: the caches of its layers, which stay as they are."""
        self._join([_newest(each) for each in row], row[0].offset, (0,))

    def join_all(self, other: BatchCache) -> None:
        """Add the rows of another batch after the others; it stays as it is."""
        theirs = other._columns
        added = [layer.newest(theirs.filled) for layer in other.layers]
        self._join(added, theirs.filled, theirs.padding)

    def _join(
        self, added: Sequence[tuple[mx.array, mx.array]], filled: int, padding: tuple[int, ...]
    ) -> None:
        columns = self._columns
        for layer, each in zip(self.layers, added, strict=True):
            layer.join(each, columns.filled)
        ours, theirs = max(filled - columns.filled, 0), max(columns.filled - filled, 0)
        columns.filled += ours
        columns.padding = (*(p + ours for p in columns.padding), *(p + theirs for p in padding))

    def extract(self, row: int) -> list[RowCache]:
        """The caches of one row, as if it had always been alone; the row stays."""
        return [layer.extract(row, self.lengths[row]) for layer in self.layers]

    def keep(self, rows: Sequence[int]) -> None:
        """Keep only these rows, and drop the padding that all of them have in common.

        The buffers drop those columns the next time they grow.
        """
        columns = self._columns
        padding = [columns.padding[row] for row in rows]
        common = min(padding)
        columns.padding = tuple(p - common for p in padding)
        columns.filled -= common
        kept = mx.array(list(rows))
        for layer in self.layers:
            layer.keep(kept)
