"""Attention of full-attention layers: a part of the queries at a time, keys perhaps quantized.

Only these layers attend to the whole context, so only theirs grows with it.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import mlx.core as mx

from .config import MOST_SCORES, group_size
from .masks import Mask
from .mlx_lm_parts import Attention, KVCache

_STEP = 256
"""Positions by which a cache grows at least."""

Packed: TypeAlias = tuple[mx.array, mx.array, mx.array]
"""What ``mx.quantize`` makes of keys or values: packed numbers, scales and biases."""

Stored: TypeAlias = mx.array | Packed
"""Keys or values ``[B, heads, n, D]`` of one layer."""


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


class QuantizedKVCache(KVCache):
    """The cache of a full-attention layer, whose keys and values are quantized as they are added.

    Where heads have a size that no group divides, they are stored as they are.
    """

    def __init__(self, bits: int) -> None:
        super().__init__()
        self.offset: int
        self.keys: Any
        self.values: Any
        self._bits = bits

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> tuple[Stored, Stored]:
        group = group_size(keys.shape[-1])
        if group is None:
            as_they_are: tuple[Stored, Stored] = super().update_and_fetch(keys, values)
            return as_they_are
        start, count = self.offset, keys.shape[2]
        self.keys = self._extended(self.keys, keys, group)
        self.values = self._extended(self.values, values, group)
        self.offset = start + count
        return self.keys_and_values()

    def keys_and_values(self) -> tuple[Stored, Stored]:
        return positions(self.keys, 0, self.offset), positions(self.values, 0, self.offset)

    def _extended(self, stored: Packed | None, added: mx.array, group: int) -> Packed:
        """The buffers with ``added`` quantized after the positions so far."""
        new = mx.quantize(added, group_size=group, bits=self._bits)
        start, end = self.offset, self.offset + added.shape[2]
        if stored is None:
            stored = _free(new)
        elif end > stored[0].shape[2]:
            held = positions(stored, 0, start)
            pairs = zip(held, _free(new), strict=True)
            numbers, scales, biases = (mx.concatenate(list(pair), axis=2) for pair in pairs)
            stored = numbers, scales, biases
        for buffer, each in zip(stored, new, strict=True):
            buffer[..., start:end, :] = each
        return stored

    @property
    def nbytes(self) -> int:
        arrays = (self.keys or (), self.values or ())
        return sum(each.nbytes for stored in arrays for each in stored)


def _free(new: Packed) -> Packed:
    """Free positions for ``new``, rounded up to a multiple of ``_STEP``."""

    def free(array: mx.array) -> mx.array:
        rows, heads, count, width = array.shape
        return mx.zeros((rows, heads, -(-count // _STEP) * _STEP, width), array.dtype)

    numbers, scales, biases = new
    return free(numbers), free(scales), free(biases)


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
