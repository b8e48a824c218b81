"""The other end of ``mirrored``: a process that repeats what the first one tells."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import mlx.core as mx

from .attention import FullCache
from .batch_cache import BatchCache
from .caches import Checkpoint
from .gemma4 import Gemma4
from .language import Cache
from .masks import Masks, Visibility
from .mirrored import Message
from .mlx_lm_parts import RowCache
from .sharded_text import Group, ShardedLanguageModel

_STEPS_UNTIL_CLEARED = 256
"""Calls of one token after which freed buffers go back to the device."""

_MOST_OF_A_STEP = 16
"""Tokens of an answer that are computed at once; more are a piece of a prompt."""


class Replica:
    """The network of a process that follows, which repeats what it is told.

    ``release_buffers`` gives the memory of arrays that are gone back to the device.
    """

    def __init__(self, whole: Gemma4, group: Group, release_buffers: Callable[[], None]) -> None:
        self.whole = whole
        network: ShardedLanguageModel = whole.language_model
        self._network = network
        self._release_buffers = release_buffers
        self._group = group
        self._objects: dict[int, Any] = {}
        self._steps = 0
        self._calls: Mapping[str, Callable[..., Sequence[object] | None]] = {
            "embed": self._embed,
            "mix": self._mix,
            "run": self._run,
            "fill": self._fill,
            "scores": self._scores,
            "make_cache": network.make_cache,
            "checkpoint": self._checkpoint,
            "rewind": network.rewind,
            "newest_keys_values": self._newest_keys_values,
            "resumed_cache": network.resumed_cache,
            "make_batch_cache": self._batch_cache,
            "admit": BatchCache.admit,
            "extend": self._extend,
            "join": self._join,
            "join_all": self._join_all,
            "extract": BatchCache.extract,
            "keep": BatchCache.keep,
        }

    def arguments(self, message: Message) -> list[Any]:
        """What the first process has called something with."""
        for number in message["dropped"]:
            del self._objects[number]
        return [self._decoded(each) for each in message["arguments"]]

    def repeat(self, message: Message) -> None:
        """Do what the first process did."""
        made = self._calls[message["call"]](*self.arguments(message))
        for number, each in zip(message["makes"], made or (), strict=True):
            self._objects[number] = each

    def _decoded(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._decoded(each) for each in value]
        if not isinstance(value, dict):
            return value
        if "array" in value:
            return self._group.sum(mx.zeros(value["array"], getattr(mx, value["dtype"])))
        if "masks" in value:
            full, sliding = (_visibility(each) for each in value["masks"])
            return Masks(full=full, sliding=sliding)
        return self._objects[value["number"]]

    def _embed(self, ids: mx.array) -> list[mx.array]:
        found: list[mx.array] = self._network.model.looked_up(ids)
        mx.async_eval(*found)
        return found

    def _mix(self, rows: mx.array, embeddings: mx.array) -> list[mx.array]:
        made = self._network.model.per_layer_of(rows, embeddings)
        mx.async_eval(made)
        return [made]

    def _run(
        self,
        embeddings: mx.array,
        per_layer_inputs: mx.array | None,
        cache: Sequence[Cache],
        masks: Masks,
        room: int,
    ) -> list[mx.array]:
        self._make_room(cache, room)
        hidden = self._network.model(embeddings, per_layer_inputs, cache, masks)
        self._compute(hidden, cache, embeddings.shape[1])
        return [hidden]

    def _fill(
        self,
        embeddings: mx.array,
        per_layer_inputs: mx.array | None,
        cache: Sequence[Cache],
        masks: Masks,
        room: int,
    ) -> None:
        self._make_room(cache, room)
        self._network.model.fill(embeddings, per_layer_inputs, cache, masks)
        self._compute([], cache, embeddings.shape[1])

    def _make_room(self, cache: Sequence[Cache], room: int) -> None:
        for layer in cache:
            if isinstance(layer, FullCache):
                for _ in layer.make_room(room - layer.offset):
                    self._release_buffers()

    def _compute(self, made: object, cache: Sequence[Cache], length: int) -> None:
        computed = [made, [layer.state for layer in cache]]
        self._steps += 1
        if length > _MOST_OF_A_STEP or self._steps % _STEPS_UNTIL_CLEARED == 0:
            mx.eval(computed)
            self._release_buffers()
        else:
            mx.async_eval(computed)

    def _scores(self, hidden: mx.array) -> None:
        mx.async_eval(self._network._scores(hidden))

    def _newest_keys_values(self, cache: Sequence[RowCache]) -> None:
        mx.async_eval(self._network.newest_keys_values(cache))

    def _checkpoint(self, cache: Sequence[RowCache]) -> list[Checkpoint]:
        made = self._network.checkpoint(cache)
        # An unevaluated slice keeps the whole array it comes from alive.
        mx.eval(made.arrays)
        return [made]

    def _batch_cache(self) -> list[object]:
        made = self._network.make_batch_cache()
        return [made, *made.layers]

    def _extend(self, cache: BatchCache, count: int) -> None:
        cache.extend(count)

    def _join(self, cache: BatchCache, row: Sequence[RowCache]) -> None:
        cache.join(row)
        mx.eval(cache.state)

    def _join_all(self, cache: BatchCache, other: BatchCache) -> None:
        cache.join_all(other)
        mx.eval(cache.state)


def _visibility(fields: dict[str, Any]) -> Visibility:
    blocks = fields["blocks"]
    return Visibility(
        **{
            **fields,
            "blocks": None if blocks is None else tuple(blocks),
            "padding": tuple(fields["padding"]),
        }
    )
