"""Attention of full-attention layers: a part of the queries at a time, keys perhaps quantized.

Only these layers attend to the whole context, so only theirs grows with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import mlx.core as mx

from .block_sizes import MOST_SCORES, group_size
from .masks import Mask
from .mlx_lm_parts import Attention, KVCache

_STEP = 256
"""A cache has room for a multiple of so many positions."""

Packed: TypeAlias = tuple[mx.array, mx.array, mx.array]
"""What ``mx.quantize`` makes of keys or values: packed numbers, scales and biases."""

Stored: TypeAlias = mx.array | Packed
"""Keys or values ``[B, heads, n, D]`` of one layer."""

KeysValues: TypeAlias = tuple[Stored, Stored]
"""Keys and values of one layer, rotated to their positions."""


def positions(stored: Stored, first: int, last: int) -> Stored:
    """The positions [first, last) of keys or values."""
    if isinstance(stored, mx.array):
        return stored[..., first:last, :]
    numbers, scales, biases = (each[..., first:last, :] for each in stored)
    return numbers, scales, biases


def dequantized(stored: Stored, width: int) -> mx.array:
    """Keys or values as an array; ``width`` is that of a head."""
    if isinstance(stored, mx.array):
        return stored
    return mx.dequantize(*stored, **_format(stored, width))


def _format(packed: Packed, width: int) -> dict[str, Any]:
    numbers, scales, _ = packed
    return {
        "group_size": width // scales.shape[-1],
        "bits": 32 * numbers.shape[-1] // width,
    }


class FullCache(KVCache):
    """The cache of a full-attention layer, with as much room at once as is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.offset: int
        self.keys: Any
        self.values: Any
        self._wanted = 0

    @property
    def room(self) -> int:
        """Positions that the buffers have room for, or will have when there are any."""
        return self._wanted if self.keys is None else _count(self.keys)

    def make_room(self, new: int) -> Iterator[None]:
        """Make room for ``new`` positions; yields when the keys have been copied for it, and again
        when the values have, so that the memory of the old ones can be given back in between.

        An empty cache takes that size with its first positions.
        """
        count = self.offset + new
        if self.keys is None:
            self._wanted = count
            return
        if count <= _count(self.keys):
            return
        self.keys = _longer(self.keys, self.offset, count)
        mx.eval(self.keys)
        yield
        self.values = _longer(self.values, self.offset, count)
        mx.eval(self.values)
        yield

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> tuple[Stored, Stored]:
        start = self.offset
        self.offset += keys.shape[2]
        self.keys = self._extended(self.keys, self._stored(keys), start)
        self.values = self._extended(self.values, self._stored(values), start)
        return self.keys_and_values()

    def keys_and_values(self) -> tuple[Stored, Stored]:
        return positions(self.keys, 0, self.offset), positions(self.values, 0, self.offset)

    def _stored(self, added: mx.array) -> Stored:
        """Keys or values as the cache holds them."""
        return added

    def _extended(self, buffers: Stored | None, added: Stored, start: int) -> Stored:
        """The buffers with ``added`` after their first ``start`` positions."""
        if buffers is None:
            buffers = _each(added, lambda each: _free(each, max(self.offset, self._wanted)))
        elif self.offset > _count(buffers):
            buffers = _longer(buffers, start, self.offset)
        for buffer, each in zip(_arrays(buffers), _arrays(added), strict=True):
            buffer[..., start : self.offset, :] = each
        return buffers


class QuantizedKVCache(FullCache):
    """One whose keys and values are quantized as they are added.

    Where heads have a size that no group divides, they are stored as they are.
    """

    def __init__(self, bits: int) -> None:
        super().__init__()
        self._bits = bits

    def _stored(self, added: mx.array) -> Stored:
        group = group_size(added.shape[-1])
        if group is None:
            return added
        numbers, scales, biases = mx.quantize(added, group_size=group, bits=self._bits)
        return numbers, scales, biases

    @property
    def nbytes(self) -> int:
        stored = (self.keys, self.values)
        return sum(a.nbytes for each in stored if each is not None for a in _arrays(each))


def _arrays(stored: Stored) -> tuple[mx.array, ...]:
    return (stored,) if isinstance(stored, mx.array) else stored


def _count(stored: Stored) -> int:
    """Positions that there is room for."""
    count: int = _arrays(stored)[0].shape[2]
    return count


def _each(stored: Stored, change: Callable[[mx.array], mx.array]) -> Stored:
    if isinstance(stored, mx.array):
        return change(stored)
    numbers, scales, biases = map(change, stored)
    return numbers, scales, biases


def _free(like: mx.array, count: int) -> mx.array:
    """Free positions, rounded up to a multiple of ``_STEP``."""
    rows, heads, _, width = like.shape
    return mx.zeros((rows, heads, -(-count // _STEP) * _STEP, width), like.dtype)


def _longer(stored: Stored, held: int, count: int) -> Stored:
    """The first ``held`` positions with free ones after them, ``count`` or more in all."""
    free = -(-count // _STEP) * _STEP - held
    return _each(
        stored,
        lambda each: mx.concatenate(
            [each[..., :held, :], mx.zeros((*each.shape[:2], free, each.shape[3]), each.dtype)],
            axis=2,
        ),
    )


class FullAttention(Attention):
    """mlx-lm's attention, with the keys and values of ``QuantizedKVCache`` too."""

    def __call__(
        self,
        x: mx.array,
        mask: Mask = None,
        cache: Any = None,
        shared_kv: tuple[Stored, Stored] | None = None,
        offset: Any = None,
    ) -> tuple[mx.array, tuple[Stored, Stored], Any]:
        """``x`` ``[B, L, D]``; returns mlx-lm's results, with keys as they are read."""
        queries = self._by_head(self.q_proj(x))
        if shared_kv is None:
            offset = mx.array(0 if cache is None else cache.offset)
        queries = self.rope(self.q_norm(queries).transpose(0, 2, 1, 3), offset=offset)
        if shared_kv is None:
            projected = self._by_head(self.k_proj(x))
            values = projected if self.use_k_eq_v else self._by_head(self.v_proj(x))
            keys = self.rope(self.k_norm(projected).transpose(0, 2, 1, 3), offset=offset)
            values = self.v_norm(values).transpose(0, 2, 1, 3)
            # Unpacked here, if at all: layers that reuse them need not do it again.
            if cache is not None:
                keys, values = cache.update_and_fetch(keys, values)
            shared_kv = _readable(keys, values, self.head_dim)
        attended = attend(queries, *shared_kv, self.scale, mask)
        attended = attended.transpose(0, 2, 1, 3).reshape(*x.shape[:2], -1)
        return self.o_proj(attended), shared_kv, offset

    def _by_head(self, x: mx.array) -> mx.array:
        return x.reshape(*x.shape[:2], -1, self.head_dim)


def attend(queries: mx.array, keys: Stored, values: Stored, scale: float, mask: Mask) -> mx.array:
    """softmax(scale * queries keys) values, ``[B, H, L, D]`` like ``queries``.

    No more than ``MOST_SCORES`` scores are stored at a time, or those of one query.
    """
    length, width = queries.shape[2:]
    seen = (keys if isinstance(keys, mx.array) else keys[0]).shape[2]
    step = max(1, MOST_SCORES // (queries.shape[0] * queries.shape[1] * seen))
    keys, values = _readable(keys, values, width)
    if step >= length:
        return _attend(queries, keys, values, scale, mask)
    parts = []
    for start in range(0, length, step):
        end = min(start + step, length)
        # Causal queries see nothing after their own position.
        visible = seen - length + end if mask == "causal" else seen
        parts.append(
            _attend(
                queries[:, :, start:end],
                positions(keys, 0, visible),
                positions(values, 0, visible),
                scale,
                mask[..., start:end, :] if isinstance(mask, mx.array) else mask,
            )
        )
    return mx.concatenate(parts, axis=2)


def _readable(keys: Stored, values: Stored, width: int) -> tuple[Stored, Stored]:
    """Keys and values as this device reads them best."""
    if isinstance(keys, mx.array) or _reads_packed():
        return keys, values
    return dequantized(keys, width), dequantized(values, width)


def _reads_packed() -> bool:
    """Whether products with packed numbers are fast, and have kernels for all shapes.

    On CUDA there are none for keys of several heads, whose buffers have gaps, and MLX's on a CPU
    are slower than unpacking.
    """
    return mx.default_device() == mx.Device(mx.gpu) and mx.metal.is_available()


def _attend(queries: mx.array, keys: Stored, values: Stored, scale: float, mask: Mask) -> mx.array:
    if isinstance(keys, mx.array) and isinstance(values, mx.array):
        return mx.fast.scaled_dot_product_attention(queries, keys, values, scale=scale, mask=mask)
    assert not isinstance(keys, mx.array) and not isinstance(values, mx.array)
    return attend_to_packed(queries, keys, values, scale, mask)


def attend_to_packed(
    queries: mx.array, keys: Packed, values: Packed, scale: float, mask: Mask
) -> mx.array:
    """``attend`` by products with the packed numbers."""
    rows, heads, length, width = queries.shape
    shared, seen = keys[0].shape[1:3]
    # Heads that share keys are rows of one product, so that the keys are read once.
    together = queries.reshape(rows, shared, -1, width)
    scores = mx.quantized_matmul(
        together if scale == 1 else together * scale, *keys, **_format(keys, width)
    )
    if mask is not None:
        visible = mask
        if isinstance(visible, str):
            newest = mx.arange(seen - length, seen)
            visible = newest[:, None] >= mx.arange(seen)
        scores = scores.reshape(rows, shared, -1, length, seen)
        visible = visible if visible.ndim == 2 else visible[:, :, None]
        scores = mx.where(visible, scores, -mx.inf).reshape(rows, shared, -1, seen)
    weights = mx.softmax(scores, axis=-1, precise=True)
    attended = mx.quantized_matmul(weights, *values, transpose=False, **_format(values, width))
    return attended.reshape(rows, heads, length, width)
