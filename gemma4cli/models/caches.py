"""What else there is to do with the caches of a single row: look into them, and go back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx

from .attention import KeysValues, positions
from .mlx_lm_parts import KVCache, RowCache
from .text_config import LayerType


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Checkpoint:
    """The states of sliding layers with ``position`` tokens in the cache; None for full layers."""

    position: int
    states: tuple[tuple[Any, ...] | None, ...]

    @property
    def arrays(self) -> list[mx.array]:
        return [array for state in self.states if state is not None for array in state[:2]]

    @property
    def nbytes(self) -> int:
        return sum(array.nbytes for array in self.arrays)


def checkpoint_of(cache: Sequence[RowCache]) -> Checkpoint:
    """The present position of a cache."""
    states = tuple(None if isinstance(layer, KVCache) else _state(layer) for layer in cache)
    return Checkpoint(cache[0].offset, states)


def resume(
    cache: Sequence[RowCache], full_layers: Sequence[KVCache | None], checkpoint: Checkpoint
) -> None:
    """Let an empty cache continue from a checkpoint; ``full_layers`` hold as much or more."""
    for layer, full, state in zip(cache, full_layers, checkpoint.states, strict=True):
        if state is not None:
            layer.state = _copied(state)
        elif full is not None:
            layer.state = (*first_positions(full, checkpoint.position), checkpoint.position)


def _state(layer: RowCache) -> tuple[Any, ...]:
    """The state of a sliding layer, trimmed to the window."""
    keys, values, offset, sink, window, index = layer.state
    excess = keys.shape[2] - window
    if excess > 0:
        # After a chunk the layer holds the chunk beyond the window, in order.
        keys, values = (mx.contiguous(each[..., excess:, :]) for each in (keys, values))
        index = window
    return _copied((keys, values, offset, sink, window, index))


def _copied(state: Iterable[Any]) -> tuple[Any, ...]:
    """A state with separate array objects, because caches assign to slices in place."""
    return tuple(each[...] if isinstance(each, mx.array) else each for each in state)


def newest_keys_values(
    cache: Sequence[RowCache], layer_types: Sequence[LayerType]
) -> dict[str, KeysValues]:
    """The keys and values that the last caching layer of each type holds, at least one token.

    Those of a sliding layer are the newest that its window has room for, in any order.
    """
    # Layers without a cache, which use another's keys and values, come last.
    last: dict[str, RowCache] = dict(zip(layer_types, cache, strict=False))
    return {kind: _held(layer) for kind, layer in last.items()}


def _held(layer: RowCache) -> KeysValues:
    if isinstance(layer, KVCache):
        return first_positions(layer, layer.offset)
    keys, values = layer.keys, layer.values
    if layer.offset < keys.shape[2]:
        return keys[..., : layer.offset, :], values[..., : layer.offset, :]
    # After several tokens at once a sliding layer holds more than its window, in order.
    newest = max(keys.shape[2] - layer.max_size, 0)
    return keys[..., newest:, :], values[..., newest:, :]


def first_positions(layer: KVCache, count: int) -> KeysValues:
    """The keys and values of the first ``count`` tokens in a full layer."""
    return positions(layer.keys, 0, count), positions(layer.values, 0, count)


def rewind(cache: Sequence[RowCache], count: int) -> None:
    """Forget the newest ``count`` tokens, which must be among those of the last step.

    A step of several tokens leaves a sliding layer in order, and with all that its window held
    before. A step of one token overwrites the oldest, so it cannot be taken back.
    """
    if not count:
        return
    for layer in cache:
        if not isinstance(layer, KVCache):
            kept = layer.keys.shape[2] - count
            layer.keys, layer.values = layer.keys[..., :kept, :], layer.values[..., :kept, :]
        layer.trim(count)


def in_order(state: tuple[Any, ...]) -> tuple[mx.array, mx.array]:
    """The keys and values in a sliding layer's state, oldest first: as many as the window takes."""
    keys, values, offset, _, window, index = state
    return _unrolled(keys, offset, window, index), _unrolled(values, offset, window, index)


def _unrolled(array: mx.array, offset: int, window: int, index: int) -> mx.array:
    """``array`` without free columns; the next one would be written at ``index``."""
    if index < min(offset, array.shape[2]):
        array = mx.concatenate([array[..., index:, :], array[..., :index, :]], axis=2)
    else:
        array = array[..., :index, :]
    return array[..., -min(offset, window) :, :]
