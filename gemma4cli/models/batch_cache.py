"""The keys and values of several rows that run through the network together.

Rows end in one column and begin in their own: a shorter one is padded on the left. Positions
count from a row's first token, so that a row never notices the padding in front of it.

    columns    0  1  2  3
    row 0      a  b  c  d      padding 0, the next token has position 4
    row 1      -  -  e  f      padding 2, the next token has position 2

Keys lie in the order of their columns on sliding layers too; what has left the window leaves the
buffer when that next grows.
"""

from __future__ import annotations

from collections.abc import Sequence

import mlx.core as mx

from .masks import Masks, make_batch_masks

_STEP = 256
"""Columns by which the buffers grow."""


class _Columns:
    """What the layers of a batch have in common: how far the columns reach, where rows begin."""

    def __init__(self) -> None:
        self.filled = 0
        self.padding: tuple[int, ...] = ()
        self.offset = mx.zeros((0,), mx.int32)

    def extend(self, count: int) -> None:
        """Add columns; ``offset`` ``[B]`` becomes the position of each row in the first of them."""
        self.offset = self.filled - mx.array(self.padding)
        self.filled += count


class BatchLayerCache:
    """One layer's part, which mlx-lm's attention takes for a cache; ``window`` None is no bound."""

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
        """Append columns; returns all that the first of them may see, and the new ones."""
        count = keys.shape[2]
        before = self._columns.filled - count
        if self._window is not None:
            before = min(before, self._window - 1)
        if self._buffers is None:
            self._buffers = _room(keys), _room(values)
        elif self._held + count > self._buffers[0].shape[2]:
            kept = slice(self._held - before, self._held)
            held_keys, held_values = self._buffers
            self._buffers = (
                mx.concatenate([held_keys[:, :, kept], _room(keys)], axis=2),
                mx.concatenate([held_values[:, :, kept], _room(values)], axis=2),
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
        """Add rows, empty so far."""
        if self._buffers is not None:
            keys, values = self._buffers
            added = [(0, count), (0, 0), (0, 0), (0, 0)]
            self._buffers = mx.pad(keys, added), mx.pad(values, added)

    def keep(self, rows: mx.array) -> None:
        """Drop all other rows."""
        if self._buffers is not None:
            keys, values = self._buffers
            self._buffers = keys[rows], values[rows]


def _room(added: mx.array) -> mx.array:
    """Free columns for ``added`` and more."""
    rows, heads, count, width = added.shape
    return mx.zeros((rows, heads, -(-count // _STEP) * _STEP, width), added.dtype)


class BatchCache:
    """The caches of all layers that have keys and values of their own.

    ``layer_types`` are theirs. Each pass through the network begins with ``extend``.
    """

    def __init__(self, layer_types: Sequence[str], window: int) -> None:
        self._columns = _Columns()
        self._window = window
        self.layers = [
            BatchLayerCache(self._columns, None if kind == "full_attention" else window)
            for kind in layer_types
        ]

    def __len__(self) -> int:
        """How many rows there are."""
        return len(self._columns.padding)

    @property
    def state(self) -> list[mx.array]:
        return [array for layer in self.layers for array in layer.state]

    def admit(self, padding: Sequence[int]) -> None:
        """Add rows behind the others, each with so much padding, all that is filled at least."""
        if not padding:
            return
        self._columns.padding += tuple(padding)
        for layer in self.layers:
            layer.admit(len(padding))

    def extend(self, count: int) -> Masks:
        """Get ready for ``count`` new columns; returns the masks to compute them with."""
        columns = self._columns
        masks = make_batch_masks(
            length=count, offset=columns.filled, window=self._window, padding=columns.padding
        )
        columns.extend(count)
        return masks

    def keep(self, rows: Sequence[int]) -> None:
        """Drop all rows but these, and the padding that all of them have.

        Columns in front of those that count leave the buffers when these next grow.
        """
        columns = self._columns
        padding = [columns.padding[row] for row in rows]
        spare = min(padding)
        columns.padding = tuple(p - spare for p in padding)
        columns.filled -= spare
        kept = mx.array(list(rows))
        for layer in self.layers:
            layer.keep(kept)
